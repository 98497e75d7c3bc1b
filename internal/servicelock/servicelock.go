// Package servicelock keeps locks at a lock service: it is the engine between the named locks and
// the drivers, and knows nothing of options, guards or logs.
//
// The goroutines of the process queue among themselves, and the first of them sends one request to
// the service. Sharers come in together: they have one hold at the service, which the last of them
// releases. An exclusive lock is never handed on within the process without the service, so that
// other processes that queue there get their turn.
package servicelock

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/internal/queue"
)

// A Request says which lock is wanted, and how.
type Request struct {
	Service driver.Service // of a comparable type
	driver.Request

	// Subject is what an observer of waits is told.
	Subject queue.Subject

	// Reentrant is for a shared request of a holder of a share. It passes those who wait, since they
	// wait for that share.
	Reentrant bool
}

// A Hold is a lock held at a service, on behalf of one holder. Err may be called concurrently with
// everything else; Release is called once.
type Hold struct {
	*hold
	state atomic.Int32
}

// The states of a Hold.
const (
	held int32 = iota
	released
	lost
)

// Acquire waits until it holds the lock, or until ctx ends. It returns driver.ErrLocked, ctx's error,
// or the service's own error. Nothing stays held or queued after an error, or after a panic of the
// driver, which goes on in the goroutines of all who have asked.
func Acquire(ctx context.Context, r Request) (*Hold, error) {
	l := locks.enter(key{r.Service, r.Name})
	var h *hold
	defer func() {
		if h == nil { // also if the driver panics
			locks.leave(l)
		}
	}()
	h, err := l.acquire(ctx, r)
	if err != nil {
		return nil, err
	}
	return &Hold{hold: h}, nil
}

// Release ends the hold. It returns driver.ErrLost if the hold had ended before, or may have. Any
// other error means that the service has not confirmed the release within a third of the TTL. The
// release goes on in the background then, until it is confirmed or the hold is lost, and requests of
// this process for the lock wait for that.
func (h *Hold) Release() error {
	err := h.hold.release()
	if errors.Is(err, driver.ErrLost) {
		h.state.Store(lost)
		return driver.ErrLost
	}
	h.state.Store(released)
	return err
}

// Err returns driver.ErrLost if the hold was lost, or may have been, before it was released. It
// compares the deadline with the clock as it is now.
func (h *Hold) Err() error {
	if s := h.state.Load(); s == lost || s == held && h.isLost() {
		return driver.ErrLost
	}
	return nil
}

// Visit calls f with each lock that requests of this process wait for the turn at, and its queue as it
// is at one instant. f must not use the package.
func Visit(f func(s driver.Service, name string, v queue.View)) {
	for _, l := range locks.inUse() {
		if v := l.turn.View(); len(v.Waits) > 0 {
			f(l.service, l.name, v)
		}
	}
}

// Trace makes the goroutines that wait for their turn keep their stacks, see [queue.Lock.Trace].
func Trace() (traced bool) {
	for _, l := range locks.inUse() {
		traced = l.turn.Trace() || traced
	}
	return traced
}
