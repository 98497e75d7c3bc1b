package filelock

import (
	"context"
	"errors"
	"slices"
)

// kinds is the number of values of kindOf.
const kinds = 8

// kindOf numbers the kinds of requests that wait in different ways, so that one cannot take another's result.
func kindOf(r Request) int {
	kind := int(r.Mode)
	if r.Fcntl {
		kind |= 2
	}
	if r.Fair {
		kind |= 4
	}
	return kind
}

// ask is a wait for the lock on behalf of all goroutines of this process that make one kind of request for one path.
//
// The kernel's wait cannot be cancelled, but a goroutine's can. So a goroutine of its own waits in the kernel, and gives
// what it gets to the waiter at the front, or to all of them if they can share. A waiter that cancels just withdraws. Who
// comes next adopts the wait that is under way, its place in the kernel's queue included. A lock that arrives when
// nobody wants it any more is given back at once.
//
// A waiter whose context cannot end needs none of this and waits in the kernel itself, which saves the time that the
// scheduler takes to pass the lock on.
type ask struct {
	place *place
	req   Request

	// Guarded by place.mu.
	hold     *hold         // what waits; nil before it is opened again for waiters who remain
	waiters  []*waiter     // in the order in which they came
	stop     chan struct{} // closed when the last waiter withdraws
	replaced int           // rounds in a row that locked a file that the path did not lead to any more
}

type waiter struct {
	// ready receives once, with place.mu held, when the waiter leaves the queue otherwise than by itself.
	ready chan result
}

type result struct {
	hold *hold
	err  error
}

// ask registers a wait with the hold that was refused; the caller makes it run. p.mu is held.
func (p *place) ask(r Request, refused *hold) *ask {
	a := &ask{place: p, req: r, hold: refused, stop: make(chan struct{})}
	p.asks[kindOf(r)] = a
	places.retain(p)
	return a
}

// canTakeOver tells if a request that must not wait may join all the same: nobody waits, and the abandoned wait has the
// lock, or will have it before anybody else could. A plain try would be refused then on account of this very process.
// place.mu is held.
func (a *ask) canTakeOver() bool {
	if a.hold == nil || len(a.waiters) > 0 || !a.hold.file.probe(a.req.Mode) {
		return false
	}
	current, err := a.hold.current()
	return current && err == nil
}

// takeOver waits for what canTakeOver has seen to come. place.mu is held, but not all the time.
func (a *ask) takeOver() (*hold, error) {
	w := a.join()
	a.place.mu.Unlock()
	defer a.place.mu.Lock()
	return a.wait(context.Background(), w)
}

// join adds a waiter. place.mu is held.
func (a *ask) join() *waiter {
	w := &waiter{ready: make(chan result, 1)}
	select {
	case <-a.stop:
		a.stop = make(chan struct{})
	default:
	}
	a.waiters = append(a.waiters, w)
	return w
}

// wait returns the result for w, or ctx.Err() if ctx ends before.
func (a *ask) wait(ctx context.Context, w *waiter) (*hold, error) {
	var r result
	select {
	case r = <-w.ready:
	case <-ctx.Done():
		if a.withdraw(w) {
			return nil, ctx.Err()
		}
		r = <-w.ready
	}
	if err := ctx.Err(); err != nil {
		if r.hold != nil {
			_ = r.hold.release()
		}
		return nil, err
	}
	return r.hold, r.err
}

// withdraw takes w out of the queue, if it is still there.
func (a *ask) withdraw(w *waiter) bool {
	a.place.mu.Lock()
	defer a.place.mu.Unlock()
	i := slices.Index(a.waiters, w)
	if i < 0 {
		return false
	}
	a.waiters = slices.Delete(a.waiters, i, i+1)
	if len(a.waiters) == 0 {
		close(a.stop)
	}
	return true
}

// run serves the waiters until there are none.
func (a *ask) run() {
	a.serveUntil(func() bool { return len(a.waiters) == 0 })
}

// serve serves the waiters until w has its result.
func (a *ask) serve(w *waiter) {
	a.serveUntil(func() bool { return len(w.ready) > 0 })
}

// serveUntil serves the waiters until done, which is called with place.mu held. Another goroutine serves those who
// remain.
func (a *ask) serveUntil(done func() bool) {
	p := a.place
	p.mu.Lock()
	for !done() {
		a.round()
	}
	if len(a.waiters) > 0 {
		p.mu.Unlock()
		go a.run()
		return
	}
	p.asks[kindOf(a.req)] = nil
	if a.hold != nil {
		a.hold.abandon()
	}
	p.mu.Unlock()
	places.leave(p)
}

// round waits for the lock once. place.mu is held, but not during the wait.
func (a *ask) round() {
	p := a.place
	err := a.open()
	if err == nil {
		h, stop := a.hold, a.stop
		p.mu.Unlock()
		err = h.waitCurrent(stop)
		p.mu.Lock()
	}
	if !errors.Is(err, errReplaced) {
		a.replaced = 0
	} else if a.replaced++; a.replaced == restarts {
		err = pathError("lock", p.path, errUnstable)
	}
	a.settle(err)
}

// open makes sure that there is a file to wait with. place.mu is held.
func (a *ask) open() (err error) {
	if a.hold == nil {
		a.hold, err = a.place.open(a.req)
	}
	return err
}

// errReplaced ends a wait with a lock on a file that the path does not lead to any more.
var errReplaced = errors.New("the path leads to another file")

// waitCurrent waits until it has locked the file that the path leads to.
func (h *hold) waitCurrent(stop <-chan struct{}) error {
	if err := h.file.wait(h.req.Mode, h.req.Delay, stop); err != nil {
		return err
	}
	current, err := h.current()
	if err == nil && !current {
		err = errReplaced
	}
	return err
}

// settle acts on the end of a wait: it gives the lock to those who wait by now, an error to all of them, or leaves things
// for another round. place.mu is held.
func (a *ask) settle(err error) {
	switch {
	case errors.Is(err, errStopped):
	case errors.Is(err, errReplaced):
		a.hold.discard()
		a.hold = nil
	case err != nil:
		if a.hold != nil {
			a.hold.discard()
			a.hold = nil
		}
		a.give(len(a.waiters), result{err: err})
	case len(a.waiters) > 0:
		n := 1
		if a.req.Mode == Shared {
			n = len(a.waiters)
		}
		h := a.place.grant(a.hold, n)
		a.hold = nil
		a.give(n, result{hold: h})
	}
}

// give sends the first n waiters off with r. place.mu is held.
func (a *ask) give(n int, r result) {
	for _, w := range a.waiters[:n] {
		w.ready <- r
	}
	a.waiters = slices.Delete(a.waiters, 0, n)
}
