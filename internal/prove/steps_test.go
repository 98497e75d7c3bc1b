package prove

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils"
)

// Step by step: a few goroutines act concurrently, then all block before the next step. At that
// point the waiters are known, and so is the order in which fair ones must be granted the lock. A
// waiter without a reason to wait has missed a wake-up.

var steps = trials("goroutines, step by step", stepTrials()...)

func TestGoroutinesStepByStep(t *testing.T) { steps.run(t) }

func stepTrials() (list []trial) {
	for _, c := range goroutineContenders {
		list = append(list, trial{c.name, 2, func(t *testing.T, st *stats) { stepUntilEnd(t, st, c) }})
	}
	return list
}

func stepUntilEnd(t *testing.T, st *stats, c contender) {
	for n := 0; st.timeLeft() && !t.Failed(); n++ {
		if v := st.stepOnce(t, c, n, *picturesFlag); v != nil {
			st.found(t, violations, 1, "%v", v)
		}
	}
}

// stepOnce runs one history and checks it.
func (st *stats) stepOnce(t *testing.T, c contender, n int, pictures string) *violation {
	run := &stepRun{
		contender: c,
		name:      fmt.Sprintf("steps-%d", n),
		subject:   c.open(""),
		clock:     countingClock().unsteady(),
		random:    st.random(n),
	}
	synctest.Test(t, func(*testing.T) { run.steps() })
	st.count(histories, 1)
	st.count(operations, len(run.events))
	return check(run.events, c.permits, pictures)
}

const (
	stepClients = 5
	stepsOfRun  = 12 // before all holders release
	maxActive   = 3  // clients that act in one step
)

// A stepRun builds one history.
type stepRun struct {
	contender contender
	name      string
	subject   subject
	clock     clock
	random    *rand.Rand
	clients   [stepClients]stepClient
	stale     []*held // unlocked guards, which any client may unlock again
	requests  int

	mu     sync.Mutex
	events history // guarded by mu
}

// A stepClient is the state of a client. Its goroutine writes it; the run reads it while all
// goroutines are blocked.
type stepClient struct {
	pending *pending // or nil
	held    *held    // or nil
}

type pending struct {
	request  request
	call     int64
	waiting  int64 // when it was first seen waiting, or 0
	cancel   context.CancelFunc
	ended    bool
	returned int64 // when the call returned
	guard    guard
	err      error
}

type held struct {
	guard   guard
	request request
	name    string // of the lock
}

// steps runs in a synctest bubble.
func (run *stepRun) steps() {
	for range stepsOfRun {
		for _, i := range run.random.Perm(stepClients)[:1+run.random.IntN(maxActive)] {
			run.act(i)
		}
		run.settle()
		if run.random.IntN(4) == 0 {
			time.Sleep(2 * time.Millisecond) // so that waiters have waited for long
		}
	}
	for run.releaseAll() {
		run.settle()
	}
	for i := range run.clients {
		if a := run.clients[i].pending; a != nil {
			a.cancel() // a waiter that missed its wake-up
		}
	}
}

// act starts one random operation of a client.
func (run *stepRun) act(i int) {
	s := &run.clients[i]
	chance := run.random.IntN(10)
	switch {
	case s.pending != nil && chance < 4:
		s.pending.cancel()
	case s.pending != nil:
	case s.held != nil:
		run.unlock(i)
	case chance < 2 && len(run.stale) > 0:
		run.release(i, run.stale[run.random.IntN(len(run.stale))])
	case chance < 4:
		run.try(i)
	default:
		run.acquire(i)
	}
}

func (run *stepRun) newRequest() request {
	r := run.contender.requests[run.random.IntN(len(run.contender.requests))]
	run.requests++
	r.ID = run.requests
	return r
}

func (run *stepRun) acquire(i int) {
	ctx, cancel := context.WithCancel(context.Background())
	a := &pending{request: run.newRequest(), cancel: cancel}
	run.clients[i].pending = a
	go func() {
		defer cancel()
		a.call = run.clock()
		a.guard, a.err = run.subject.lock(ctx, run.name, a.request)
		a.returned = run.clock()
		a.ended = true
	}()
}

func (run *stepRun) try(i int) {
	r := run.newRequest()
	s := &run.clients[i]
	go func() {
		call := run.clock()
		g, err := run.subject.try(run.name, r)
		back := run.clock()
		if err != nil {
			run.record(i, outcome(err, refuse), r, call, back)
			return
		}
		run.record(i, enter, r, call, back)
		s.held = &held{g, r, run.name}
	}()
}

// outcome returns the action to record for an error.
func outcome(err error, refusal action) action {
	switch {
	case errors.Is(err, lockutils.ErrLocked):
		return refusal
	case errors.Is(err, lockutils.ErrNotHeld):
		return notHeld
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return abandon
	}
	panic(err)
}

func (run *stepRun) unlock(i int) {
	h := run.clients[i].held
	run.clients[i].held = nil
	run.stale = append(run.stale, h)
	run.release(i, h)
}

func (run *stepRun) release(i int, h *held) {
	go func() {
		call := run.clock()
		err := h.guard.Unlock()
		done := leave
		if err != nil {
			done = outcome(err, refuse)
		}
		run.record(i, done, h.request, call, run.clock())
	}()
}

// releaseAll makes all holders release and reports whether there were any.
func (run *stepRun) releaseAll() (any bool) {
	for i := range run.clients {
		if run.clients[i].held != nil {
			run.unlock(i)
			any = true
		}
	}
	return any
}

// settle waits until all goroutines are blocked and records what is known then.
func (run *stepRun) settle() {
	synctest.Wait()
	for i := range run.clients {
		s := &run.clients[i]
		a := s.pending
		switch {
		case a == nil:
		case a.ended:
			run.conclude(i, a)
			s.pending = nil
			if a.err == nil {
				s.held = &held{a.guard, a.request, run.name}
			}
		default:
			now := run.clock()
			if a.waiting == 0 {
				a.waiting = now
				run.record(i, arrive, a.request, a.call, now)
			}
			run.record(i, wait, a.request, now, now)
		}
	}
}

// conclude records a request that has ended. If it never waited, arrival and end are one step.
func (run *stepRun) conclude(i int, a *pending) {
	from := a.waiting
	if from == 0 {
		from = a.call
		run.record(i, arrive, a.request, a.call, a.returned)
	}
	if a.err == nil {
		run.record(i, enter, a.request, from, a.returned)
		return
	}
	outcome(a.err, refuse)
	// It may have been granted before the cancellation and released at once.
	run.record(i, withdraw, a.request, from, a.returned)
}

func (run *stepRun) record(client int, done action, r request, call, back int64) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.events = append(run.events, event{run.name, client, done, r, call, back})
}
