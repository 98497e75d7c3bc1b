package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A scenario compares several contenders in one respect.
type scenario struct {
	key        string   // what -only matches; names the chart's file too
	title      string   // a heading
	about      string   // what is done, for the report
	metrics    []metric // the values of each round; the first is compared and drawn
	yardstick  string   // the contender that the others are compared with
	ours       string   // the contender that stands for this library
	contenders []contender
}

// A contender is one way to do a scenario's work.
type contender struct {
	name string
	note string // what the reader must know to judge the value
	mine bool   // belongs to this library

	// turn works for one slice of time and returns one value for each metric.
	turn func() ([]float64, error)
}

// errAbsent is wrapped by the error of a turn that is impossible on this machine. A report does not
// call it a failure.
var errAbsent = errors.New("absent")

// A result is the outcome of a scenario.
type result struct {
	scenario
	rows []row // in the order of the contenders
}

// A row has the values of one contender.
type row struct {
	contender
	rounds [][]float64 // rounds[i][m] is metric m in round i; all rows without err have as many
	err    error       // why there are no values
}

// values returns the values of one metric.
func (r row) values(metric int) []float64 {
	values := make([]float64, len(r.rounds))
	for i, round := range r.rounds {
		values[i] = round[metric]
	}
	return values
}

// ratio returns the median of the ratios of this row's value to the other's in each round. It
// reports false if there is no ratio.
func (r row) ratio(other row, metric int) (float64, bool) {
	if r.err != nil || other.err != nil {
		return 0, false
	}
	ratios := make([]float64, 0, len(r.rounds))
	for i := range r.rounds {
		if other.rounds[i][metric] == 0 {
			return 0, false
		}
		ratios = append(ratios, r.rounds[i][metric]/other.rounds[i][metric])
	}
	return median(ratios), true
}

// row returns the row of the named contender.
func (r result) row(name string) (row, bool) {
	i := slices.IndexFunc(r.rows, func(row row) bool { return row.name == name })
	if i < 0 {
		return row{}, false
	}
	return r.rows[i], true
}

// turnLimit bounds one turn, which normally takes less than a tenth of it.
const turnLimit = time.Minute

// measure runs the scenarios one after another and reports progress.
func measure(scenarios []scenario, rounds int, progress io.Writer) []result {
	results := make([]result, 0, len(scenarios))
	for i, s := range scenarios {
		fmt.Fprintf(progress, "[%2d/%d] %-42s ", i+1, len(scenarios), s.title)
		begin := time.Now()
		r := s.measure(rounds, progress)
		results = append(results, r)
		fmt.Fprintf(progress, " %5.1fs  %s\n", time.Since(begin).Seconds(), r.headline())
		for _, row := range r.rows {
			if row.err != nil {
				fmt.Fprintf(progress, "        %s: %v\n", row.name, row.err)
			}
		}
	}
	return results
}

// measure runs the rounds. A round is one turn of each contender; each round begins with another
// one.
func (s scenario) measure(rounds int, progress io.Writer) result {
	r := result{scenario: s}
	for _, c := range s.contenders {
		r.rows = append(r.rows, row{contender: c})
	}
	for round := range rounds {
		for i := range r.rows {
			r.rows[(i+round)%len(r.rows)].takeTurn()
		}
		fmt.Fprint(progress, ".")
	}
	return r
}

// takeTurn runs one turn of the contender, unless an earlier one failed.
func (r *row) takeTurn() {
	if r.err != nil {
		return
	}
	type outcome struct {
		values []float64
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		values, err := r.turn()
		done <- outcome{values, err}
	}()
	select {
	case o := <-done:
		r.rounds, r.err = append(r.rounds, o.values), o.err
	case <-time.After(turnLimit):
		// The goroutine is leaked and may disturb later turns, so the report says so.
		r.err = fmt.Errorf("did not end within %v", turnLimit)
	}
}

// headline returns this library's value and its ratio to the yardstick.
func (r result) headline() string {
	ours, ok := r.row(r.ours)
	if !ok || ours.err != nil {
		return ""
	}
	var line strings.Builder
	fmt.Fprintf(&line, "%s %s", ours.name, r.metrics[0].unit.format(median(ours.values(0))))
	if yardstick, ok := r.row(r.yardstick); ok && r.yardstick != r.ours {
		if ratio, ok := ours.ratio(yardstick, 0); ok {
			fmt.Fprintf(&line, ", %s %s", formatRatio(ratio), r.yardstick)
		}
	}
	return line.String()
}

// printList lists the scenarios and their contenders.
func printList(out io.Writer, scenarios []scenario) error {
	for _, s := range scenarios {
		names := make([]string, len(s.contenders))
		for i, c := range s.contenders {
			names[i] = c.name
		}
		if _, err := fmt.Fprintf(out, "%s: %s\n    %s\n", s.key, s.title, strings.Join(names, ", ")); err != nil {
			return err
		}
	}
	return nil
}

// scenarios lists all scenarios.
func scenarios(s *site, b budget) []scenario {
	return slices.Concat(processScenarios(b), growthScenarios(b), fileScenarios(s, b))
}
