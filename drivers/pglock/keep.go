package pglock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/driver/boottime"
)

// Pauses between attempts to connect.
const (
	minPause = 10 * time.Millisecond
	maxPause = time.Second
)

// keepConnected connects again whenever a connection is missing.
func (s *Service) keepConnected() {
	for pause := minPause; ; {
		select {
		case <-s.wanted:
		case <-s.stop.Done():
			return
		}
		for {
			err := s.reconnect()
			if err == nil {
				pause = minPause
				break
			}
			s.notConnected(err)
			if sleep(s.stop, pause) != nil {
				return
			}
			pause = min(2*pause, maxPause)
		}
	}
}

// reconnect opens the sessions that are missing.
func (s *Service) reconnect() error {
	ctx, cancel := context.WithTimeout(s.stop, s.connectTime())
	defer cancel()
	s.mu.Lock()
	noMain, noListener := s.main == nil, s.listener == nil
	s.mu.Unlock()
	if noMain {
		if err := s.connectMain(ctx); err != nil {
			return err
		}
	}
	if noListener {
		return s.connectListener(ctx)
	}
	return nil
}

// notConnected ends the requests that wait if the server says that it will not serve them.
func (s *Service) notConnected(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.main != nil {
		return
	}
	s.down = err
	if !temporary(err) {
		s.fail(s.failed("connect", err))
	}
}

// temporary reports whether a failure may go away by itself, as when a server starts, stops or
// cannot be reached.
func temporary(err error) bool {
	if e := (*unfit)(nil); errors.As(err, &e) {
		return e.temporary
	}
	if e := (*pgconn.PgError)(nil); errors.As(err, &e) {
		const connection, intervention = "08", "57P"
		return strings.HasPrefix(e.Code, connection) || strings.HasPrefix(e.Code, intervention)
	}
	return true
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Service) mainSession() *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.main
}

// awaitMain waits until there is a main session. It fails if the server refuses one for good.
func (s *Service) awaitMain(ctx context.Context) (*session, error) {
	for {
		s.mu.Lock()
		main, up, down := s.main, s.up, s.down
		s.mu.Unlock()
		if main != nil {
			return main, nil
		}
		if down != nil && !temporary(down) {
			return nil, s.failed("connect", down)
		}
		select {
		case <-up:
		case <-time.After(maxPause): // down may have changed
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// setMain has requests use a new main session.
func (s *Service) setMain(main *session) {
	s.mu.Lock()
	s.main, s.down = main, nil
	s.watched[main] = struct{}{}
	close(s.up)
	closed := s.stop.Err() != nil
	s.mu.Unlock()
	s.running.Go(main.receive)
	if closed {
		main.close()
	}
	s.wakeAll()
}

// setListener has a new session hear of releases. Those that it has missed are made up for.
func (s *Service) setListener(listener, main *session) {
	s.mu.Lock()
	select {
	case <-listener.done:
	default:
		s.listener = listener
		s.watched[listener] = struct{}{}
	}
	stale := s.main != main
	s.mu.Unlock()
	if stale {
		listener.close()
	}
	s.wakeAll()
}

// sessionEnded forgets a session that has ended, and has the missing ones connected again.
func (s *Service) sessionEnded(in *session) {
	s.mu.Lock()
	delete(s.watched, in)
	s.loseAll(in)
	var companion *session
	switch in {
	case s.main:
		s.main, s.down, s.up = nil, in.err, make(chan struct{})
		for _, l := range s.locks {
			s.reset(l)
		}
		companion = s.listener // it may be at a server that is not the one to come
	case s.listener:
		s.listener = nil
	}
	s.mu.Unlock()
	select {
	case s.wanted <- struct{}{}:
	default:
	}
	if companion != nil {
		companion.close()
	}
}

// errSilent is why a session was given up.
var errSilent = errors.New("the server has not answered for too long")

// keepAlive renews the deadline of each session every third of the TTL, gives those up whose
// deadline has passed, and tries what waits: a lock may be free without a notification if its
// holder was killed.
//
// A process that stood still finds the deadline passed although the server may have kept the
// session. It gives the server a sixth of the TTL to say so. Until then the deadline says that
// the lock may be lost.
func (s *Service) keepAlive() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	var grace time.Duration
	for next := boottime.Now() + s.ttl/3; ; {
		wanted := min(next, s.firstDeadline(grace))
		timer.Reset(wanted - boottime.Now())
		select {
		case <-timer.C:
		case <-s.stop.Done():
			return
		}
		now := boottime.Now()
		if now > wanted+s.ttl/6 {
			grace = now + s.ttl/6
		}
		if now >= next {
			s.beat()
			next = now + s.ttl/3
		}
		s.giveUp(now, grace)
	}
}

// firstDeadline returns when the first session is to be given up.
func (s *Service) firstDeadline(grace time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := boottime.Now() + s.ttl
	for in := range s.watched {
		first = min(first, max(s.deadline(in), grace))
	}
	return first
}

func (s *Service) beat() {
	s.mu.Lock()
	for in := range s.watched {
		in.send(pid, func(value int64, err error) {
			if err == nil && uint32(value) != in.pid {
				in.end(errPooler)
			}
		})
	}
	s.mu.Unlock()
	s.wakeAll()
}

// giveUp ends the sessions whose deadline has passed.
func (s *Service) giveUp(now, grace time.Duration) {
	s.mu.Lock()
	var silent []*session
	for in := range s.watched {
		if now >= max(s.deadline(in), grace) {
			silent = append(silent, in)
		}
	}
	s.mu.Unlock()
	for _, in := range silent {
		in.end(errSilent)
	}
}

// close ends the holds and requests, frees the locks and closes the connections.
func (s *Service) close() error {
	s.mu.Lock()
	s.closing(errClosed)
	s.fail(s.failed("acquire", errClosed))
	sessions := make([]*session, 0, len(s.watched))
	for in := range s.watched {
		sessions = append(sessions, in)
		s.revoke(in)
	}
	if s.listener != nil {
		// pgbouncer takes a notification for the answer to its reset of the connection. From then on
		// each client of the connection gets the answer to what the one before has asked.
		s.listener.send(deaf, func(int64, error) {})
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(context.Background(), s.ttl/3, errNoAnswer)
	defer cancel()
	err := answered(ctx, sessions)
	s.waiting.Wait() // they cancel their waits through the main session
	for _, in := range sessions {
		in.close()
	}
	s.running.Wait()
	if err != nil {
		return s.failed("close", fmt.Errorf("the release of the locks is not confirmed: %w", err))
	}
	return nil
}

// answered waits until the sessions have the answers to all that was sent.
func answered(ctx context.Context, sessions []*session) error {
	var errs []error
	for _, in := range sessions {
		if _, err := in.ask(ctx, pid); in.notified == nil { // it may hold locks
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// revoke ends the holds of a session before it frees their locks, so that no other holder comes
// first. The mutex is held.
func (s *Service) revoke(in *session) {
	freed := map[*lock]bool{}
	for h := range in.holds {
		if h.state != held {
			continue
		}
		h.end(driver.ErrLost)
		if !freed[h.lock] {
			freed[h.lock] = true
			in.send(verbsFor(h.shared).unlock, func(int64, error) {}, h.lock.key.lock, h.lock.key.marker)
		}
	}
}
