package redislock

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/driver/boottime"
	"github.com/redis/rueidis"
)

// Acquire implements driver.Service. If the server cannot be reached, or is loading its data, it
// tries again until ctx ends, or for a third of the TTL if it must not wait. An answer of the
// server that is an error is returned at once. Only a request that has begun to wait outlasts
// those of a failover, for the TTL.
func (s *Service) Acquire(ctx context.Context, r driver.Request) (driver.Hold, error) {
	if r.Fair {
		return nil, fmt.Errorf("redislock: Fair: %w", errors.ErrUnsupported)
	}
	if !s.begin() {
		return nil, ErrClosed
	}
	defer s.active.Done()
	if r.NoWait {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.ttl/3, errNoAnswer)
		defer cancel()
	}
	a := &acquisition{Service: s, request: s.newRequest(r)}
	h, err := a.run(ctx)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// errNoAnswer is why a request that must not wait ends without an answer.
var errNoAnswer = errors.New("no answer")

// An acquisition is a request under way.
type acquisition struct {
	*Service
	*request
	wake    <-chan struct{}
	refused bool          // at least once
	trouble time.Duration // since when there is nothing but trouble; 0: there is none
	pause   time.Duration // before the next try, while there is trouble
	last    error         // the last trouble
}

// run tries until the lock is acquired. Between tries it waits for a wake-up, or for the time to
// pass after which the lock may be free without one.
func (a *acquisition) run(ctx context.Context) (*hold, error) {
	a.wake = a.wakeups.join(a.request.id) // before the first try: a release after it is heard
	defer a.wakeups.leave(a.request.id)
	for left := time.Duration(0); ; {
		h, taken, err := a.try(ctx, left)
		switch {
		case h != nil:
			return h, nil
		case err != nil:
			taken, err = a.outlast(ctx, err)
		case a.NoWait:
			return nil, driver.ErrLocked
		}
		if err != nil {
			a.withdrawLater()
			return nil, err
		}
		left = taken
	}
}

// try sends the request once, at the latest when left has passed. It returns the hold, or how long
// the lock stays taken.
func (a *acquisition) try(ctx context.Context, left time.Duration) (*hold, time.Duration, error) {
	t, err := a.send(ctx, left)
	if err != nil {
		return nil, 0, err
	}
	a.trouble, a.last = 0, nil
	if t.answer <= 0 {
		a.refused = true
		return nil, time.Duration(-t.answer) * time.Millisecond, nil
	}
	h := a.leases.add(a.request, t)
	if h == nil { // the answer took too long; another one says that the lock is held already
		a.refused = true
		if a.NoWait {
			a.leases.withdraw(a.request, false)
		}
		return nil, time.Millisecond, nil
	}
	return h, 0, nil
}

// A trial is one answer to a request, and when the request was sent.
type trial struct {
	answer int64
	sent   time.Duration
	err    error
}

// send sends the request; again only after a wake-up, or when left has passed. When ctx ends it
// returns at once, and what the server grants then is released in the background. The goroutine for
// that waits too, so that a wake-up need not go through the caller's. A call whose ctx never ends
// saves the goroutine.
func (a *acquisition) send(ctx context.Context, left time.Duration) (trial, error) {
	again := a.refused || a.last != nil
	if ctx.Done() == nil {
		if again && !a.wait(ctx, left) {
			return trial{}, ErrClosed
		}
		t := a.exchange(ctx, a.request, again)
		return t, t.err
	}
	if ctx.Err() != nil {
		return trial{}, context.Cause(ctx)
	}
	const delivered, abandoned = 1, 2
	var fate atomic.Int32
	answer := make(chan trial, 1)
	a.active.Add(1) // the caller counts already
	go func() {
		defer a.active.Done()
		if again && !a.wait(ctx, left) || fate.Load() == abandoned {
			return
		}
		t := a.exchange(context.Background(), a.request, again)
		if fate.CompareAndSwap(0, delivered) {
			answer <- t
		} else if t.err != nil || t.answer > 0 || !a.NoWait {
			a.leases.withdraw(a.request, isUnclear(t.err))
		}
	}()
	select {
	case t := <-answer:
		return t, t.err
	case <-ctx.Done():
	case <-a.closing:
	}
	if !fate.CompareAndSwap(0, abandoned) {
		t := <-answer
		return t, t.err
	}
	if ctx.Err() == nil {
		return trial{}, ErrClosed
	}
	return trial{}, context.Cause(ctx)
}

// exchange sends the request once, for the first time or again.
func (s *Service) exchange(ctx context.Context, q *request, again bool) (t trial) {
	x := q.acquire(again)
	t.sent = boottime.Now()
	if s.replicas == 0 {
		t.answer, t.err = s.run(ctx, x)
		return t
	}
	if t.answer, t.err = s.replicate(ctx, x); t.err != nil && t.answer > 0 {
		s.run(ctx, q.withdraw()) // and once more in the background, if this fails
	}
	return t
}

// replicate acquires and waits for the replicas in one go.
func (s *Service) replicate(ctx context.Context, x call) (int64, error) {
	limit := s.ttl / 10
	wait := func() rueidis.Completed {
		return s.client.B().Arbitrary("WAIT", strconv.Itoa(s.replicas),
			strconv.FormatInt(limit.Milliseconds(), 10)).Build().SetSlot(x.keys[0])
	}
	results := s.client.DoMulti(ctx, x.byHash(s.client, x.keys, x.args), wait())
	if isNoScript(results[0].Error()) {
		results = s.client.DoMulti(ctx, x.byText(s.client, x.keys, x.args), wait())
	}
	answer, err := results[0].AsInt64()
	if err != nil || answer <= 0 {
		return answer, err
	}
	n, err := results[1].AsInt64()
	if err == nil && n < int64(s.replicas) {
		err = &replicasError{n, s.replicas, limit}
	}
	return answer, err
}

// A replicasError reports that a lock has not reached enough replicas.
type replicasError struct {
	have  int64
	want  int
	limit time.Duration
}

func (e *replicasError) Error() string {
	return fmt.Sprintf("%d of %d replicas have confirmed the lock within %v", e.have, e.want, e.limit)
}

// outlast returns how long to wait before the next try after an error, or the error that ends the
// acquisition.
func (a *acquisition) outlast(ctx context.Context, err error) (time.Duration, error) {
	if ctx.Err() != nil {
		return 0, a.ended(ctx)
	}
	if errors.Is(err, ErrClosed) {
		return 0, err
	}
	now := boottime.Now()
	if a.trouble == 0 {
		a.trouble, a.pause = now, 0
	}
	if kind(err) == "WRONGTYPE" { // the server does not say which
		err = fmt.Errorf("%w (one of the keys %s)", err, strings.Join(a.keys, ", "))
	}
	a.last = err
	if !a.passes(err, now-a.trouble) {
		return 0, a.failure(err)
	}
	pause := a.pause
	a.pause = min(max(2*pause, 10*time.Millisecond), a.ttl/12)
	return max(pause, time.Microsecond), nil
}

// ended returns the error of an acquisition whose ctx has ended. It tells of trouble with the
// server.
func (a *acquisition) ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	switch {
	case cause == errNoAnswer && a.last != nil:
		return a.failure(a.last)
	case cause == errNoAnswer:
		return a.failure(cause)
	case a.last != nil:
		return fmt.Errorf("%w (%w)", cause, a.failure(a.last))
	default:
		return cause
	}
}

// passes reports whether the cause of an error may go away by itself. The trouble has lasted for so
// long.
func (a *acquisition) passes(err error, lasted time.Duration) bool {
	if errors.As(err, new(*replicasError)) {
		return false
	}
	switch kind(err) {
	case "READONLY", "CLUSTERDOWN", "MASTERDOWN": // what a failover looks like
		return a.refused && lasted < a.ttl
	default:
		return isPassing(err)
	}
}

// isPassing reports whether a call failed because the server could not be reached, loads its data, or
// moves the keys to another node of the Cluster just now.
func isPassing(err error) bool {
	switch kind(err) {
	case "", "LOADING", "TRYAGAIN":
		return true
	default:
		return false
	}
}

// wait waits for a wake-up, for at most the time given. With 0 the time is not known. It returns
// false if ctx ends or the Service is closed.
func (a *acquisition) wait(ctx context.Context, left time.Duration) bool {
	if poll := a.ttl / 3; left == 0 || left > poll {
		left = poll
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-a.wake:
		return true
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-a.closing:
		return false
	}
}

// withdrawLater sees to it that nothing of the request stays at the server.
func (a *acquisition) withdrawLater() {
	if unclear := isUnclear(a.last); unclear || a.refused && !a.NoWait {
		a.leases.withdraw(a.request, unclear)
	}
}

// isUnclear reports whether the request that ended with err may still arrive at the server.
func isUnclear(err error) bool { return err != nil && kind(err) == "" }
