package pglock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockutils/lockutils/driver"
)

// acquireFair acquires the lock in order of arrival at the server. A lock that is free, and
// that nobody queues for, is acquired by the main session; the server refuses that to a request
// that would pass another one's.
func (s *Service) acquireFair(ctx context.Context, r driver.Request) (*hold, error) {
	r.NoWait = true
	h, err := s.wait(ctx, r)
	if !errors.Is(err, driver.ErrLocked) {
		return h, err
	}
	q, err := s.enterFair(r)
	if err != nil {
		return nil, err
	}
	go s.runFair(ctx, q)
	select {
	case g := <-q.granted:
		return g.hold, g.err
	case <-ctx.Done():
		return s.withdrawFair(ctx, q)
	}
}

// enterFair makes a request that is not in the queue of its lock.
func (s *Service) enterFair(r driver.Request) (*request, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.lockOf(r.Name)
	if err != nil {
		return nil, err
	}
	if s.stop.Err() != nil {
		return nil, s.failed("acquire", errClosed)
	}
	l.fairWaits++
	s.waiting.Add(1)
	return &request{lock: l, shared: r.Shared, fair: true, granted: make(chan grant, 1)}, nil
}

// withdrawFair ends a fair request whose ctx has ended, unless it has been granted just now.
// Its traces at the server are removed in the background.
func (s *Service) withdrawFair(ctx context.Context, q *request) (*hold, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case g := <-q.granted:
		return g.hold, g.err
	default:
		q.abandoned = true
		return nil, context.Cause(ctx)
	}
}

// runFair waits for the lock on behalf of a request.
func (s *Service) runFair(ctx context.Context, q *request) {
	defer s.waiting.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.stop, func() { cancel(errClosed) })()
	h, err := s.waitFair(ctx, q)
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.abandoned && h != nil {
		s.leave(h)
	} else {
		q.granted <- grant{h, err}
	}
	q.lock.fairWaits--
	s.advance(q.lock)
}

// waitFair tries again, with a new connection, until the request is granted or has failed for
// good.
func (s *Service) waitFair(ctx context.Context, q *request) (*hold, error) {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		main, err := s.awaitMain(ctx)
		if err != nil {
			return nil, err
		}
		h, err := s.queueFair(ctx, q, main)
		switch {
		case err == nil:
			return h, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !temporary(err):
			return nil, s.failed("acquire", fmt.Errorf("a connection for a fair wait: %w", err))
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// queueFair waits in the server's queue, on a connection of its own.
func (s *Service) queueFair(ctx context.Context, q *request, main *session) (*hold, error) {
	in, err := s.connectFair(ctx, q.lock, main)
	if err != nil {
		return nil, err
	}
	answers := make(chan error, 1)
	var number int64
	in.send(verbsFor(q.shared).queue, func(value int64, err error) {
		number = value
		answers <- err
	}, q.lock.key.lock)
	select {
	case err = <-answers:
	case <-ctx.Done():
		s.cancelFair(main, in, q, answers)
		return nil, context.Cause(ctx)
	case <-main.done:
		in.close()
		return nil, main.err
	case <-in.done:
		return nil, in.err
	}
	if err == nil {
		// The answer says that the session existed when the wait began. This one says that it
		// exists.
		_, err = in.ask(ctx, pid)
	}
	var h *hold
	if err == nil {
		h, err = s.holdFair(in, q, number)
	}
	if err != nil {
		in.close()
	}
	return h, err
}

// connectFair opens the session of a fair request.
func (s *Service) connectFair(ctx context.Context, l *lock, main *session) (*session, error) {
	if err := s.countFair(l); err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, s.connectTime())
	defer cancel()
	in, err := s.connectBeside(bounded, main)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.uncountFair(l)
		return nil, err
	}
	in.ended = func() {
		s.sessionEnded(in)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.uncountFair(l)
	}
	s.running.Go(in.receive)
	return in, nil
}

func (s *Service) countFair(l *lock) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.locks)+s.fairConns >= s.limit {
		return &unfit{reason: s.tooMany()}
	}
	l.fairConns++
	s.fairConns++
	return nil
}

// uncountFair undoes countFair. The mutex is held.
func (s *Service) uncountFair(l *lock) {
	l.fairConns--
	s.fairConns--
	s.advance(l)
}

// holdFair makes a hold of a lock that the session of a fair request has got.
func (s *Service) holdFair(in *session, q *request, number int64) (*hold, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-in.done:
		return nil, in.err
	case <-s.stop.Done():
		return nil, errClosed
	default:
	}
	s.watched[in] = struct{}{}
	return s.newHold(q.lock, in, q.shared, in.timeline<<48|uint64(number)), nil
}

// freeFair frees the lock of a hold that has a session of its own, and ends the session. The
// mutex is held.
func (s *Service) freeFair(h *hold) {
	s.unlock(h, h.session.send, func(value int64, err error) {
		s.mu.Lock()
		switch {
		case h.state == ended:
		case err != nil:
			h.unconfirmed(err)
		default:
			s.freed(h, value)
			s.advance(h.lock)
		}
		over := h.state == ended
		s.mu.Unlock()
		if over {
			h.session.close()
		}
	})
}

// cancelFair takes a wait out of the server's queue and ends its session. The server looks at the
// connection only now and then while it waits, so the main session cancels the wait. It does that
// again and again, since the wait may not have begun.
func (s *Service) cancelFair(main, in *session, q *request, answers <-chan error) {
	defer in.close()
	ctx, stop := context.WithTimeout(context.Background(), s.ttl/3)
	defer stop()
	k := q.lock.key
	for pause := time.Millisecond; ; pause = min(2*pause, maxPause) {
		if _, err := main.ask(ctx, cancel, k.lock, int64(in.pid)); err != nil {
			return
		}
		select {
		case err := <-answers:
			if err == nil {
				in.ask(ctx, verbsFor(q.shared).unlock, k.lock, k.marker)
			} else {
				// Others that would have passed the wait were refused.
				in.ask(ctx, rouse, k.lock, k.marker)
			}
			return
		case <-time.After(pause):
		case <-in.done:
			return
		}
	}
}
