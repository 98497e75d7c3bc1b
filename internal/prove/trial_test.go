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

// A trial tries one thing for a share of the time.
type trial struct {
	name  string
	share int
	run   func(t *testing.T, e *effort)
}

// A family is the trials of one test.
type family struct {
	title  string // in the table
	trials []trial
}

// families is all trials there are.
var families []*family

// trials makes the trials known, so that each gets its share of the time.
func trials(title string, list ...trial) *family {
	f := &family{title, list}
	families = append(families, f)
	return f
}

// totalShares is the sum of what share says of all trials.
func totalShares() (sum int) {
	for _, f := range families {
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
			e := newEffort(f.title, tr.name, *timeFlag*time.Duration(tr.share)/time.Duration(totalShares()))
			tr.run(t, e)
		})
	}
}

// What an effort counts of what it does.
const (
	histories  = "histories"
	operations = "operations"
	updates    = "updates"
	kills      = "kills"
	stops      = "stops"
	removals   = "removals"
	refusals   = "refusals by the system"
)

// What it counts of what it finds.
const (
	violations = "violations"
	overlaps   = "overlaps"
	lost       = "lost updates"
	hangs      = "hangs"
	leftovers  = "leftovers"
)

// An effort is what has been tried in a trial so far, and what was found.
type effort struct {
	family, trial string
	seed          uint64

	mu     sync.Mutex
	began  time.Time      // guarded by mu
	end    time.Time      // guarded by mu
	rounds int            // guarded by mu
	took   time.Duration  // until something was counted last; guarded by mu
	counts map[string]int // guarded by mu
}

// efforts is what has been tried in this run.
var efforts struct {
	mu   sync.Mutex
	list []*effort // guarded by mu
}

func newEffort(family, trial string, budget time.Duration) *effort {
	e := &effort{family: family, trial: trial, seed: *seedFlag, counts: map[string]int{}, began: time.Now()}
	if e.seed == 0 {
		e.seed = rand.Uint64()
	}
	e.end = e.began.Add(budget)
	efforts.mu.Lock()
	efforts.list = append(efforts.list, e)
	efforts.mu.Unlock()
	return e
}

// goesOn reports whether there is time for another round. There always is for the first.
func (e *effort) goesOn() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rounds++
	return e.rounds == 1 || time.Now().Before(e.end)
}

func (e *effort) count(what string, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counts[what] += n
	e.took = time.Since(e.began)
}

// found counts a finding, which fails the test.
func (e *effort) found(t testing.TB, what string, n int, format string, args ...any) {
	t.Helper()
	if n == 0 {
		return
	}
	e.count(what, n)
	t.Errorf("%d %s (-prove.seed=%d): %s", n, what, e.seed, fmt.Sprintf(format, args...))
}

// random returns a source of choices for round n of the effort.
func (e *effort) random(n int) *rand.Rand { return rand.New(rand.NewPCG(e.seed, uint64(n))) }

// String tells what has been done so far.
func (e *effort) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var done []string
	for _, what := range []string{histories, operations, updates, kills, stops, removals, refusals} {
		if n := e.counts[what]; n > 0 {
			done = append(done, fmt.Sprintf("%s %s", thousands(n), what))
		}
	}
	return strings.Join(done, ", ")
}

// finding returns how often something was found.
func (e *effort) finding(what string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts[what]
}

// thousands writes a number with a space after the thousands.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}
