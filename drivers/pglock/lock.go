package pglock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockutils/lockutils/driver"
)

// A lock is what the Service knows of one name, or of several with the same key. It is in the
// table while a request or a hold needs it. The Service's mutex guards it.
//
// A session would get its own lock again, so the Service keeps its requests apart by itself:
// the first of the queue goes to the server, and only while the main session does not hold the
// lock. One statement for the lock is under way at a time. That makes the answer to each of
// them certain, or the session ends.
type lock struct {
	key
	queue  []*request // not fair; in order of arrival
	writer *hold      // exclusive, in the main session
	shares *share     // shared, in the main session
	leaves []*hold    // holds that are to be freed at the server

	due    bool // the first of the queue is to be tried at the server
	busy   bool // a statement is under way in the main session
	marked bool // the main session holds the marker

	fairWaits int // fair requests that wait
	fairConns int // connections of fair requests
}

// A share is a lock that the main session holds for sharers.
type share struct {
	token uint64
	count int // of holds
}

// A request waits in the queue of a lock.
type request struct {
	lock      *lock
	shared    bool
	fair      bool // does not join a share, which would pass those who queue at the server
	noWait    bool
	abandoned bool // it has ended; a statement for it is under way
	granted   chan grant
}

type grant struct {
	hold *hold
	err  error
}

// lockOf returns the lock of a name. The mutex is held.
func (s *Service) lockOf(name string) (*lock, error) {
	k := keyOf(s.namespace, name)
	if l := s.locks[k.lock]; l != nil {
		return l, nil
	}
	if s.stop.Err() != nil {
		return nil, s.failed("acquire", errClosed)
	}
	if len(s.locks)+s.fairConns >= s.limit {
		return nil, s.failed("acquire", errors.New(s.tooMany()))
	}
	l := &lock{key: k}
	s.locks[k.lock] = l
	return l, nil
}

func (s *Service) tooMany() string {
	return fmt.Sprintf("%d locks are held or waited for already, see WithMaxLocks", s.limit)
}

// enqueue puts a request at the end of the queue of its lock.
func (s *Service) enqueue(r driver.Request) (*request, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop.Err() != nil {
		return nil, s.failed("acquire", errClosed)
	}
	l, err := s.lockOf(r.Name)
	if err != nil {
		return nil, err
	}
	q := &request{lock: l, shared: r.Shared, fair: r.Fair, noWait: r.NoWait,
		granted: make(chan grant, 1)}
	l.queue = append(l.queue, q)
	l.due = l.due || len(l.queue) == 1
	s.advance(l)
	return q, nil
}

// withdraw ends a request whose ctx has ended, unless it has been granted just now.
func (s *Service) withdraw(ctx context.Context, q *request) (*hold, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case g := <-q.granted:
		return g.hold, g.err
	default:
	}
	l, err := q.lock, context.Cause(ctx)
	if s.main == nil && s.down != nil {
		err = fmt.Errorf("%w (%w)", err, s.failed("connect", s.down))
	}
	if l.busy && l.queue[0] == q {
		q.abandoned = true // the answer is needed
		return nil, err
	}
	l.remove(q)
	s.advance(l)
	return nil, err
}

// remove takes a request out of the queue.
func (l *lock) remove(q *request) {
	for i := range l.queue {
		if l.queue[i] == q {
			l.queue = append(l.queue[:i:i], l.queue[i+1:]...)
			l.due = l.due || i == 0
			return
		}
	}
}

// held reports whether the main session holds the lock.
func (l *lock) held() bool { return l.writer != nil || l.shares != nil }

// advance does what is to be done next for a lock. It is called after each change. The mutex is
// held.
func (s *Service) advance(l *lock) {
	s.joinShares(l)
	l.refuseNoWait()
	switch {
	case l.busy:
	case l.unused():
		delete(s.locks, l.key.lock)
	case s.main == nil:
	case len(l.leaves) > 0:
		s.free(l, l.leaves[0])
	case len(l.queue) > 0 && l.due && !l.held():
		s.try(l, l.queue[0])
	case len(l.queue) == 0 && l.marked:
		s.leaveMarker(l)
	}
}

// unused reports whether there is nothing to remember.
func (l *lock) unused() bool {
	return len(l.queue) == 0 && !l.held() && !l.marked && l.fairWaits == 0 && l.fairConns == 0
}

// send sends a statement for a lock in the main session. The answer is dealt with, with the
// mutex held, unless the session has ended and all that it held with it.
func (s *Service) send(statement string, answer func(int64, error), args ...int64) {
	in := s.main
	in.send(statement, func(value int64, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.main == in {
			answer(value, err)
		}
	}, args...)
}

// joinShares grants the lock to sharers in front of the queue if it is held for sharers.
func (s *Service) joinShares(l *lock) {
	for len(l.queue) > 0 && l.joinable(l.queue[0]) {
		q := l.queue[0]
		l.remove(q)
		l.shares.count++
		q.granted <- grant{hold: s.newHold(l, s.main, true, l.shares.token)}
	}
}

func (l *lock) joinable(q *request) bool {
	return l.shares != nil && len(l.leaves) == 0 && l.fairWaits == 0 && q.shared && !q.fair
}

// refuseNoWait refuses the requests that must not wait, if it is known that they would have to.
func (l *lock) refuseNoWait() {
	if !l.held() && (l.busy || l.due) {
		return // the answer of the server decides
	}
	for i := 0; i < len(l.queue); {
		if q := l.queue[i]; q.noWait && !q.abandoned {
			l.remove(q)
			q.granted <- grant{err: driver.ErrLocked}
		} else {
			i++
		}
	}
}

// try has the server decide on the first request of the queue.
func (s *Service) try(l *lock, q *request) {
	v := verbsFor(q.shared)
	l.busy, l.due = true, false
	answer := func(value int64, err error) { s.tried(l, q, value, err) }
	switch {
	case l.marked:
		s.send(v.retry, answer, l.key.lock, l.key.marker)
	case q.noWait:
		s.send(v.try, answer, l.key.lock)
	default:
		s.send(v.enter, answer, l.key.lock, l.key.marker)
	}
}

// tried is called with the server's answer for a request.
func (s *Service) tried(l *lock, q *request, value int64, err error) {
	switch {
	case err != nil:
		s.cleanUp(l, q, err)
		return
	case value > 0:
		s.grant(l, q, value)
	case value == unmarked:
		time.AfterFunc(time.Millisecond, func() { s.wake(l.key.lock) })
	default:
		l.marked = l.marked || !q.noWait
	}
	l.busy = false
	switch {
	case q.abandoned || value > 0:
		l.remove(q)
	case q.noWait:
		l.remove(q)
		q.granted <- grant{err: driver.ErrLocked}
	}
	s.advance(l)
}

// grant makes a hold for a request that has got the lock.
func (s *Service) grant(l *lock, q *request, value int64) {
	l.marked = false
	token := s.main.timeline<<48 | uint64(value)
	h := s.newHold(l, s.main, q.shared, token)
	if q.shared {
		l.shares = &share{token: token, count: 1}
	} else {
		l.writer = h
	}
	if q.abandoned {
		s.leave(h)
	} else {
		q.granted <- grant{hold: h}
	}
}

// cleanUp gives back what an acquisition may have taken that failed in the middle: a session
// keeps an advisory lock although the statement that took it fails. Then the request fails with
// err.
func (s *Service) cleanUp(l *lock, q *request, err error) {
	s.send(verbsFor(q.shared).free, func(int64, error) {}, l.key.lock)
	s.send(unmark, func(int64, error) {
		l.busy, l.marked = false, false
		l.remove(q)
		q.granted <- grant{err: s.failed("acquire", err)}
		s.advance(l)
	}, l.key.marker)
}

// leaveMarker gives back the marker, since no request needs it.
func (s *Service) leaveMarker(l *lock) {
	l.busy = true
	s.send(unmark, func(int64, error) {
		l.busy, l.marked = false, false
		s.advance(l)
	}, l.key.marker)
}

// wake tries the lock with that number for the first of its queue: it has been released, or may
// have.
func (s *Service) wake(number int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.locks[number]; l != nil {
		l.due = true
		s.advance(l)
	}
}

// wakeAll is wake for all locks.
func (s *Service) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.locks {
		l.due = true
		s.advance(l)
	}
}

// reset forgets what the main session held, since it has ended. The mutex is held.
func (s *Service) reset(l *lock) {
	l.writer, l.shares, l.leaves = nil, nil, nil
	l.due, l.busy, l.marked = true, false, false
	if len(l.queue) > 0 && l.queue[0].abandoned {
		l.remove(l.queue[0])
	}
	s.advance(l)
}

// fail ends the requests that wait for the main session. The mutex is held.
func (s *Service) fail(err error) {
	for _, l := range s.locks {
		for _, q := range l.queue {
			q.granted <- grant{err: err}
		}
		l.queue = nil
		s.advance(l)
	}
}
