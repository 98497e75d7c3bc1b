// Command hosts measures locks across hosts: those of lockutils beside what else is used on etcd,
// PostgreSQL and Redis, each at its defaults and with what makes it faster. It starts the servers
// itself, on loopback and with data in memory, so that its figures are those of the programs and
// not of a network or a disk: compare the figures of one run with each other only.
//
//	go run .                       all engines and scenarios
//	go run . -engine redis         one engine
//	go run . -only 'free|handover' only the scenarios whose key matches
//	go run . -with 'redislock$'    only contenders whose name matches
//	go run . -out ../../docs       write the tables to across-hosts.md there, and draw charts
//
// It prints one table for each engine. A round measures each contender once, in turns, and the
// table shows the median of the rounds. Scenarios that wait for a TTL are measured once, for all
// contenders of an engine at the same time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lockutils/lockutils/bench/internal/chart"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == workerArg {
		fail(work(os.Args[2:]))
		return
	}
	engine := flag.String("engine", "", "measure this engine only: etcd, postgres, redis")
	only := flag.String("only", "", "measure only the scenarios whose key matches this `regexp`")
	with := flag.String("with", "", "measure only contenders whose name matches this `regexp`")
	rounds := flag.Int("rounds", 3, "how many rounds to take the median of")
	out := flag.String("out", "", "write the tables and charts into this `directory` of documents")
	flag.Parse()
	if *out != "" && *only+*with != "" {
		fail(errors.New("-out: a table on the page has all scenarios and contenders"))
	}
	match, err := regexp.Compile(*only)
	fail(err)
	names, err := regexp.Compile(*with)
	fail(err)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var errs []error
	for _, e := range engines {
		if *engine != "" && *engine != e.name || ctx.Err() != nil {
			continue
		}
		e.contenders = slices.DeleteFunc(slices.Clone(e.contenders), func(c contender) bool {
			return !names.MatchString(c.name) || c.isMissing()
		})
		if err := run(ctx, e, match, *rounds, *out); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", e.name, err))
		}
	}
	fail(errors.Join(errs...))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "hosts:", err)
		os.Exit(1)
	}
}

// run measures one engine and prints its table. With a directory it also writes the table to the
// page there and draws the charts.
func run(ctx context.Context, e engine, match *regexp.Regexp, rounds int, out string) error {
	begun := time.Now()
	s, err := e.start(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	version, err := s.version(ctx)
	if err != nil {
		return err
	}
	chosen := slices.DeleteFunc(slices.Clone(scenarios), func(x scenario) bool {
		return !match.MatchString(x.key)
	})
	var table strings.Builder
	results := measureAll(ctx, e, s, chosen, rounds, io.MultiWriter(os.Stdout, &table))
	fmt.Println()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case out != "":
		heading := fmt.Sprintf("%s, %d processors, medians of %d rounds. The run took %v.", version,
			runtime.NumCPU(), rounds, time.Since(begun).Round(time.Second))
		err = errors.Join(writeCharts(out, e, chosen, results),
			writePage(filepath.Join(out, page), e.name, heading+"\n\n"+table.String()))
	}
	if err == nil && slices.ContainsFunc(results, result.incomplete) {
		err = errors.New("some measurements have failed")
	}
	return err
}

// measureAll measures the scenarios and writes their table. Those that wait are the last.
func measureAll(
	ctx context.Context, e engine, s server, chosen []scenario, rounds int, table io.Writer,
) []result {
	results := make([]result, len(chosen))
	var waits sync.WaitGroup
	writeHead(table, e)
	for i, x := range chosen {
		switch x.manner {
		case inTurns:
			results[i] = measureInTurns(ctx, e, s, x, rounds)
		case once:
			results[i] = measureInTurns(ctx, e, s, x, 1)
		case together:
			waits.Go(func() { results[i] = measureTogether(ctx, e, s, x) })
			continue
		}
		results[i].write(table, x)
	}
	waits.Wait()
	for i, x := range chosen {
		if x.manner == together {
			results[i].write(table, x)
		}
	}
	return results
}

func writeCharts(out string, e engine, chosen []scenario, results []result) error {
	for i, x := range chosen {
		file := filepath.Join(out, "charts", "hosts-"+e.name+"-"+x.key+".svg")
		if err := chart.Write(file, results[i].panels(e, x)); err != nil {
			return err
		}
	}
	return nil
}

// A result has the values of a scenario by contender and round, each with those of its figures.
type result [][][]float64

// measureInTurns measures each contender once in each round. Each round begins with another one, since
// the first one after a pause is slower.
func measureInTurns(ctx context.Context, e engine, s server, x scenario, rounds int) result {
	r := make(result, len(e.contenders))
	for round := range rounds {
		for turn := range e.contenders {
			i := (round + turn) % len(e.contenders)
			r[i] = append(r[i], measure(ctx, x, target{s, e, e.contenders[i]})...)
		}
	}
	return r
}

// measureTogether measures all contenders once, at the same time.
func measureTogether(ctx context.Context, e engine, s server, x scenario) result {
	r := make(result, len(e.contenders))
	var all sync.WaitGroup
	for i, c := range e.contenders {
		all.Go(func() { r[i] = measure(ctx, x, target{s, e, c}) })
	}
	all.Wait()
	return r
}

// patience bounds each measurement.
const patience = 3 * time.Minute

// measure returns one round, or none if it fails, so that the others are measured all the same.
func measure(ctx context.Context, x scenario, t target) [][]float64 {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	values, err := x.measure(ctx, t)
	if err != nil {
		fmt.Fprintf(os.Stderr, "hosts: %s: %s: %s: %v\n", t.engine.name, x.key, t.contender.name, err)
		return nil
	}
	return [][]float64{values}
}

// incomplete reports whether there is a contender that has failed in all rounds.
func (r result) incomplete() bool {
	return slices.ContainsFunc(r, func(rounds [][]float64) bool { return len(rounds) == 0 })
}

// of returns the values of a figure, by contender.
func (r result) of(figure int) [][]float64 {
	all := make([][]float64, len(r))
	for i, rounds := range r {
		for _, values := range rounds {
			all[i] = append(all[i], values[figure])
		}
	}
	return all
}

// panels draws the figures that have a caption.
func (r result) panels(e engine, x scenario) (panels []chart.Panel) {
	for i, f := range x.figures {
		p := chart.Panel{Title: f.name, Caption: f.caption, Format: format}
		for j, values := range r.of(i) {
			if len(values) == 0 || math.IsNaN(median(values)) {
				continue
			}
			p.Bars = append(p.Bars, chart.Bar{
				Name: e.contenders[j].name, Value: median(values),
				Least: slices.Min(values), Most: slices.Max(values),
				Ours: e.contenders[j].service != nil,
			})
		}
		if f.caption != "" && len(p.Bars) > 0 {
			panels = append(panels, p)
		}
	}
	return panels
}

// median returns that of the values, which are not empty.
func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

func format(v float64) string {
	switch {
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
