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
	In   any // what the key belongs to, as a *Table
	Key  Key
	Path string // of a lock file
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

	lock   *Lock                   // nil outside of locks
	cancel context.CancelCauseFunc // of the context, for a wait outside of locks that may be aborted
	waiter *waiter                 // that the Wait is part of; never changed
}

// Abortable reports whether Abort may be called.
func (w *Wait) Abortable() bool { return w.lock != nil || w.cancel != nil }

// Abort ends the wait with err, unless the lock has been granted. It must be called before End.
func (w *Wait) Abort(err error) {
	if w.cancel != nil {
		w.cancel(abortion{err})
		return
	}
	me := w.waiter
	me.mu.Lock()
	me.aborted = err
	me.signal = true
	me.arrival.Signal()
	me.mu.Unlock()
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
	me.traceNow()
	begun := false
	defer func() {
		if !begun && me.cancel != nil { // The observer has panicked, or ended the goroutine.
			me.cancel(nil)
		}
	}()
	observer.Begin(&me.Wait)
	begun = true
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

// Stack returns the callers of the request, the innermost first, or nil if [Wait.Trace] was not
// called or has not had its effect yet.
func (w *Wait) Stack() []uintptr {
	me := w.waiter
	me.mu.Lock()
	defer me.mu.Unlock()
	if me.depth == 0 {
		return nil
	}
	return append([]uintptr(nil), me.stack[:me.depth]...)
}

// traceNow is trace for the waiting goroutine itself.
func (w *waiter) traceNow() {
	w.mu.Lock()
	w.trace()
	w.mu.Unlock()
}

// trace keeps the stack; mu is held.
func (w *waiter) trace() {
	w.depth, w.tracing = runtime.Callers(2, w.stack[:]), false
}

// Position returns a number above 0 that grows along the queue of the lock, or 0 outside of locks.
func (w *Wait) Position() uint64 { return w.waiter.position }

// Lock returns the lock that is waited for, which stays the same until End, or nil outside of
// locks.
func (w *Wait) Lock() *Lock { return w.lock }

// State returns what the lock looks like now.
func (l *Lock) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.lockState()
	defer l.unlockState(w)
	return l.look(w)
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

// view returns the View; busy is set.
func (l *Lock) view(w word) View {
	v := View{State: l.look(w)}
	for q := l.queue.head; q != nil; q = q.next {
		fair := q.Fair || q.handoff
		v.Waits = append(v.Waits, WaitView{q.Subject, q.Context, q.Mode, fair, q.Since, q.Stack(), &q.Wait})
	}
	return v
}

// View returns what the lock looks like now, with its queue.
func (l *Lock) View() View {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.lockState()
	defer l.unlockState(w)
	return l.view(w)
}

// Visit calls f with each lock of the table that is in use, as it is at one instant, and its key.
// f must not use the table.
func (t *Table) Visit(f func(k Key, l *Lock, v View)) {
	for i := range t.slots {
		if s := &t.slots[i]; s.load().inUse() || s.load()&overflowed != 0 {
			s.inspect(f)
		}
	}
}

func (s *slot) inspect(f func(k Key, l *Lock, v View)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.lockName()
	if w.inUse() {
		f(s.key(), &s.Lock, s.view(w))
	}
	s.unlockState(w)
	for _, e := range s.chains {
		for ; e != nil; e = e.next {
			if v := e.View(); v.Held || len(v.Waits) > 0 {
				f(e.key, &e.Lock, v)
			}
		}
	}
}

// key returns a copy of the key that the slot's lock serves. Nobody may be writing it.
func (s *slot) key() Key {
	text := s.text[len(s.text)-int(s.size):]
	return Key{Scope: string(text[:s.scope]), Name: string(text[s.scope:])}
}

// look returns the state; busy is set.
func (l *Lock) look(w word) State {
	s := State{Permits: max(int64(l.permits), 1), Holders: int(w.count())}
	s.Mode, s.Held = w.holder()
	if w.heldAs(Exclusive) && l.permits <= 1 {
		s.Holders = 1 // the count may be that of requests that are about to leave
	}
	for q := l.queue.head; q != nil && (s.FirstExclusive == 0 || s.FirstShared == 0); q = q.next {
		switch {
		case q.Mode == Exclusive && s.FirstExclusive == 0:
			s.FirstExclusive = q.position
		case q.Mode == Shared && s.FirstShared == 0:
			s.FirstShared = q.position
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

// Serving returns the lock that serves the key now, or nil if the key is not in use.
func (t *Table) Serving(k Key) (serving *Lock) {
	s, h := t.slot(k.Hash())
	s.visit(k, h, func(l *Lock, w word) word {
		serving = l
		return w
	})
	return serving
}

// Trace makes the goroutines that wait for locks of the table keep their stacks, as [Wait.Trace]
// does, but for those in bubbles of testing/synctest. It reports whether there are any that have
// not kept them yet.
func (t *Table) Trace() (traced bool) {
	t.Visit(func(_ Key, _ *Lock, v View) {
		for _, q := range v.Waits {
			traced = q.trace() || traced
		}
	})
	return traced
}

// Trace is [Table.Trace] for one lock.
func (l *Lock) Trace() (traced bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.lockState()
	defer l.unlockState(w)
	for _, q := range l.view(w).Waits {
		traced = q.trace() || traced
	}
	return traced
}

// trace is called while the wait is in the queue.
func (v WaitView) trace() bool {
	if v.Since < 0 || v.Stack != nil {
		return false
	}
	v.wait.Trace()
	return true
}
