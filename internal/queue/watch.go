package queue

import (
	"context"
	"errors"
	"runtime"
	"time"
)

// An Observer is told of each request that has to wait and has a Subject. Its methods are called by the
// goroutine that waits, with no lock of this package held. A request that is granted at once costs
// nothing.
type Observer interface {
	// Begin is called when the request is in the queue.
	Begin(ctx context.Context, w *Wait)
	// Met is called once for each hold that the request had to wait for as the first of the queue. It
	// tells how the lock was held, and for how long the request, or another one before it, waited for
	// the end of the hold.
	Met(w *Wait, held Mode, d time.Duration)
	// End is called when the wait is over. The observer must not use w any more.
	End(w *Wait, err error)
}

var observer Observer

// Observe sets the observer. It must be called before the first request.
func Observe(o Observer) { observer = o }

// A Subject says what is waited for, in the terms of an Observer. Requests with the zero Subject are not
// observed.
type Subject struct {
	In   any // what the key belongs to, as a *Table
	Key  Key
	Path string // of a lock file
	By   string // the function that makes the request, if it has said so
}

// A Wait is a request in the queue of a lock, as an Observer sees it.
type Wait struct {
	// Written before the request is queued.
	Subject
	Mode  Mode
	Fair  bool
	Since time.Duration // a reading of Clock

	// Note is for the observer, which writes and reads it in Begin, Met and End. It stays there when the
	// Wait is used for another request, so that the observer need not allocate it again.
	Note any

	lock   *Lock
	waiter *waiter
}

// ErrAborted is what a request returns whose wait was ended by Abort.
var ErrAborted = errors.New("wait aborted")

// Abort ends the wait, unless the lock has been granted. It must be called before End.
func (w *Wait) Abort() {
	me := w.waiter
	me.mu.Lock()
	me.aborted = true
	me.signal = true
	me.arrival.Signal()
	me.mu.Unlock()
}

// stackDepth is how many callers of a request are kept.
const stackDepth = 24

// Trace makes the waiting goroutine keep its stack, for [Wait.Stack]. It must be called before End.
//
// So a stack costs nothing unless it is wanted, and only a goroutine itself can know it.
func (w *Wait) Trace() {
	me := w.waiter
	me.mu.Lock()
	if me.depth == 0 && !me.signal {
		me.tracing = true
		me.arrival.Signal()
	}
	me.mu.Unlock()
}

// Stack returns the callers of the request, the innermost first, or nil if [Wait.Trace] was not called or
// has not had its effect yet.
func (w *Wait) Stack() []uintptr {
	me := w.waiter
	me.mu.Lock()
	defer me.mu.Unlock()
	if me.depth == 0 {
		return nil
	}
	return append([]uintptr(nil), me.stack[:me.depth]...)
}

// trace keeps the stack; mu is held.
func (w *waiter) trace() {
	w.depth, w.tracing = runtime.Callers(2, w.stack[:]), false
}

// State returns how the lock is held and who waits for it, see [State].
func (w *Wait) State() State {
	l := w.lock
	l.mu.Lock()
	defer l.mu.Unlock()
	word := l.lockState()
	defer l.unlockState(word)
	return l.look(word)
}

// Lock identifies the lock that is waited for.
func (w *Wait) Lock() *Lock { return w.lock }

// A State is what a lock looks like at one instant.
type State struct {
	Held    bool
	Mode    Mode  // of the holders
	Holders int   // how many there are
	Permits int64 // how many exclusive ones there may be
	Queued  int   // how many requests wait
	First   Mode  // of the first request in the queue
}

// look returns the state; busy is set.
func (l *Lock) look(w word) State {
	s := State{Permits: max(int64(l.permits), 1)}
	switch {
	case w.heldAs(Exclusive):
		s.Held, s.Mode, s.Holders = true, Exclusive, 1
		if l.permits > 1 {
			s.Holders = int(w.count())
		}
	case w.heldAs(Shared):
		s.Held, s.Mode, s.Holders = true, Shared, int(w.count())
	}
	if first := l.queue.head; first != nil {
		s.First = first.Mode
	}
	for q := l.queue.head; q != nil; q = q.next {
		s.Queued++
	}
	return s
}

// Clock returns a monotonic reading of the clock, for differences. Readings are below zero in a bubble of
// testing/synctest, since its clock starts in the past. Only goroutines of one bubble may wake each
// other, so observers have to tell.
func Clock() time.Duration { return time.Since(epoch) }

// At returns the time of a reading.
func At(reading time.Duration) time.Time { return epoch.Add(reading) }

var epoch = time.Now()
