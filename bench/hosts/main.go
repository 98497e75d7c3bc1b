// Command hosts measures locks across hosts: those of lockutils beside what else is used on etcd,
// PostgreSQL and Redis, each at its defaults. It starts the servers itself, on loopback and with
// data in memory, so that its figures are those of the programs and not of a network or a disk:
// compare the figures of one run with each other only.
//
//	go run .                       all engines and scenarios
//	go run . -engine redis         one engine
//	go run . -only 'free|handover' only the scenarios whose key matches
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
	"regexp"
	"slices"
	"syscall"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == workerArg {
		fail(work(os.Args[2:]))
		return
	}
	engine := flag.String("engine", "", "measure this engine only: etcd, postgres, redis")
	only := flag.String("only", "", "measure only the scenarios whose key matches this `regexp`")
	rounds := flag.Int("rounds", 5, "how many rounds to take the median of")
	flag.Parse()
	match, err := regexp.Compile(*only)
	fail(err)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, e := range engines {
		if *engine == "" || *engine == e.name {
			if err := run(ctx, e, match, *rounds); err != nil {
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

// run measures one engine and prints its table.
func run(ctx context.Context, e engine, match *regexp.Regexp, rounds int) (err error) {
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
		if err := row(ctx, e, s, x, rounds); err != nil {
			return fmt.Errorf("%s: %w", x.key, err)
		}
	}
	fmt.Println()
	return nil
}

// row measures one scenario and prints a line for each of its figures.
func row(ctx context.Context, e engine, s server, x scenario, rounds int) error {
	figures := make([][][]float64, len(x.figures)) // by figure, contender and round
	for i := range figures {
		figures[i] = make([][]float64, len(e.contenders))
	}
	for range min(rounds, x.maxRounds) {
		for j, c := range e.contenders {
			values, err := x.measure(ctx, target{s, e, c})
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			for i, v := range values {
				figures[i][j] = append(figures[i][j], v)
			}
		}
	}
	for i, name := range x.figures {
		fmt.Printf("| %s |", name)
		for _, values := range figures[i] {
			fmt.Printf(" %s |", median(values))
		}
		fmt.Println()
	}
	return nil
}

func median(values []float64) string {
	if len(values) == 0 {
		return "-"
	}
	slices.Sort(values)
	v := values[len(values)/2]
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
