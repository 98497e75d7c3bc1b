package etcdlock

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lockutils/lockutils/driver"
)

// A hold is a request that was granted.
type hold struct {
	*request
	lost chan struct{}

	tries   int  // of the release
	removed bool // the last one has removed the key

	mu       sync.Mutex
	done     chan struct{} // closed when the release has an outcome; nil before Release
	outcome  error         // set before done is closed
	troubled error         // the last error of the release as long as it has no outcome
}

// Token returns the create revision of the request's key.
func (h *hold) Token() uint64 { return uint64(h.revision) }

// Lost implements driver.Hold.
func (h *hold) Lost() <-chan struct{} { return h.lost }

// Deadline implements driver.Hold.
func (h *hold) Deadline() time.Duration { return time.Duration(h.session.deadline.Load()) }

// lose closes Lost. The session's mutex is held, and h is one of its holds.
func (h *hold) lose() {
	delete(h.session.holds, h)
	close(h.lost)
}

// Release implements driver.Hold. When ctx ends, the release goes on in the background until it is
// confirmed or the session ends.
func (h *hold) Release(ctx context.Context) error {
	if h.begin() {
		if err := h.tryFirst(ctx); err == nil {
			h.finish(nil)
		} else if !h.session.service.goBackground(h.keepTrying) {
			h.finish(errClosed)
		}
	}
	select {
	case <-h.done:
		return h.outcome
	case <-ctx.Done():
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	err := fmt.Errorf("release is not confirmed: %w", context.Cause(ctx))
	if h.troubled != nil {
		err = fmt.Errorf("%w; %w", err, h.troubled)
	}
	return h.session.service.failed(err)
}

// begin reports whether this is the first release of the hold.
func (h *hold) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	first := h.done == nil
	if first {
		h.done = make(chan struct{})
	}
	return first
}

// tryFirst is the first try, on behalf of a caller. A hold that is lost needs none.
func (h *hold) tryFirst(ctx context.Context) error {
	if err := h.session.ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := bounded(ctx, tryTime)
	defer cancel()
	return h.try(ctx)
}

func (h *hold) try(ctx context.Context) (err error) {
	h.tries++
	h.removed, err = h.remove(ctx)
	return err
}

func (h *hold) keepTrying() {
	h.finish(h.session.service.insist(h.session.ctx, h.try, h.trouble))
}

// finish gives the release its outcome, after the last try.
func (h *hold) finish(err error) {
	if err == nil {
		h.retire(h.tries)
	}
	n := h.session
	n.mu.Lock()
	defer n.mu.Unlock()
	_, held := n.holds[h]
	switch {
	case !held || err != nil:
		h.outcome = driver.ErrLost
	case !h.removed && h.tries == 1: // somebody else has removed it
		h.lose()
		h.outcome = driver.ErrLost
	default:
		delete(n.holds, h)
	}
	close(h.done)
}

func (h *hold) trouble(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.troubled = err
}
