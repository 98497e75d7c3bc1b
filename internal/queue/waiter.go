package queue

import (
	"context"
	"sync"
	"time"
)

// A waiter is one goroutine in a lock's queue.
type waiter struct {
	// Written by the waiter before it is queued.
	mode  Mode
	since time.Time // zero if it cannot be passed anyway

	// Guarded by the lock's busy bit while the waiter is queued.
	next, prev *waiter
	handoff    bool // nobody may pass: it asked for Fair, or has starved
	awake      bool // it has been woken to retry

	mu      sync.Mutex
	arrival sync.Cond // on mu: one of the fields below has changed
	// Guarded by mu.
	signal     bool       // there is something to look at
	granted    bool       // it has become a holder; set under the lock's busy bit as well
	generation Generation // of the hold that it was granted
}

// Waiters are pooled. They park on a sync.Cond and not on a channel, since a channel belongs to the synctest bubble that
// it was made in and could not be pooled across bubbles.
var waiters = sync.Pool{New: func() any {
	w := new(waiter)
	w.arrival.L = &w.mu
	return w
}}

func newWaiter(m Mode, o Order) *waiter {
	w := waiters.Get().(*waiter)
	w.mode, w.handoff, w.since = m, o == Fair, time.Time{}
	if !w.handoff {
		w.since = time.Now()
	}
	return w
}

// free gives the waiter back to the pool. Nobody may know of it any more.
func (w *waiter) free() {
	w.awake, w.signal, w.granted = false, false, false
	waiters.Put(w)
}

// wake makes the waiter look around.
func (w *waiter) wake() {
	w.mu.Lock()
	w.signal = true
	w.arrival.Signal()
	w.mu.Unlock()
}

// grant tells the waiter that it has become a holder. The caller must not touch it afterwards.
func (w *waiter) grant(g Generation) {
	w.mu.Lock()
	w.generation, w.granted = g, true
	w.signal = true
	w.arrival.Signal()
	w.mu.Unlock()
}

// park sleeps until there is something to look at, and returns the hold granted, if any.
func (w *waiter) park() (g Generation, granted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.signal {
		w.arrival.Wait()
	}
	w.signal = false
	return w.generation, w.granted
}

// wakeWhenDone makes the end of ctx wake the waiter, until stop is called. Where stop returns false that wake-up may
// still come, so that the waiter must not be used again.
func (w *waiter) wakeWhenDone(ctx context.Context) (stop func() bool) {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, w.wake)
}

// waitlist is the queue, first come first.
type waitlist struct{ head, tail *waiter }

func (q *waitlist) push(w *waiter) {
	w.prev, w.next = q.tail, nil
	if q.tail == nil {
		q.head = w
	} else {
		q.tail.next = w
	}
	q.tail = w
}

func (q *waitlist) remove(w *waiter) {
	if w.prev == nil {
		q.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.next, w.prev = nil, nil
}
