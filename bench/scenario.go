package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A scenario asks one question of several contenders.
type scenario struct {
	key        string   // what -only matches; names the chart's file too
	title      string   // a heading
	about      string   // what is done, for the report
	metrics    []metric // what a round yields for each contender; the first is compared and drawn
	yardstick  string   // the contender by which the others are divided
	ours       string   // the contender that stands for this library
	contenders []contender
}

// A contender is one way to do a scenario's work.
type contender struct {
	name string
	note string // what the reader has to know to judge the figure
	mine bool   // belongs to this library

	// turn does the work for one slice of time and returns one value for each metric.
	turn func() ([]float64, error)
}

// errAbsent is wrapped by the error of a turn that cannot be had on this machine, which a report says without alarm.
var errAbsent = errors.New("absent")

// A result is what a scenario found.
type result struct {
	scenario
	rows []row // in the order of the contenders
}

// A row has one contender's values.
type row struct {
	contender
	rounds [][]float64 // rounds[i][m] is metric m in round i; every row of a result has as many, or err is set
	err    error       // why there are no values
}

// values returns what the rounds gave for one metric.
func (r row) values(metric int) []float64 {
	values := make([]float64, len(r.rounds))
	for i, round := range r.rounds {
		values[i] = round[metric]
	}
	return values
}

// ratio returns the median over the rounds of this row's value divided by the other's of the same round.
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

// row returns the named contender's row.
func (r result) row(name string) (row, bool) {
	i := slices.IndexFunc(r.rows, func(row row) bool { return row.name == name })
	if i < 0 {
		return row{}, false
	}
	return r.rows[i], true
}

// patience bounds one turn: none takes a tenth of it, so that one that does has hung.
const patience = time.Minute

// measure runs the scenarios one after the other and reports progress.
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

// measure lets the contenders take turns: a round is one turn of each, and each round begins with the next contender.
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

// takeTurn has the contender do its work once, unless it has failed before.
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
	case <-time.After(patience):
		// The goroutine is lost; the figures of the others that follow would suffer if it still ran, so the report says it.
		r.err = fmt.Errorf("did not end within %v", patience)
	}
}

// headline says in one line how this library did.
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

// printList writes which scenarios there are and who takes part.
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

// scenarios lists everything that can be measured.
func scenarios(s *site, b budget) []scenario {
	return append(processScenarios(b), fileScenarios(s, b)...)
}
