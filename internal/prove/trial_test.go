package prove

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	timeFlag     = flag.Duration("prove.time", 8*time.Second, "how long all trials take together")
	reportFlag   = flag.String("prove.report", "", "document whose table is to be replaced")
	picturesFlag = flag.String("prove.pictures", os.TempDir(), "directory for the pictures of violations")
	seedFlag     = flag.Uint64("prove.seed", 0, "start of the random choices; 0 chooses one")
)

// A trial tests one thing for a share of the time.
type trial struct {
	name  string
	share int
	run   func(t *testing.T, st *stats)
}

// A family is the trials of one test.
type family struct {
	title  string // in the table
	trials []trial
	only   *bool // the flag without which they do not run; nil: there is none
}

// families lists all trials.
var families []*family

// trials registers a family, so that each trial gets its share of the time.
func trials(title string, list ...trial) *family {
	f := &family{title: title, trials: list}
	families = append(families, f)
	return f
}

// runs reports whether the flags want the family to run.
func (f *family) runs() bool { return f.only == nil || *f.only }

// totalShares returns the sum of the shares of all trials that run.
func totalShares() (sum int) {
	for _, f := range families {
		if !f.runs() {
			continue
		}
		for _, tr := range f.trials {
			sum += tr.share
		}
	}
	return sum
}

// run runs the trials of the family.
func (f *family) run(t *testing.T) {
	for _, tr := range f.trials {
		t.Run(tr.name, func(t *testing.T) {
			st := newStats(f.title, tr.name, *timeFlag*time.Duration(tr.share)/time.Duration(totalShares()))
			tr.run(t, st)
			t.Log(st)
		})
	}
}

// Names of what was done.
const (
	histories  = "histories"
	operations = "operations"
	updates    = "updates"
	kills      = "kills"
	stops      = "stops"
	removals   = "removals"
	refusals   = "refusals by the system"
	deadlocks  = "deadlocks ended"
	cuts       = "disturbances"
	refused    = "late updates refused"
)

// Names of what was found.
const (
	violations = "violations"
	overlaps   = "overlaps"
	lost       = "lost updates"
	hangs      = "hangs"
	leftovers  = "leftovers"
)

// stats counts what a trial has done so far and what it has found.
type stats struct {
	family, trial string
	seed          uint64

	mu     sync.Mutex
	began  time.Time      // guarded by mu
	end    time.Time      // guarded by mu
	rounds int            // guarded by mu
	took   time.Duration  // until the last count; guarded by mu
	counts map[string]int // guarded by mu
}

// allStats holds the stats of each trial of this run.
var allStats struct {
	mu   sync.Mutex
	list []*stats // guarded by mu
}

func newStats(family, trial string, budget time.Duration) *stats {
	st := &stats{
		family: family,
		trial:  trial,
		seed:   *seedFlag,
		counts: map[string]int{},
		began:  time.Now(),
	}
	if st.seed == 0 {
		st.seed = rand.Uint64()
	}
	st.end = st.began.Add(budget)
	allStats.mu.Lock()
	allStats.list = append(allStats.list, st)
	allStats.mu.Unlock()
	return st
}

// timeLeft reports whether there is time for another round. There always is for the first.
func (st *stats) timeLeft() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.rounds++
	return st.rounds == 1 || time.Now().Before(st.end)
}

func (st *stats) count(what string, n int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.counts[what] += n
	st.took = time.Since(st.began)
}

// found counts findings and fails the test if there are any.
func (st *stats) found(t testing.TB, what string, n int, format string, args ...any) {
	t.Helper()
	if n == 0 {
		return
	}
	st.count(what, n)
	t.Errorf("%d %s (-prove.seed=%d): %s", n, what, st.seed, fmt.Sprintf(format, args...))
}

// random returns the random source of round n.
func (st *stats) random(n int) *rand.Rand { return rand.New(rand.NewPCG(st.seed, uint64(n))) }

// String lists what has been done so far.
func (st *stats) String() string {
	st.mu.Lock()
	defer st.mu.Unlock()
	var done []string
	for _, what := range []string{
		histories, operations, updates, kills, stops, cuts, refused, removals, refusals, deadlocks,
	} {
		if n := st.counts[what]; n > 0 {
			done = append(done, fmt.Sprintf("%s %s", thousands(n), what))
		}
	}
	return strings.Join(done, ", ")
}

// finding returns how often something was found.
func (st *stats) finding(what string) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.counts[what]
}

// thousands formats a number with spaces between groups of three digits.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}
