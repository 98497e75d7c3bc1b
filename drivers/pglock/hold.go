package pglock

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/driver/boottime"
)

// A hold is a lock that a session of the server holds.
type hold struct {
	service *Service
	lock    *lock
	session *session
	shared  bool
	token   uint64
	lost    chan struct{}

	// The Service's mutex guards these.
	state state
	err   error         // why the release is not confirmed, or ErrLost
	done  chan struct{} // closed when a release under way has ended; nil if there is none
}

// A state is how far a hold has come.
type state int

const (
	held    state = iota
	leaving       // a release is under way
	ended         // released or lost; err says which
)

// newHold returns a hold and remembers it, so that it can be lost. The mutex is held.
func (s *Service) newHold(l *lock, in *session, shared bool, token uint64) *hold {
	h := &hold{
		service: s, lock: l, session: in, shared: shared, token: token,
		lost: make(chan struct{}),
	}
	in.holds[h] = struct{}{}
	return h
}

// Token implements driver.Hold.
func (h *hold) Token() uint64 { return h.token }

// Lost implements driver.Hold.
func (h *hold) Lost() <-chan struct{} { return h.lost }

// Deadline implements driver.Hold.
func (h *hold) Deadline() time.Duration { return h.service.deadline(h.session) }

// deadline returns when the server may free the locks of a session, less the margin.
func (s *Service) deadline(in *session) time.Duration {
	return time.Duration(in.confirmed.Load()) + s.ttl - s.margin()
}

// Release implements driver.Hold.
func (h *hold) Release(ctx context.Context) error {
	s := h.service
	s.mu.Lock()
	if h.state == held {
		s.leave(h)
		s.advance(h.lock)
	}
	done := h.done
	s.mu.Unlock()
	if done != nil {
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return h.err
}

// leave begins the release of a hold. The last sharer frees the lock at the server. The mutex
// is held.
func (s *Service) leave(h *hold) {
	l := h.lock
	if h.shared && h.session == s.main && l.shares.count > 1 {
		l.shares.count--
		h.end(nil)
		return
	}
	h.state, h.done, h.err = leaving, make(chan struct{}), nil
	if h.session == s.main {
		l.leaves = append(l.leaves, h)
	} else {
		s.freeFair(h)
	}
}

// end sets how a hold has ended. The mutex is held.
func (h *hold) end(err error) {
	h.state, h.err = ended, err
	delete(h.session.holds, h)
	if h.done != nil {
		close(h.done)
	}
	if errors.Is(err, driver.ErrLost) {
		close(h.lost)
	}
}

// free frees the lock of a hold in the main session.
func (s *Service) free(l *lock, h *hold) {
	l.busy = true
	s.unlock(h, s.send, func(value int64, err error) {
		l.busy, l.leaves = false, l.leaves[1:]
		if err != nil {
			h.unconfirmed(err)
		} else {
			l.writer, l.shares = nil, nil
			s.freed(h, value)
		}
		s.advance(l)
	})
}

// freed is called with the server's answer to a release. The mutex is held.
func (s *Service) freed(h *hold, value int64) {
	// If others wait too, the notification that they get decides who is first.
	h.lock.due = value != notified || s.listener == nil
	if value == notHeld {
		h.end(driver.ErrLost)
	} else {
		h.end(nil)
	}
}

// unlock frees the lock at the server and tells others. If the statement fails it may have
// freed the lock and told nobody, so the lock is freed once more without that, and then it is
// certain.
func (s *Service) unlock(h *hold, send sender, answer func(int64, error)) {
	v, k := verbsFor(h.shared), h.lock.key
	send(v.unlock, func(value int64, err error) {
		if err == nil {
			answer(value, nil)
			return
		}
		send(v.free, func(_ int64, err error) { answer(released, err) }, k.lock)
	}, k.lock, k.marker)
}

// A sender sends a statement and has the answer dealt with.
type sender func(statement string, answer func(int64, error), args ...int64)

// unconfirmed has the holder try the release again.
func (h *hold) unconfirmed(err error) {
	h.state, h.err = held, h.service.failed("release", err)
	close(h.done)
	h.done = nil
}

// loseAll ends the holds of a session that has ended. One that was being released is released
// if it existed by then, as far as the deadline and the server say. The mutex is held.
func (s *Service) loseAll(in *session) {
	var told *pgconn.PgError
	existed := boottime.Now() < s.deadline(in) && !errors.As(in.err, &told) && in.err != errPooler
	for h := range in.holds {
		if h.state == leaving && existed {
			h.end(nil)
		} else {
			h.end(driver.ErrLost)
		}
	}
}
