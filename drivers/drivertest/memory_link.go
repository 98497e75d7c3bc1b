package drivertest

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lockutils/lockutils/driver"
)

// linkState is what happens to the messages between a MemoryService and its server.
type linkState struct {
	cut, frozen                 bool
	dropRequests, dropReplies   bool
	dropReply                   bool // the next one only
	delayRequests, delayReplies time.Duration
	failure                     error
}

// A memoryLink is the way between a MemoryService and its server.
type memoryLink struct {
	mu      sync.Mutex
	state   linkState
	changed chan struct{} // closed, and replaced, by set
	frozen  []func()      // requests on their way whose senders have stopped waiting
}

func (l *memoryLink) init() { l.changed = make(chan struct{}) }

func (l *memoryLink) set(change func(*linkState)) {
	for _, arrive := range l.change(change) {
		arrive()
	}
}

// change changes the state and returns the frozen requests that arrive now.
func (l *memoryLink) change(change func(*linkState)) (arriving []func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.state)
	close(l.changed)
	l.changed = make(chan struct{})
	switch {
	case l.state.cut:
		l.frozen = nil
	case !l.state.frozen:
		arriving, l.frozen = l.frozen, nil
	}
	return arriving
}

// leave has a request arrive that is still on its way when its sender stops waiting, unless the link
// swallows it.
func (l *memoryLink) leave(arrive func(), at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state.cut || l.state.dropRequests:
	case l.state.frozen:
		l.frozen = append(l.frozen, arrive)
	default:
		time.AfterFunc(time.Until(at), arrive)
	}
}

func (l *memoryLink) get() (linkState, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state, l.changed
}

// clear reports whether messages pass at once.
func (l *memoryLink) clear() bool {
	state, _ := l.get()
	return state == linkState{}
}

// errUnreachable reports that the answer to a message has not arrived.
var errUnreachable = errors.New("memory: server does not answer")

// patience is how long a call waits for its answer before it is sent again.
func (m *Memory) patience() time.Duration {
	if m.ttl <= 0 {
		return time.Second
	}
	return m.ttl / 6
}

// call has the server do something, and repeats that until the answer arrives. It returns when the
// message that was answered was sent. It returns ctx's error, driver.ErrLost or errClosed when ctx,
// the lease or the Service ends.
func (s *MemoryService) call(ctx context.Context, l *lease, do func() error) (time.Time, error) {
	for {
		sent := time.Now()
		err := s.try(ctx, l, do)
		if !errors.Is(err, errUnreachable) {
			return sent, err
		}
		if err := s.pass(ctx, l, s.server.patience()-time.Since(sent), nil); err != nil {
			return sent, err
		}
	}
}

// try sends one message and waits for the answer. It returns errUnreachable if that does not
// arrive. The message may then still reach the server later.
func (s *MemoryService) try(ctx context.Context, l *lease, do func() error) error {
	begun := time.Now()
	left := func() time.Duration { return s.server.patience() - time.Since(begun) }
	deliver := func(delay time.Duration, dropped bool) error {
		for {
			state, changed := s.link.get()
			switch {
			case state.cut:
				return errUnreachable
			case dropped || delay > left():
				return cmp.Or(s.pass(ctx, l, left(), nil), errUnreachable)
			case !state.frozen:
				return s.pass(ctx, l, delay, nil)
			}
			if err := s.pass(ctx, l, left(), changed); err != nil {
				return err
			}
			if left() <= 0 {
				return errUnreachable
			}
		}
	}
	if err := s.pass(ctx, l, 0, nil); err != nil {
		return err // it is not sent
	}
	state, _ := s.link.get()
	if err := deliver(state.delayRequests, state.dropRequests); err != nil {
		if !state.dropRequests {
			s.link.leave(func() { do() }, begun.Add(state.delayRequests))
		}
		return err
	}
	if state.failure != nil {
		return state.failure
	}
	answer := do()
	state, _ = s.link.get()
	if state.dropReply {
		s.link.set(func(l *linkState) { l.dropReply = false })
	}
	if err := deliver(state.delayReplies, state.dropReplies || state.dropReply); err != nil {
		return err
	}
	return answer
}

// pass lets d pass, or less if changed is closed first. It returns an error if ctx, the lease or
// the Service ends first.
func (s *MemoryService) pass(ctx context.Context, l *lease, d time.Duration, changed <-chan struct{}) error {
	var elapsed <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		elapsed = timer.C
	} else {
		now := make(chan time.Time)
		close(now)
		elapsed = now
	}
	switch {
	case isClosed(s.closed):
		return errClosed
	case ctx.Err() != nil:
		return ctx.Err()
	case isClosed(l.ended):
		return driver.ErrLost
	}
	select {
	case <-elapsed:
		return nil
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.ended:
		return driver.ErrLost
	case <-s.closed:
		return errClosed
	}
}
