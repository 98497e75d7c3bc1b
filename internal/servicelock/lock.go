package servicelock

import (
	"context"
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
	done    chan struct{} // closed when the request has ended; then hold and err are set
	hold    *hold
	err     error
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
	if r.Shared {
		return l.share(ctx, r)
	}
	return l.send(ctx, r)
}

func (l *lock) takeTurn(ctx context.Context, r Request) error {
	order := queue.Fair
	if r.Reentrant {
		order = queue.Reentrant
	}
	if !r.NoWait {
		_, err := l.turn.Acquire(ctx, modeOf(r), order)
		return err
	}
	if _, ok := l.turn.TryAcquire(modeOf(r), order); !ok {
		return driver.ErrLocked
	}
	return nil
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
	l.mu.Lock()
	if h := l.shared; h != nil && (!r.Fair || r.Reentrant) && !h.isLost() {
		h.readers++
		l.mu.Unlock()
		return h, nil
	}
	if r.NoWait {
		l.mu.Unlock()
		return l.trySend(ctx, r)
	}
	q := l.join(ctx, r)
	l.mu.Unlock()
	select {
	case <-q.done:
		return q.hold, q.err
	case <-ctx.Done():
		return l.withdraw(ctx, q)
	}
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
	h, err := l.send(ctx, r)
	l.mu.Lock()
	l.forget(q)
	if q.hold, q.err = h, err; h != nil {
		if h.readers = q.waiters; q.waiters > 0 {
			l.shared = h
		}
	}
	abandoned := q.waiters == 0
	close(q.done)
	l.mu.Unlock()
	if h != nil && abandoned {
		h.end()
	}
}

// withdraw takes a waiter whose ctx has ended out of a request. The last one cancels it.
func (l *lock) withdraw(ctx context.Context, q *request) (*hold, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-q.done:
		return q.hold, q.err // the waiter is one of the readers already
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
