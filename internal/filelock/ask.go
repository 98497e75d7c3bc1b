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
type ask struct {
	place *place
	req   Request

	// Guarded by place.mu.
	hold    *hold         // what waits; nil before it is opened again for waiters who remain
	waiters []*waiter     // in the order in which they came
	stop    chan struct{} // closed when the last waiter withdraws
}

type waiter struct {
	ready chan result // receives once, with place.mu held, when the waiter leaves the queue otherwise than by itself
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
	p := a.place
	defer places.leave(p)
	p.mu.Lock()
	defer p.mu.Unlock()
	for replaced := 0; len(a.waiters) > 0; {
		err := a.open()
		if err == nil {
			h, stop := a.hold, a.stop
			p.mu.Unlock()
			err = h.waitCurrent(stop)
			p.mu.Lock()
		}
		if !errors.Is(err, errReplaced) {
			replaced = 0
		} else if replaced++; replaced == restarts {
			err = pathError("lock", p.path, errUnstable)
		}
		a.settle(err)
	}
	p.asks[kindOf(a.req)] = nil
	if a.hold != nil {
		a.hold.abandon()
	}
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
