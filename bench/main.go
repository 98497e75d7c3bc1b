// Command bench measures named locks beside their peers: the same work, in one process and one run, in turns.
//
//	go run . -quick                      every scenario, two minutes, tables on standard output
//	go run . -only 'hot|parallel'        only the scenarios whose key matches
//	go run . -out ../docs                the full run; writes benchmarks.md and charts/*.svg there
//	go run . -list                       the scenarios and who takes part in each
//
// What it measures: locks inside one process, how long their waiters wait and what memory they keep
// (scenario_process.go), and locks that exclude other processes by a file (scenario_file.go).
//
// How: a [scenario] asks one question of several contenders. A round asks each of them once, for a fixed slice of time,
// and every round begins with another contender, so that whatever disturbs the machine disturbs all alike. The report
// gives the median of the rounds, their range, and the median of the ratios taken within each round: to the
// scenario's yardstick (a bare sync.Mutex, a blocking flock(2)) and to this library. Every acquisition and release inside
// one process goes through one indirect call, the same for all, whose cost the row "nothing" shows. Allocations are the whole
// process's divided by the operations. Where several processes take part, each is this program started anew or a Python
// interpreter that speaks the same protocol (worker.go, python_worker.py); they log when they asked, acquired and released
// on the host's clock, and every figure is computed from the merged log (rush.go), which also shows two holders at once.
//
// To add a peer of one process, append it to [peers] or [readers] in peers.go; a lock file, to [filePeers] in
// file_peers.go. A peer that keeps entries for ever, lets names collide or cannot be cancelled says so in its note, which the
// tables show. To add a scenario, append it to [processScenarios] or [fileScenarios]; what this library sets out to reach in
// it belongs in [goals].
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

// A budget says how much of everything a run may take.
type budget struct {
	rounds    int           // rounds of each scenario
	slice     time.Duration // one contender's turn where nobody sleeps
	crowd     time.Duration // its turn where a crowd of goroutines queues
	processes time.Duration // its turn where several processes compete
	names     int           // one-off names
	held      int           // names held at once
	cancels   int           // cancelled waits in one turn
	kills     int           // killed holders in one turn
}

var (
	full = budget{
		rounds: 7, slice: 80 * time.Millisecond, crowd: 400 * time.Millisecond, processes: time.Second,
		names: 1_000_000, held: 200_000, cancels: 300, kills: 10,
	}
	quick = budget{
		rounds: 5, slice: 12 * time.Millisecond, crowd: 50 * time.Millisecond, processes: 120 * time.Millisecond,
		names: 300_000, held: 200_000, cancels: 40, kills: 3,
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

// run measures what the arguments ask for, tells progress as it goes and writes the report.
func run(args []string, out, progress io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	var (
		short  = flags.Bool("quick", false, "take two minutes in total")
		rounds = flags.Int("rounds", 0, "rounds of each scenario (default 7, with -quick 5)")
		only   = flags.String("only", "", "measure only the scenarios whose key matches this `regexp`")
		dir    = flags.String("out", "", "write benchmarks.md and charts/*.svg into this `directory`")
		list   = flags.Bool("list", false, "list the scenarios and the contenders of each")
		python = flags.String("python", "/usr/bin/python3", "the Python `interpreter` that has the Python peers")
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
		fmt.Fprintf(progress, "no %s: the Python peers are left out\n", *python)
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
	return writeReport(*dir, report{results: results, budget: b, elapsed: time.Since(begin), machine: describe(site)})
}
