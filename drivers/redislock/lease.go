package redislock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/driver/boottime"
	"github.com/redis/rueidis"
)

// A hold is a lock held at the server.
type hold struct {
	*Service
	*request
	token uint64
	lost  chan struct{}
	ends  atomic.Int64 // the deadline

	// Guarded by leases.mu:
	state    state
	renewAt  time.Duration
	releases int // how many the server may have carried out
}

type state int

const (
	held      state = iota
	releasing       // not renewed any more
	released
	lost
)

// Token implements driver.Hold. A shared hold has one too.
func (h *hold) Token() uint64 { return h.token }

// Lost implements driver.Hold.
func (h *hold) Lost() <-chan struct{} { return h.lost }

// Deadline implements driver.Hold.
func (h *hold) Deadline() time.Duration { return time.Duration(h.ends.Load()) }

// Release implements driver.Hold. It is repeated while the server cannot be reached, loads its data
// or moves the lock to another node, until ctx ends or the hold is lost. If ctx is cancelled before
// its deadline, a silent server can delay the return by a sixth of the TTL.
func (h *hold) Release(ctx context.Context) error {
	pause := time.Duration(0)
	for {
		if outcome, ended := h.leases.beginRelease(h); ended {
			return outcome
		}
		answer, err := h.sendRelease(ctx)
		if outcome, ended := h.leases.endRelease(h, answer, err); ended {
			return outcome
		}
		if !isPassing(err) {
			return h.failure(err)
		}
		if kind(err) != "" {
			h.leases.unsendRelease(h)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-h.lost:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w (%w)", context.Cause(ctx), h.failure(err))
		}
		timer.Stop()
		pause = min(max(2*pause, 10*time.Millisecond), h.ttl/12)
	}
}

// sendRelease sends the release once. When ctx ends it returns, and the release goes on. A ctx whose
// deadline is later than that of the try saves the goroutine for that. Close waits for the answer:
// what the server has released is not lost.
func (h *hold) sendRelease(ctx context.Context) (int64, error) {
	if !h.begin() {
		return 0, ErrClosed
	}
	type result struct {
		answer int64
		err    error
	}
	send := func(ctx context.Context) result {
		defer h.active.Done()
		answer, err := h.run(ctx, h.request.release())
		h.leases.endRelease(h, answer, err)
		return result{answer, err}
	}
	d, ok := ctx.Deadline()
	if ctx.Done() == nil || ctx.Err() == nil && ok && time.Until(d) > h.tryTime() {
		r := send(ctx)
		return r.answer, r.err
	}
	c := make(chan result, 1)
	go func() { c <- send(context.Background()) }()
	select {
	case r := <-c:
		return r.answer, r.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// leases are the holds of a Service. One goroutine renews them, and ends those whose deadline
// passes. It also withdraws requests that may have left something at the server.
type leases struct {
	*Service
	mu    sync.Mutex
	held  map[*hold]struct{}    // those that are held or releasing
	stray map[*request]*strayed // those to withdraw
	work  chan struct{}         // wakes the goroutine; has room for one
}

// A strayed request is withdrawn until the server has confirmed that. One that is unclear may
// arrive later, on a connection that is broken: it is withdrawn until it is found, or the time
// has passed in which it could be.
type strayed struct {
	next, until time.Duration
	unclear     bool
}

func (l *leases) init(s *Service) {
	l.Service = s
	l.held = map[*hold]struct{}{}
	l.stray = map[*request]*strayed{}
	l.work = make(chan struct{}, 1)
}

// add makes a granted request a hold. It returns nil if the grant is too old to be of use.
func (l *leases) add(q *request, t trial) *hold {
	h := &hold{
		Service: l.Service, request: q, token: uint64(t.answer), lost: make(chan struct{}),
		renewAt: t.sent + l.ttl/3,
	}
	deadline := l.deadline(t.sent)
	if boottime.Now() >= deadline {
		return nil
	}
	h.ends.Store(int64(deadline))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[h] = struct{}{}
	return h
}

// withdraw sees to it that nothing of the request stays at the server, in the background.
func (l *leases) withdraw(q *request, unclear bool) {
	now := boottime.Now()
	l.mu.Lock()
	l.stray[q] = &strayed{next: now, until: now + l.ttl, unclear: unclear}
	l.mu.Unlock()
	select {
	case l.work <- struct{}{}:
	default:
	}
}

// lose ends a hold that was not released. mu is held.
func (l *leases) lose(h *hold) {
	if h.state == held || h.state == releasing {
		h.state = lost
		close(h.lost)
		delete(l.held, h)
	}
}

// beginRelease returns what Release returns for a hold that has ended. It keeps others from
// renewing the hold.
func (l *leases) beginRelease(h *hold) (outcome error, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.state <= releasing && boottime.Now() >= h.Deadline() {
		l.expire(h)
	}
	switch h.state {
	case released:
		return nil, true
	case lost:
		return driver.ErrLost, true
	}
	h.state = releasing
	h.releases++
	return nil, false
}

// unsendRelease notes that the server has not carried out a release: if the next one finds nothing, it
// was not that one which ended the hold.
func (l *leases) unsendRelease(h *hold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h.releases--
}

// endRelease notes the answer to a release. With the answer 0 an earlier one that was sent has
// ended the hold, or the hold was gone.
func (l *leases) endRelease(h *hold, answer int64, err error) (outcome error, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && h.state == releasing {
		if answer == 0 && h.releases == 1 {
			l.lose(h)
		} else {
			h.state = released
			delete(l.held, h)
		}
	}
	switch h.state {
	case released:
		return nil, true
	case lost:
		return driver.ErrLost, true
	}
	return nil, false
}

// expire ends a hold whose deadline has passed. The server may keep it for longer, and need not.
// mu is held.
func (l *leases) expire(h *hold) {
	l.lose(h)
	now := boottime.Now()
	l.stray[h.request] = &strayed{next: now, until: now + l.ttl, unclear: true}
}

// A task is something to do at the server: renew a hold, or withdraw a request (with hold nil).
type task struct {
	hold    *hold
	request *request
	strayed *strayed // why the request is withdrawn; nil for Close
}

func (x task) call() call {
	if x.hold == nil {
		return x.request.withdraw()
	}
	return x.request.renew()
}

// keep renews and withdraws until the Service is closed. It looks at all holds at least every
// sixth of the TTL: a hold that it has not seen yet is not due before.
func (l *leases) keep() {
	done := make(chan struct{}, 1)
	busy := false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-l.work:
		case <-done:
			busy = false
		case <-l.closing:
			if busy {
				<-done
			}
			return
		}
		due, next := l.due(!busy)
		if len(due) > 0 {
			busy = true
			go func() { l.perform(due); done <- struct{}{} }()
		}
		timer.Reset(max(next-boottime.Now(), 0))
	}
}

// due ends the holds whose deadline has passed. It returns what is to be done now if that is
// wanted, and when to look again.
func (l *leases) due(wanted bool) (tasks []task, next time.Duration) {
	now := boottime.Now()
	next = now + l.ttl/6
	l.mu.Lock()
	defer l.mu.Unlock()
	for h := range l.held {
		if h.Deadline() <= now {
			l.expire(h)
			continue
		}
		next = min(next, h.Deadline())
		switch {
		case h.state != held:
		case h.renewAt > now+l.ttl/24: // those that are nearly due come along
			next = min(next, h.renewAt)
		case wanted:
			h.renewAt = now + l.ttl/3
			tasks = append(tasks, task{hold: h, request: h.request})
		}
	}
	for q, x := range l.stray {
		switch {
		case x.next > now:
			next = min(next, x.next)
		case wanted:
			x.next = now + l.ttl/3
			tasks = append(tasks, task{request: q, strayed: x})
		}
	}
	return tasks, next
}

// batch is how many tasks are sent together. Other requests come in between.
const batch = 256

// perform does the tasks.
func (l *leases) perform(tasks []task) {
	for len(tasks) > 0 {
		some := tasks[:min(batch, len(tasks))]
		tasks = tasks[len(some):]
		sent := boottime.Now()
		for i, r := range l.send(some, l.tryTime()) {
			answer, err := r.AsInt64()
			if x := some[i]; x.hold != nil {
				l.renewed(x.hold, sent, answer, err)
			} else {
				l.withdrawn(x, answer, err)
			}
		}
	}
}

func (l *leases) send(tasks []task, limit time.Duration) []rueidis.RedisResult {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	calls := make([]call, len(tasks))
	for i, x := range tasks {
		calls[i] = x.call()
	}
	return runAll(ctx, l.client, calls)
}

// renewed notes the answer to a renewal.
func (l *leases) renewed(h *hold, sent time.Duration, answer int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case h.state != held:
	case err != nil:
		h.renewAt = boottime.Now() + l.ttl/12
	case answer == 0:
		l.lose(h)
	default:
		h.renewAt = sent + l.ttl/3
		h.ends.Store(int64(l.deadline(sent)))
	}
}

// withdrawn notes the answer to a withdrawal. It says nothing of a request that has strayed again
// meanwhile: that one may have arrived at the server after the withdrawal.
func (l *leases) withdrawn(t task, answer int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := t.strayed
	if l.stray[t.request] != x {
		return
	}
	if err == nil && (answer > 0 || !x.unclear) || boottime.Now() >= x.until {
		delete(l.stray, t.request)
	} else if err != nil {
		x.next = boottime.Now() + l.ttl/12
	}
}

// releaseAll releases everything, for Close.
func (l *leases) releaseAll() error {
	l.mu.Lock()
	var tasks []task
	for h := range l.held {
		l.lose(h)
		tasks = append(tasks, task{request: h.request})
	}
	for q := range l.stray {
		tasks = append(tasks, task{request: q})
	}
	clear(l.stray)
	l.mu.Unlock()

	var errs []error
	for end := boottime.Now() + l.ttl/3; len(tasks) > 0; {
		some := tasks[:min(batch, len(tasks))]
		tasks = tasks[len(some):]
		failed := 0
		var last error
		for _, r := range l.send(some, end-boottime.Now()) {
			if err := r.Error(); err != nil {
				failed, last = failed+1, err
			}
		}
		if failed > 0 {
			errs = append(errs, fmt.Errorf("redislock: %s: %d releases are not confirmed: %w",
				l.where, failed, last))
		}
	}
	return errors.Join(errs...)
}
