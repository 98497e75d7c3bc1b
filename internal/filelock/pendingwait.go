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

// pendingWait is a wait for the lock on behalf of all goroutines of this process that make one kind of request for one path.
//
// The kernel's wait cannot be cancelled, but a goroutine's can. So a goroutine of its own waits in the kernel, and gives
// what it gets to the waiter at the front, or to all of them if they can share. A waiter that cancels just withdraws. Who
// comes next adopts the wait that is under way, its place in the kernel's queue included. A lock that arrives when
// nobody wants it any more is given back at once.
//
// A waiter whose context cannot end needs none of this and waits in the kernel itself, which saves the time that the
// scheduler takes to pass the lock on.
type pendingWait struct {
	path *pathState
	req  Request

	// Guarded by path.mu.
	hold     *hold         // what waits; nil before it is opened again for waiters who remain
	waiters  []*waiter     // in the order in which they came
	stop     chan struct{} // closed when the last waiter withdraws
	replaced int           // rounds in a row that locked a file that the path did not lead to any more
}

type waiter struct {
	// ready receives once, with path.mu held, when the waiter leaves the queue otherwise than by itself.
	ready chan result
}

type result struct {
	hold *hold
	err  error
}

// startWait registers a wait with the hold that was refused; the caller makes it run. p.mu is held.
func (p *pathState) startWait(r Request, refused *hold) *pendingWait {
	a := &pendingWait{path: p, req: r, hold: refused, stop: make(chan struct{})}
	p.waits[kindOf(r)] = a
	paths.retain(p)
	return a
}

// canTakeOver tells if a request that must not wait may join all the same: nobody waits, and the abandoned wait has the
// lock, or will have it before anybody else could. A plain try would be refused then on account of this very process.
// path.mu is held.
func (a *pendingWait) canTakeOver() bool {
	if a.hold == nil || len(a.waiters) > 0 || !a.hold.file.probe(a.req.Mode) {
		return false
	}
	current, err := a.hold.current()
	return current && err == nil
}

// takeOver waits for what canTakeOver has seen to come. path.mu is held, but not all the time.
func (a *pendingWait) takeOver() (*hold, error) {
	w := a.join()
	a.path.mu.Unlock()
	defer a.path.mu.Lock()
	return a.wait(context.Background(), w)
}

// join adds a waiter. path.mu is held.
func (a *pendingWait) join() *waiter {
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
func (a *pendingWait) wait(ctx context.Context, w *waiter) (*hold, error) {
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
func (a *pendingWait) withdraw(w *waiter) bool {
	a.path.mu.Lock()
	defer a.path.mu.Unlock()
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
func (a *pendingWait) run() {
	a.serveUntil(func() bool { return len(a.waiters) == 0 })
}

// serve serves the waiters until w has its result.
func (a *pendingWait) serve(w *waiter) {
	a.serveUntil(func() bool { return len(w.ready) > 0 })
}

// serveUntil serves the waiters until done, which is called with path.mu held. Another goroutine serves those who
// remain.
func (a *pendingWait) serveUntil(done func() bool) {
	p := a.path
	p.mu.Lock()
	for !done() {
		a.round()
	}
	if len(a.waiters) > 0 {
		p.mu.Unlock()
		go a.run()
		return
	}
	p.waits[kindOf(a.req)] = nil
	if a.hold != nil {
		a.hold.abandon()
	}
	p.mu.Unlock()
	paths.leave(p)
}

// round waits for the lock once. path.mu is held, but not during the wait.
func (a *pendingWait) round() {
	p := a.path
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

// open makes sure that there is a file to wait with. path.mu is held.
func (a *pendingWait) open() (err error) {
	if a.hold == nil {
		a.hold, err = a.path.open(a.req)
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
// for another round. path.mu is held.
func (a *pendingWait) settle(err error) {
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
		h := a.path.grant(a.hold, n)
		a.hold = nil
		a.give(n, result{hold: h})
	}
}

// give sends the first n waiters off with r. path.mu is held.
func (a *pendingWait) give(n int, r result) {
	for _, w := range a.waiters[:n] {
		w.ready <- r
	}
	a.waiters = slices.Delete(a.waiters, 0, n)
}
