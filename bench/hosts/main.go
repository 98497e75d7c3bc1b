// Command hosts measures locks across hosts: those of lockutils beside what else is used on etcd,
// PostgreSQL and Redis, each at its defaults and with what makes it faster. It starts the servers
// itself, on loopback and with data in memory, so that its figures are those of the programs and
// not of a network or a disk: compare the figures of one run with each other only.
//
//	go run .                       all engines and scenarios
//	go run . -engine redis         one engine
//	go run . -only 'free|handover' only the scenarios whose key matches
//	go run . -with 'redislock$'    only contenders whose name matches
//	go run . -out ../../docs       draw charts too
//
// It prints one table for each engine. A round measures each contender once, in turns, and the
// table shows the median of the rounds.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"

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
	rounds := flag.Int("rounds", 5, "how many rounds to take the median of")
	out := flag.String("out", "", "draw charts into charts/ of this `directory`")
	flag.Parse()
	match, err := regexp.Compile(*only)
	fail(err)
	names, err := regexp.Compile(*with)
	fail(err)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, e := range engines {
		if *engine == "" || *engine == e.name {
			e.contenders = slices.DeleteFunc(slices.Clone(e.contenders), func(c contender) bool {
				return !names.MatchString(c.name) || c.isMissing()
			})
			if err := run(ctx, e, match, *rounds, *out); err != nil {
				stop()
				fail(fmt.Errorf("%s: %w", e.name, err))
			}
		}
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "hosts:", err)
		os.Exit(1)
	}
}

// run measures one engine, prints its table, and draws its charts if there is a directory for them.
func run(ctx context.Context, e engine, match *regexp.Regexp, rounds int, out string) error {
	s, err := e.start(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	chosen := slices.Clone(scenarios)
	chosen = slices.DeleteFunc(chosen, func(x scenario) bool { return !match.MatchString(x.key) })
	fmt.Printf("### %s\n\n| |", e.name)
	for _, c := range e.contenders {
		fmt.Printf(" %s |", c.name)
	}
	fmt.Print("\n| --- |")
	for range e.contenders {
		fmt.Print(" ---: |")
	}
	fmt.Println()
	for _, x := range chosen {
		panels, err := row(ctx, e, s, x, rounds)
		if err == nil && out != "" {
			err = chart.Write(filepath.Join(out, "charts", "hosts-"+e.name+"-"+x.key+".svg"), panels)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", x.key, err)
		}
	}
	fmt.Println()
	return nil
}

// row measures one scenario, prints a line for each of its figures, and draws some of them.
func row(ctx context.Context, e engine, s server, x scenario, rounds int) ([]chart.Panel, error) {
	figures := make([][][]float64, len(x.figures)) // by figure, contender and round
	for i := range figures {
		figures[i] = make([][]float64, len(e.contenders))
	}
	for range min(rounds, x.maxRounds) {
		for j, c := range e.contenders {
			values, err := x.measure(ctx, target{s, e, c})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			for i, v := range values {
				figures[i][j] = append(figures[i][j], v)
			}
		}
	}
	var panels []chart.Panel
	for i, f := range x.figures {
		fmt.Printf("| %s |", f.name)
		p := chart.Panel{Title: f.name, Caption: f.caption, Format: format}
		for j, values := range figures[i] {
			v := median(values)
			fmt.Printf(" %s |", format(v))
			if !math.IsNaN(v) {
				p.Bars = append(p.Bars, chart.Bar{
					Name: e.contenders[j].name, Value: v, Least: slices.Min(values), Most: slices.Max(values),
					Ours: e.contenders[j].service != nil,
				})
			}
		}
		fmt.Println()
		if f.caption != "" && len(p.Bars) > 0 {
			panels = append(panels, p)
		}
	}
	return panels, nil
}

// median returns that of the values, which are not empty.
func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

func format(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
