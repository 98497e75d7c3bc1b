package servicelock

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/internal/queue"
)

// A lock is what this process knows of one name at one service. It is in the table while somebody
// holds the lock or waits for it.
type lock struct {
	key
	refs int // requests and holds under way; guarded by the table's mutex

	// One exclusive request or holder of this process at a time, or sharers together.
	turn queue.Lock

	mu     sync.Mutex
	shared *hold       // the latest shared hold that others may join; it has readers
	asking [2]*request // shared requests under way at the service, unordered and fair
}

// A request is one wait at the service on behalf of all sharers of the process.
type request struct {
	cancel  context.CancelFunc
	waiters int           // guarded by lock.mu; with none left the request is cancelled
	done    chan struct{} // closed when the request has ended; then the result is set
	result
}

// A result is what a driver has answered to a request, or how it has failed to.
type result struct {
	hold     *hold
	err      error
	panicked any // nil unless the driver has panicked
}

// get returns the result. It panics if the driver has.
func (r result) get() (*hold, error) {
	if r.panicked != nil {
		panic(r.panicked)
	}
	return r.hold, r.err
}

// acquire takes the turn and then asks the service. The hold returned owns the turn.
func (l *lock) acquire(ctx context.Context, r Request) (h *hold, err error) {
	if err := l.takeTurn(ctx, r); err != nil {
		return nil, err
	}
	defer func() {
		if h == nil { // also if the driver panics
			l.turn.Release(modeOf(r))
		}
	}()
	if r.NoWait {
		return l.ask(ctx, r)
	}
	ctx, wait := queue.Outside(ctx, modeOf(r), r.Fair, r.Subject)
	over := false
	defer func() {
		if !over { // The driver has panicked.
			_ = wait.Over(nil)
		}
	}()
	h, err = l.ask(ctx, r)
	over = true
	return h, wait.Over(err)
}

func (l *lock) takeTurn(ctx context.Context, r Request) error {
	order := queue.Fair
	if r.Reentrant {
		order = queue.Reentrant
	}
	if !r.NoWait {
		_, err := l.turn.Acquire(ctx, modeOf(r), order, r.Subject)
		return err
	}
	if _, ok := l.turn.TryAcquire(modeOf(r), order); !ok {
		return driver.ErrLocked
	}
	return nil
}

// ask has the service acquire the lock, or joins those who hold it.
func (l *lock) ask(ctx context.Context, r Request) (*hold, error) {
	if r.Shared {
		return l.share(ctx, r)
	}
	return l.send(ctx, r)
}

// send asks the service for a hold of its own.
func (l *lock) send(ctx context.Context, r Request) (*hold, error) {
	h, err := l.service.Acquire(ctx, r.Request)
	if err != nil {
		return nil, err
	}
	return &hold{lock: l, at: h, shared: r.Shared, readers: 1}, nil
}

// share joins the shared hold of this process, or the request for one that is under way, or makes
// one. A fair request does not join a hold: it would pass those who queue at the service.
func (l *lock) share(ctx context.Context, r Request) (*hold, error) {
	h, q := l.joinHold(ctx, r)
	switch {
	case h != nil:
		return h, nil
	case q == nil:
		return l.trySend(ctx, r)
	}
	select {
	case <-q.done:
		return q.get()
	case <-ctx.Done():
		return l.withdraw(ctx, q)
	}
}

// joinHold returns the hold or, if it may wait, the request that it has joined.
func (l *lock) joinHold(ctx context.Context, r Request) (*hold, *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.shared; h != nil && (!r.Fair || r.Reentrant) && !h.isLost() {
		h.readers++
		return h, nil
	}
	if r.NoWait {
		return nil, nil
	}
	return nil, l.join(ctx, r)
}

// trySend asks for a shared hold that is free, which others may join from then on.
func (l *lock) trySend(ctx context.Context, r Request) (*hold, error) {
	h, err := l.send(ctx, r)
	if err == nil {
		l.mu.Lock()
		l.shared = h
		l.mu.Unlock()
	}
	return h, err
}

// join adds a waiter to the shared request under way. It starts one if there is none. mu is held.
func (l *lock) join(ctx context.Context, r Request) *request {
	i := 0
	if r.Fair {
		i = 1
	}
	q := l.asking[i]
	if q == nil {
		q = &request{done: make(chan struct{})}
		// The request outlives the context of the waiter that has started it if others have joined.
		ctx, q.cancel = context.WithCancel(context.WithoutCancel(ctx))
		l.asking[i] = q
		locks.retain(l)
		go l.run(ctx, q, r)
	}
	q.waiters++
	return q
}

// run sends a shared request, and gives the hold to all who have joined it by then.
func (l *lock) run(ctx context.Context, q *request, r Request) {
	defer locks.leave(l)
	defer q.cancel()
	answer := result{err: errExit}
	defer func() {
		if v := recover(); v != nil {
			answer = result{panicked: fmt.Sprintf("%v\n\n%s", v, debug.Stack())}
		}
		if !l.finish(q, answer) {
			answer.hold.end()
		}
	}()
	h, err := l.send(ctx, r)
	answer = result{hold: h, err: err}
}

// errExit is what sharers get if the driver ends their request's goroutine.
var errExit = errors.New("the driver has called runtime.Goexit")

// finish gives the answer to those who have joined the request. It returns false if it is a hold that
// nobody wants.
func (l *lock) finish(q *request, answer result) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(q)
	q.result = answer
	close(q.done)
	if h := answer.hold; h != nil {
		if h.readers = q.waiters; q.waiters == 0 {
			return false
		}
		l.shared = h
	}
	return true
}

// withdraw takes a waiter whose ctx has ended out of a request. The last one cancels it.
func (l *lock) withdraw(ctx context.Context, q *request) (*hold, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-q.done:
		return q.get() // the waiter is one of the readers already
	default:
	}
	if q.waiters--; q.waiters == 0 {
		l.forget(q)
		q.cancel()
	}
	return nil, ctx.Err()
}

// forget keeps others from joining the request. mu is held.
func (l *lock) forget(q *request) {
	for i := range l.asking {
		if l.asking[i] == q {
			l.asking[i] = nil
		}
	}
}

func modeOf(r Request) queue.Mode {
	if r.Shared {
		return queue.Shared
	}
	return queue.Exclusive
}
