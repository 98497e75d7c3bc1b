package main

import (
	"fmt"
	"math"
)

// A goal bounds one row's value of a metric in a scenario, or its ratio to another row's value in
// the same round.
type goal struct {
	key     string  // the scenario's
	metric  int     // its metric
	row     string  // whose value
	by      string  // divided by whose; empty: not divided
	atLeast float64 // 0: no lower bound
	atMost  float64 // infinite: no upper bound
}

var inf = math.Inf(1)

// goals lists the goals of this library.
func goals() []goal {
	return []goal{
		{"hot", 0, ourLock, "sync.Mutex", 0, 1.9},
		{"hot", 0, ourLock, "xsync.Map + Mutex", 0, 1},
		{"hot", 0, "moby Locker", ourLock, 3.5, inf},
		{"hot", 1, ourLock, "", 0, 0},
		{"hot", 0, "lockutils.Lock, Fair", ourLock, 0, 1.5},
		{"hot", 1, "lockutils.Lock, Fair", "", 0, 0},
		{"hot", 0, "lockutils.Lock, prefix", ourLock, 0, 1.5},
		{"hot", 1, "lockutils.Lock, prefix", "", 0, 0},
		{"hot", 0, "LockWithPrefix", ourLock, 0, 1.5},
		{"hot", 1, "LockWithPrefix", "", 0, 0},
		{"hot", 0, "lockutils.Lock, timeout", ourLock, 0, 1.5},
		{"hot", 1, "lockutils.Lock, timeout", "", 0, 0},
		{"hot", 0, "lockutils.Lock, no logging", ourLock, 0, 1.5},
		{"hot", 1, "lockutils.Lock, no logging", "", 0, 0},
		{"hot", 0, "lockutils.LockContext", ourLock, 0, 1.2},
		{"hot", 0, "lockutils.Synchronized", ourLock, 0, 1.35},
		{"hot", 0, "Synchronized, error", ourLock, 0, 1.35},
		{"hot", 0, "lockutils.Do", ourLock, 0, 3.5},
		{"hot", 1, "lockutils.Do", "", 0, 1},
		{"hot", 0, "Synchronized, context", ourLock, 0, 3.5},
		{"hot", 1, "Synchronized, context", "", 0, 1},
		{"hot", 0, "Semaphore", ourLock, 0, 1.35},
		{"hot", 0, "Semaphores.Get", ourLock, 0, 1.35},
		{"hot", 0, "FairLock", ourLock, 0, 1.35},
		{"new", 0, ourLock, "sync.Mutex", 0, 2.6},
		{"new", 0, "moby Locker", ourLock, 3, inf},
		{"own-parallel", 0, "moby Locker", ourLock, 8.4, inf},
		{"own-parallel", 0, ourLock, "sync.Map + Mutex", 0, 1.05},
		{"new-parallel", 0, "moby Locker", ourLock, 3, inf},
		// With two processors, neither lock takes much longer than for one goroutine. With four, the
		// mutex takes five times as long.
		{"one-parallel", 0, ourLock, "sync.Mutex", 0, 1.6},
		{"contended", 0, ourLock, "sync.Mutex", 0, 1.25},
		{"contended", 0, ourLock + ", Fair", "x/sync semaphore", 0, 1},
		{"waits", 0, ourLock, "sync.Mutex", 0, 1},
		{"readers", 0, ourReader, "sync.RWMutex", 0, 1.3},
		{"readers", 0, "NamedReaderWriterLock", "sync.RWMutex", 0, 1.3},
		{"mostly-readers", 0, ourReader, "xsync.Map + RWMutex", 0, 2},
		{"mostly-readers", 0, "NamedReaderWriterLock", "xsync.Map + RWMutex", 0, 2},
		{"held-names", 0, heldRow(1_000_000), heldRow(1), 0, 4},
		{"many-waiters", 0, waitersRow(1_000), waitersRow(10), 0, 1.5},
		{"many-waiters", 0, waitersRow(10_000), waitersRow(10), 0, 1.5},
		{"many-waiters", 0, waitersRow(100_000), waitersRow(10), 0, 1.5},
		{"memory-once", 0, ourLock, "", 0, 256 << 10},
		{"memory-held", 0, ourLock, "", 0, 256 << 10},
		{"file-uncontended", 0, ourFile, "gofrs/flock", 0, 0.6},
		{"file-uncontended", 0, ourFair, "gofrs/flock", 0, 1},
		{"file-names", 0, ourFile, "gofrs/flock", 0, 1},
		{"file-uncontended", 0, "oslo.concurrency", ourFile, 15, inf},
		{"file-handover", 0, ourFile, blocking, 0, 1.5},
		{"file-handover", 0, ourWait, blocking, 0, 1.2},
		{"file-throughput-2", 0, ourFile, blocking, 0.95, inf},
		{"file-throughput-4", 0, ourFile, blocking, 0.95, inf},
		{"file-cancel", 0, ourFile, "", 0, 1e6},
		{"file-takeover", 0, ourFile, blocking, 0, 1.3},
		{"file-fair-2", 0, ourFair, blocking, 0.3, inf},
		{"file-fair-2", 2, ourFair, "", 0.97, inf},
		{"file-fair-2", 3, ourFair, "", 0, 1.03},
		{"file-fair-4", 0, ourFair, blocking, 0.3, inf},
		{"file-fair-4", 2, ourFair, "", 0.97, inf},
		{"file-fair-4", 3, ourFair, "", 0, 1.03},
		{"file-fair-16", 0, ourFair, blocking, 0.3, inf},
		{"file-fair-16", 2, ourFair, "", 0.97, inf},
		{"file-fair-16", 3, ourFair, "", 0, 1.03},
		{"file-python", 0, "lockutils + oslo.concurrency", "", 0.05, inf},
	}
}

// A verdict compares a goal with what was measured.
type verdict struct{ what, target, measured, met string }

// judge compares a result with a goal. It reports false if the result has no values for it.
func (g goal) judge(r result) (verdict, bool) {
	row, ok := r.row(g.row)
	if !ok || row.err != nil || len(row.rounds) == 0 {
		return verdict{}, false
	}
	m := r.metrics[g.metric]
	what := fmt.Sprintf("%s: %s", r.title, g.row)
	value, format := median(row.values(g.metric)), m.unit.format
	if g.by != "" {
		other, ok := r.row(g.by)
		if !ok {
			return verdict{}, false
		}
		if value, ok = row.ratio(other, g.metric); !ok {
			return verdict{}, false
		}
		what += " to " + g.by
		format = formatRatio
	}
	if m.name != "time" {
		what += ", " + m.name
	}
	v := verdict{what: what, measured: format(value), met: "yes"}
	if g.atLeast > 0 {
		v.target = "at least " + format(g.atLeast)
	} else {
		v.target = "at most " + format(g.atMost)
	}
	// Counts are compared as shown, so that an allocation of the runtime does not count.
	if m.unit == count {
		value = math.Round(value)
	}
	if g.atLeast > 0 && value < g.atLeast || value > g.atMost {
		v.met = "**no**"
	}
	return v, true
}
