package queue

import (
	"context"
	"flag"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// stressTime is how long the stress test runs in all.
var stressTime = flag.Duration("stress", time.Second, "how long TestStress runs")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var background = context.Background()

// collisions is a table that keeps that many bits of the hash for its identities and has that
// many slots: with few of each, keys meet in a slot, and look alike, all the time.
func collisions(slots, bits int, permits int64) *Table {
	t := NewTable(slots, permits)
	t.cut = ^(Hash(len(t.slots)-1)<<(generationShift+1) | (1<<bits-1)<<countShift)
	return t
}

// A room is what a lock protects. It counts whoever is in it together with somebody that the lock
// should have kept out. The plain number is for the race detector, which finds accesses without a
// happens-before relation even where they do not overlap.
type room struct {
	permits  int64
	writers  atomic.Int64
	readers  atomic.Int64
	overlaps atomic.Int64
	visits   int // written by exclusive visitors where there is one permit
}

// visit is what a holder of mode m does.
func (r *room) visit(m Mode, stay func()) {
	if m == Shared {
		r.readers.Add(1)
		r.check(r.writers.Load() == 0 && r.visits >= 0)
		stay()
		r.check(r.writers.Load() == 0)
		r.readers.Add(-1)
		return
	}
	r.check(r.writers.Add(1) <= r.permits)
	r.check(r.readers.Load() == 0)
	if r.permits == 1 {
		r.visits++
	}
	stay()
	r.check(r.readers.Load() == 0)
	r.writers.Add(-1)
}

func (r *room) check(ok bool) {
	if !ok {
		r.overlaps.Add(1)
	}
}

// checkIdle reports whatever a lock that nobody uses should not have in it.
func (l *Lock) checkIdle(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := l.load(); w&^(generationMask|overflowed) != 0 {
		t.Errorf("the word of an idle lock is %#x", w)
	}
	if l.queue.head != nil || l.queue.tail != nil || l.handoff != 0 || l.named.Load() != 0 {
		t.Errorf("an idle lock has waiters %p to %p, %d for a hand-off, and %d permits held by name",
			l.queue.head, l.queue.tail, l.handoff, l.named.Load())
	}
}

// checkIdle is the same for a table.
func (t *Table) checkIdle(tt *testing.T) {
	tt.Helper()
	if n := t.Len(); n != 0 {
		tt.Errorf("an idle table has %d keys in use", n)
	}
	for i := range t.slots {
		t.slots[i].checkIdle(tt)
		if t.slots[i].entries != 0 {
			tt.Errorf("an idle slot has entries: %v", t.slots[i].overflow)
		}
	}
}

// waitFor returns when the lock has n requests of mode m queued. It is for tests whose goroutines
// cannot run in a bubble.
func (l *Lock) waitFor(n int, m Mode) {
	for l.waiting(m) != n {
		time.Sleep(50 * time.Microsecond)
	}
}

// waiting returns how many requests of mode m are queued.
func (l *Lock) waiting(m Mode) (n int) {
	for _, q := range l.View().Waits {
		if q.Mode == m {
			n++
		}
	}
	return n
}

// Acquire is AcquireFrom without an origin.
func (t *Table) Acquire(ctx context.Context, k Key, m Mode, o Order) (Hold, error) {
	return t.AcquireFrom(ctx, k, m, o, Origin{})
}
