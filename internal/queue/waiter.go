package queue

import (
	"context"
	"math"
	"sync"
	"time"
)

// A waiter is one goroutine in a lock's queue.
type waiter struct {
	Wait // its mode and its beginning among others, written before it is queued

	// Guarded by the lock's busy bit while the waiter is queued.
	next, prev *waiter
	position   uint64        // grows along the queue; written before it is queued
	handoff    bool          // nobody may pass: it asked for Fair, or has starved
	awake      bool          // it has been woken to retry
	front      time.Duration // when it began to wait for the present hold, as the first of the queue
	met        met           // the last such hold that has ended

	mu      sync.Mutex
	arrival sync.Cond // on mu: one of the fields below has changed
	// Guarded by mu.
	signal  bool  // there is something to look at
	granted bool  // it has become a holder; set under the lock's busy bit as well
	hold    Hold  // that it was granted, as in Lock.TryAcquire
	aborted error // what the wait is to end with, see Wait.Abort
	tracing bool  // the stack is wanted, see Wait.Trace
	depth   int   // of the stack; 0 if it is not known
	stack   [stackDepth]uintptr
}

// met is what Observer.Met is told.
type met struct {
	ok   bool
	mode Mode
	d    time.Duration
}

// Waiters are pooled. They park on a sync.Cond and not on a channel, since a channel belongs to
// the synctest bubble that it was made in and could not be pooled across bubbles.
var waiters = sync.Pool{New: func() any {
	w := new(waiter)
	w.arrival.L = &w.mu
	w.waiter = w
	return w
}}

func newWaiter(ctx context.Context, l *Lock, m Mode, o Order, about Subject) *waiter {
	w := waiters.Get().(*waiter)
	w.Context, w.Lock, w.Mode, w.Fair, w.Since, w.Subject = ctx, l, m, o == Fair, Clock(), about
	w.handoff = w.Fair
	if l == nil || w.Since < 0 { // nobody outside a bubble may wake the goroutine for it later
		w.trace()
	}
	return w
}

// observed reports whether an observer is told of the wait.
func (w *waiter) observed() bool { return w.In != nil && observer != nil }

// begin tells the observer of the waiter, and calls leave if that panics or ends the goroutine.
func (w *waiter) begin(leave func()) {
	begun := false
	defer func() {
		if !begun {
			leave()
		}
	}()
	observer.Begin(&w.Wait)
	begun = true
}

// meet notes the end of the hold that the waiter, the first of the queue, has waited for.
func (w *waiter) meet(held Mode, now time.Duration) {
	if w.front != noHold {
		w.met = met{true, held, now - w.front}
		w.front = noHold
	}
}

// noHold is in place of when a waiter began to wait for a hold that has ended.
const noHold = time.Duration(math.MinInt64)

// tellMet tells the observer of the hold that has ended, if one has.
func (w *waiter) tellMet(m met) {
	if m.ok && w.observed() {
		observer.Met(&w.Wait, m.mode, m.d)
	}
}

// free gives the waiter back to the pool. Nobody may know of it any more.
func (w *waiter) free() {
	w.awake, w.signal, w.granted, w.hold, w.met = false, false, false, Hold{}, met{}
	w.aborted, w.tracing, w.depth = nil, false, 0
	w.Context, w.cancel, w.Lock, w.Subject = nil, nil, nil, Subject{}
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
func (w *waiter) grant(h Hold) {
	w.mu.Lock()
	w.hold, w.granted, w.signal = h, true, true
	w.arrival.Signal()
	w.mu.Unlock()
}

// holds reports whether a waiter that was granted the lock still holds it: a wrong release may have
// ended that. now is the word, with busy set.
func (w *waiter) holds(now Word) bool {
	return now.HeldAs(w.Mode) && (w.hold == Hold{} || now.generation() == w.hold.word)
}

// park sleeps until there is something to look at, and returns the hold granted, if any.
func (w *waiter) park() (h Hold, granted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.signal {
		w.arrival.Wait()
		if w.tracing {
			w.trace()
		}
	}
	w.signal = false
	return w.hold, w.granted
}

// ended returns the error that ends the wait, if there is one.
func (w *waiter) ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.granted {
		return w.aborted
	}
	return nil
}

// wakeWhenDone makes the end of ctx wake the waiter, until stop is called. Where stop returns
// false that wake-up may still come, so that the waiter must not be used again.
func (w *waiter) wakeWhenDone(ctx context.Context) (stop func() bool) {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, w.wake)
}

// waitlist is the queue, first come first.
type waitlist struct{ head, tail *waiter }

func (q *waitlist) push(w *waiter) {
	w.prev, w.next, w.position = q.tail, nil, 1
	if q.tail == nil {
		q.head = w
	} else {
		q.tail.next = w
		w.position += q.tail.position
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
