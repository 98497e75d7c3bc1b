// Command bench compares named locks with their peers: the same work, in turns, in one run.
//
//	go run . -quick                      all scenarios, two minutes, tables on standard output
//	go run . -only 'hot|parallel'        only the scenarios whose key matches
//	go run . -out ../docs                the full run; writes benchmarks.md and charts/*.svg there
//	go run . -list                       the scenarios and their contenders
//
// It measures locks within one process, how long their waiters wait and what memory they keep
// (scenario_process.go), and locks that exclude other processes with a file (scenario_file.go).
//
// A [scenario] compares several contenders. A round is one turn of each, for a fixed slice of time.
// Each round begins with another contender, so that a disturbance of the machine affects all alike.
// The report gives the median of the rounds, their range, and the median of the ratios within each
// round: to the scenario's yardstick (a bare sync.Mutex, a blocking flock(2)) and to this library.
//
// Within one process, each acquisition and release goes through one indirect call, whose cost the
// row "nothing" shows. Allocations are those of the whole process, divided by the operations.
//
// In scenarios of several processes, each is another instance of this program or a Python
// interpreter that speaks the same protocol (worker.go, python_worker.py). They log the times of
// request, acquisition and release by the host's clock. All figures are computed from the merged
// log, which also shows two holders at once (contest.go).
//
// To add a peer within a process, append it to [peers] or [readers] in peers.go; to add a lock
// file, append it to [filePeers] in file_peers.go. Its note must say if a peer keeps entries for
// ever, lets names collide or cannot be cancelled. To add a scenario, append it to
// [processScenarios] or [fileScenarios], and this library's goals in it to [goals].
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"time"
)

// A budget bounds a run.
type budget struct {
	rounds    int           // rounds of each scenario
	slice     time.Duration // a turn in which no goroutine sleeps
	contended time.Duration // a turn in which many goroutines queue
	processes time.Duration // a turn of several processes
	names     int           // one-off names
	held      int           // names held at once
	cancels   int           // cancelled waits in a turn
	kills     int           // killed holders in a turn
}

var (
	full = budget{
		rounds: 7, slice: 80 * time.Millisecond, contended: 400 * time.Millisecond,
		processes: time.Second,
		names:     1_000_000, held: 200_000, cancels: 300, kills: 10,
	}
	quick = budget{
		rounds: 5, slice: 12 * time.Millisecond, contended: 50 * time.Millisecond,
		processes: 120 * time.Millisecond,
		names:     300_000, held: 200_000, cancels: 40, kills: 3,
	}
)

func main() {
	if isWorker() {
		serve(os.Stdin, os.Stdout)
		return
	}
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures the scenarios that the arguments choose, reports progress and writes the report.
func run(args []string, out, progress io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	var (
		short  = flags.Bool("quick", false, "take two minutes in total")
		rounds = flags.Int("rounds", 0, "rounds of each scenario (default 7, with -quick 5)")
		only   = flags.String("only", "", "measure only the scenarios whose key matches this `regexp`")
		dir    = flags.String("out", "", "write benchmarks.md and charts/*.svg into this `directory`")
		list   = flags.Bool("list", false, "list the scenarios and the contenders of each")
		python = flags.String("python", "/usr/bin/python3",
			"the Python `interpreter` that has the Python peers")
	)
	flags.SetOutput(progress)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	b := full
	if *short {
		b = quick
	}
	if *rounds > 0 {
		b.rounds = *rounds
	}
	if _, err := exec.LookPath(*python); err != nil {
		fmt.Fprintf(progress, "%s not found: the Python peers are left out\n", *python)
	}

	site, err := newSite(*python)
	if err != nil {
		return err
	}
	defer site.close()
	go func() {
		interrupts := make(chan os.Signal, 1)
		signal.Notify(interrupts, os.Interrupt)
		<-interrupts
		site.close()
		os.Exit(130)
	}()
	var chosen []scenario
	for _, s := range scenarios(site, b) {
		if wanted.MatchString(s.key) {
			chosen = append(chosen, s)
		}
	}
	if *list {
		return printList(out, chosen)
	}
	begin := time.Now()
	results := measure(chosen, b.rounds, progress)
	fmt.Fprintf(progress, "measured in %v\n", time.Since(begin).Round(time.Second))
	if *dir == "" {
		return writeTables(out, results)
	}
	return writeReport(*dir,
		report{results: results, budget: b, elapsed: time.Since(begin), machine: describe(site)})
}
