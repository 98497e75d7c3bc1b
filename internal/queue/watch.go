package queue

import (
	"context"
	"errors"
	"runtime"
	"time"
)

// An Observer is told of each request that has to wait and has a Subject. Its methods are called
// by the goroutine that waits, with no lock of this package held. A request that is granted at
// once costs nothing.
type Observer interface {
	// Begin is called when the request is in the queue.
	Begin(w *Wait)
	// Met is called once for each hold that the request had to wait for as the first of the
	// queue. It tells how the lock was held, and for how long the request, or another one before
	// it, waited for the end of the hold.
	Met(w *Wait, held Mode, d time.Duration)
	// End is called when the wait is over. The observer must not use w any more.
	End(w *Wait, err error)
	// Aborts reports whether the observer may abort a wait with that context.
	Aborts(ctx context.Context) bool
}

var observer Observer

// Observe sets the observer. It must be called before the first request.
func Observe(o Observer) { observer = o }

// A Subject says what is waited for, in the terms of an Observer. Requests with the zero Subject
// are not observed.
type Subject struct {
	In          any    // what the name belongs to, as a table of names
	Scope, Name string // of the lock
	Path        string // of a lock file
	// Within is the hold inside the process that a request has which waits for a lock file or at a
	// service. It may be zero.
	Within Hold
	Origin
}

// An Origin says where a request comes from.
type Origin struct {
	By    string // the function that makes the request, if it has said so
	Quiet bool   // nothing is to be logged about the request
}

// A Wait is a request in the queue of a lock, as an Observer sees it.
type Wait struct {
	// Written before the request is queued.
	Subject
	Context context.Context
	Mode    Mode
	Fair    bool
	Since   time.Duration // a reading of Clock

	// Note is for the observer, which writes and reads it in Begin, Met and End. It stays there
	// when the Wait is used for another request, so that the observer need not allocate it anew.
	Note any

	Lock   *Lock                   // nil outside of locks
	cancel context.CancelCauseFunc // of the context, for a wait outside of locks that may be aborted
	waiter *waiter                 // that the Wait is part of; never changed
}

// Abortable reports whether Abort may be called.
func (w *Wait) Abortable() bool { return w.Lock != nil || w.cancel != nil }

// Abort ends the wait with err, unless the lock has been granted. It must be called before End.
func (w *Wait) Abort(err error) {
	if w.cancel != nil {
		w.cancel(abortion{err})
		return
	}
	me := w.waiter
	me.mu.Lock()
	me.aborted = err
	me.mu.Unlock()
	me.wake()
}

// Granted reports whether the lock has been granted, although the goroutine may not have noticed
// yet. It must be called before End.
func (w *Wait) Granted() bool {
	me := w.waiter
	me.mu.Lock()
	defer me.mu.Unlock()
	return me.granted
}

// An abortion is the cause of the end of a context that Abort has ended.
type abortion struct{ error }

// Outside tells the observer of a wait that is not for a [Lock]. The wait has to end with the
// context returned. Then the caller has to call [Wait.Over].
func Outside(ctx context.Context, m Mode, fair bool, about Subject) (context.Context, *Wait) {
	if observer == nil || about.In == nil {
		return ctx, nil
	}
	me := newWaiter(ctx, nil, m, Barging, about)
	me.Fair, me.position = fair, 0
	if observer.Aborts(ctx) {
		me.Context, me.cancel = context.WithCancelCause(ctx)
	}
	me.begin(func() {
		if me.cancel != nil {
			me.cancel(nil)
		}
	})
	return me.Context, &me.Wait
}

// Over ends a wait that began with Outside, and returns its error: that of Abort in place of err.
func (w *Wait) Over(err error) error {
	if w == nil {
		return err
	}
	if w.cancel != nil {
		var a abortion
		if err != nil && errors.As(context.Cause(w.Context), &a) {
			err = a.error
		}
		w.cancel(nil)
	}
	observer.End(w, err)
	w.waiter.free()
	return err
}

// stackDepth is how many callers of a request are kept.
const stackDepth = 24

// Trace makes the waiting goroutine keep its stack, for [Wait.Stack]: only a goroutine itself knows
// its stack, and so it costs nothing unless it is wanted. It must be called before End.
func (w *Wait) Trace() {
	me := w.waiter
	me.mu.Lock()
	if me.depth == 0 && !me.signal {
		me.tracing = true
		me.arrival.Signal()
	}
	me.mu.Unlock()
}

// Stack returns the callers of the request, the innermost first, or nil if [Wait.Trace] was not
// called or has not had its effect yet.
func (w *Wait) Stack() []uintptr {
	me := w.waiter
	me.mu.Lock()
	defer me.mu.Unlock()
	return append([]uintptr(nil), me.stack[:me.depth]...)
}

// trace keeps the stack. Nobody else may know of the waiter, or mu is held.
func (w *waiter) trace() {
	w.depth, w.tracing = runtime.Callers(2, w.stack[:]), false
}

// Position returns a number above 0 that grows along the queue of the lock, or 0 outside of locks.
func (w *Wait) Position() uint64 { return w.waiter.position }

// State returns what the lock looks like now.
func (l *Lock) State() (s State) {
	l.Section(func(w Word) Word {
		s = l.StateLocked(w)
		return w
	})
	return s
}

// A State is what a lock looks like at one instant.
type State struct {
	Held    bool
	Mode    Mode  // of the holders
	Holders int   // how many there are
	Permits int64 // how many exclusive ones there may be

	// Where the first requests of each mode are in the queue, see Wait.Position; 0 if there is none.
	FirstExclusive, FirstShared uint64
}

// A View is a State with the waits in the queue, the first in front. What they point to may change.
type View struct {
	State
	Waits []WaitView
}

// A WaitView is a copy of what does not change in a Wait.
type WaitView struct {
	Subject
	Context context.Context
	Mode    Mode
	Fair    bool
	Since   time.Duration
	Stack   []uintptr // nil if it is not known

	wait *Wait
}

// Is reports whether the view is of that wait.
func (v WaitView) Is(w *Wait) bool { return v.wait == w }

// ViewLocked is View with busy set.
func (l *Lock) ViewLocked(w Word) View {
	v := View{State: l.StateLocked(w)}
	for q := l.queue.head; q != nil; q = q.next {
		fair := q.Fair || q.handoff
		v.Waits = append(v.Waits, WaitView{q.Subject, q.Context, q.Mode, fair, q.Since, q.Stack(), &q.Wait})
	}
	return v
}

// View returns what the lock looks like now, with its queue.
func (l *Lock) View() (v View) {
	l.Section(func(w Word) Word {
		v = l.ViewLocked(w)
		return w
	})
	return v
}

// StateLocked is State with busy set.
func (l *Lock) StateLocked(w Word) State {
	s := State{Permits: max(int64(l.Permits), 1), Holders: int(w.count())}
	s.Mode, s.Held = w.Holder()
	if w.HeldAs(Exclusive) && l.Permits <= 1 {
		s.Holders = 1 // the count may be that of requests that are about to leave
	}
	for q := l.queue.head; q != nil && (s.FirstExclusive == 0 || s.FirstShared == 0); q = q.next {
		first := &s.FirstExclusive
		if q.Mode == Shared {
			first = &s.FirstShared
		}
		if *first == 0 {
			*first = q.position
		}
	}
	return s
}

// Clock returns a monotonic reading of the clock, for differences. Readings are below zero in a
// bubble of testing/synctest, since its clock starts in the past. Only goroutines of one bubble
// may wake each other, so observers have to tell.
func Clock() time.Duration { return time.Since(epoch) }

// At returns the time of a reading.
func At(reading time.Duration) time.Time { return epoch.Add(reading) }

var epoch = time.Now()

// Trace makes the goroutines that wait for the lock keep their stacks, as [Wait.Trace] does, but
// for those in bubbles of testing/synctest. It reports whether there are any that have not kept
// them yet.
func (l *Lock) Trace() (traced bool) {
	l.Section(func(w Word) Word {
		traced = l.ViewLocked(w).Trace()
		return w
	})
	return traced
}

// Trace is [Lock.Trace] with busy still set as for the view.
func (v View) Trace() (traced bool) {
	for _, q := range v.Waits {
		if q.Since >= 0 && q.Stack == nil {
			q.wait.Trace()
			traced = true
		}
	}
	return traced
}
