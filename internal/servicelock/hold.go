package servicelock

import (
	"context"
	"errors"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/driver/boottime"
	"github.com/lockutils/lockutils/internal/queue"
)

// A hold is a lock held at the service, by one holder of this process or by several sharers. Each of
// them owns a turn of the lock, and a reference to it.
type hold struct {
	lock    *lock
	at      driver.Hold
	shared  bool
	readers int // guarded by lock.mu
}

// Token returns the fencing token, or 0.
func (h *hold) Token() uint64 { return h.at.Token() }

// Lost returns a channel that is closed when the hold is lost, or nil.
func (h *hold) Lost() <-chan struct{} { return h.at.Lost() }

func (h *hold) isLost() bool {
	select {
	case <-h.at.Lost():
		return true
	default:
	}
	d := h.at.Deadline()
	return d != 0 && boottime.Now() >= d
}

// release ends the part of one holder, and the hold at the service with the last of them.
func (h *hold) release() (err error) {
	last, later := h.lastHolder(), false
	defer func() {
		if !later { // also if the driver panics
			h.giveBack()
		}
	}()
	switch {
	case h.isLost():
		later, err = last, driver.ErrLost
	case last:
		err = h.releaseWithin(h.releaseTime())
		later = !confirmed(err)
	}
	if later {
		go h.endAndGiveBack()
	}
	return err
}

// lastHolder takes one holder from the hold and reports whether it was the last.
func (h *hold) lastHolder() bool {
	l := h.lock
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.readers--; h.readers > 0 {
		return false
	}
	if l.shared == h {
		l.shared = nil
	}
	return true
}

// giveBack lets others of this process have the turn of one holder.
func (h *hold) giveBack() {
	mode := queue.Exclusive
	if h.shared {
		mode = queue.Shared
	}
	h.lock.turn.Release(mode)
	locks.leave(h.lock)
}

func (h *hold) endAndGiveBack() {
	defer h.giveBack() // also if the driver ends the goroutine
	h.end()
}

// maxRelease is a third of the default TTL, for holds without a deadline. It also bounds each of the
// tries in the background.
const maxRelease = 5 * time.Second

// releaseTime returns how long a holder waits for the service to confirm a release. The time to the
// deadline is at most the TTL.
func (h *hold) releaseTime() time.Duration {
	d := h.at.Deadline()
	if d == 0 {
		return maxRelease
	}
	return min((d-boottime.Now())/3, maxRelease)
}

// end releases the hold at the service, until that is confirmed or the hold is lost. A driver that
// panics has not confirmed it: there is nobody whom the panic could reach.
func (h *hold) end() {
	const firstPause, maxPause = 10 * time.Millisecond, time.Second
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		if h.tryEnd() {
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-h.at.Lost():
			timer.Stop()
		}
	}
}

// tryEnd releases the hold once and reports whether it has ended.
func (h *hold) tryEnd() (ended bool) {
	defer func() {
		if recover() != nil {
			ended = h.isLost()
		}
	}()
	return confirmed(h.releaseWithin(maxRelease)) || h.isLost()
}

func (h *hold) releaseWithin(d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return h.at.Release(ctx)
}

// confirmed reports whether a release has ended the hold for good.
func confirmed(err error) bool { return err == nil || errors.Is(err, driver.ErrLost) }
