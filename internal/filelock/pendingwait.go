package filelock

import (
	"context"
	"errors"

	"github.com/lockutils/lockutils/internal/queue"
)

// kinds is the number of values of kindOf.
const kinds = 8

// kindOf numbers the kinds of requests that wait in different ways, so that one cannot take
// another's result.
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

// pendingWait is a wait in the kernel, which may outlive the requests that it was begun for.
//
// The kernel's wait cannot be cancelled, but a request can. So a goroutine of its own waits in
// the kernel for the requests that have joined the wait: one exclusive request, the one whose
// turn it is, or all shared ones of its kind. A request that is cancelled just withdraws. The
// next request of the same kind joins the wait that is under way, its place in the kernel's queue
// included. A lock that arrives when no request is left is given back at once.
//
// A request whose context cannot end needs none of this. It waits in the kernel itself, which
// saves the time that the scheduler takes to pass the lock on.
type pendingWait struct {
	path *pathState
	req  Request

	// Guarded by path.mu.
	hold     *Hold         // waits; nil while no file is open
	requests int           // that have joined and not withdrawn
	stop     chan struct{} // closed when the last request withdraws
	replaced int           // rounds in a row that locked a file to which the path did not lead any more

	// Written under path.mu before done is closed, which ends the wait.
	done    chan struct{}
	granted *Hold // one grant for each request
	err     error
}

// startWait registers a wait with the hold that was refused, for one request. The caller makes it
// run. p.mu is held.
func (p *pathState) startWait(r Request, refused *Hold) *pendingWait {
	w := &pendingWait{
		path: p, req: r, hold: refused, requests: 1,
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	p.waits[kindOf(r)] = w
	paths.retain(p)
	return w
}

// join adds a request. path.mu is held.
func (w *pendingWait) join() {
	if w.requests == 0 {
		w.stop = make(chan struct{})
	}
	w.requests++
}

// observe tells the observer of a request that has joined. It calls leave if the observer panics or ends
// the goroutine.
func (w *pendingWait) observe(
	ctx context.Context, r Request, leave func(),
) (context.Context, *queue.Wait) {
	observed := false
	defer func() {
		if !observed {
			leave()
		}
	}()
	ctx, wait := queue.Outside(ctx, r.Mode, r.Fair, r.Subject)
	observed = true
	return ctx, wait
}

// leave removes a request whatever has come of the wait.
func (w *pendingWait) leave() {
	if !w.withdraw() && w.granted != nil {
		_ = w.granted.release()
	}
}

// await returns the result for a request that has joined, or ctx.Err() if ctx ends before.
func (w *pendingWait) await(ctx context.Context) (*Hold, error) {
	select {
	case <-w.done:
	case <-ctx.Done():
		if w.withdraw() {
			return nil, ctx.Err()
		}
	}
	if err := ctx.Err(); err != nil {
		if w.granted != nil {
			_ = w.granted.release()
		}
		return nil, err
	}
	return w.granted, w.err
}

// withdraw removes a request, unless the wait has ended.
func (w *pendingWait) withdraw() bool {
	w.path.mu.Lock()
	defer w.path.mu.Unlock()
	if w.hasEnded() {
		return false
	}
	w.requests--
	if w.requests == 0 {
		close(w.stop)
	}
	return true
}

// hasEnded reports whether the wait has a result. path.mu is held.
func (w *pendingWait) hasEnded() bool { return w.granted != nil || w.err != nil }

// canTakeOver reports whether a request that must not wait may join all the same: no request is
// left, and the wait has the lock, or will have it before anybody else could. A plain try would
// be refused then on account of this very process. path.mu is held.
func (w *pendingWait) canTakeOver() bool {
	if w.hold == nil || w.requests > 0 || !w.hold.file.probe(w.req.Mode) {
		return false
	}
	current, err := w.hold.current()
	return current && err == nil
}

// takeOver waits for the lock that canTakeOver has seen coming. path.mu is held, but not all the
// time.
func (w *pendingWait) takeOver() (*Hold, error) {
	w.join()
	w.path.mu.Unlock()
	defer w.path.mu.Lock()
	return w.await(context.Background())
}

// run waits in the kernel until there is a result, or no request that wants it.
func (w *pendingWait) run() {
	p := w.path
	p.mu.Lock()
	for w.requests > 0 && !w.hasEnded() {
		w.settle(w.round())
	}
	p.waits[kindOf(w.req)] = nil
	if w.hold != nil {
		w.hold.abandon()
	}
	p.mu.Unlock()
	paths.leave(p)
}

// round waits for the lock once. path.mu is held, but not during the wait.
func (w *pendingWait) round() (err error) {
	p := w.path
	if w.hold == nil {
		if w.hold, err = p.open(w.req); err != nil {
			return err
		}
	}
	h, stop := w.hold, w.stop
	p.mu.Unlock()
	defer p.mu.Lock()
	return h.waitCurrent(stop)
}

// errReplaced ends a wait with a lock on a file to which the path does not lead any more.
var errReplaced = errors.New("the path leads to another file")

// waitCurrent waits until it has locked the file to which the path leads.
func (h *Hold) waitCurrent(stop <-chan struct{}) error {
	if err := h.file.wait(h.req.Mode, h.req.Delay, stop); err != nil {
		return err
	}
	current, err := h.current()
	if err == nil && !current {
		err = errReplaced
	}
	return err
}

// settle acts on the end of a round: it grants the lock to the requests that there are by now,
// ends the wait with an error, or leaves things for another round. path.mu is held.
func (w *pendingWait) settle(err error) {
	switch {
	case errors.Is(err, errStopped):
	case errors.Is(err, errReplaced):
		w.discard()
		if w.replaced++; w.replaced == restarts {
			w.end(nil, pathError("lock", w.path.path, errUnstable))
		}
	case err != nil:
		w.discard()
		w.end(nil, err)
	case w.requests > 0:
		h := w.hold
		w.hold = nil
		w.end(w.path.grant(h, w.requests), nil)
	}
}

// discard closes the file that waits. path.mu is held.
func (w *pendingWait) discard() {
	if w.hold != nil {
		w.hold.discard()
		w.hold = nil
	}
}

// end ends the wait with a result for all requests. path.mu is held.
func (w *pendingWait) end(granted *Hold, err error) {
	w.granted, w.err = granted, err
	close(w.done)
}
