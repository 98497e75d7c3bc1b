package prove

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

// Mutants: locks with one flaw each. A mutant is the model turned into a lock, with one decision
// replaced by a wrong one. The control has no flaw and must not be caught.

// modelLocks is the model behind a mutex. Its decisions can be replaced.
type modelLocks struct {
	permits int
	// admits reports whether a queued or new request is granted.
	admits func(s state, r request) bool
	// withdrawn is called after a cancelled request has left the lock.
	withdrawn func(l *modelLock)
	// stale is called when a guard is unlocked again.
	stale func(l *modelLock) error
	// refuses reports whether a try fails that could be granted.
	refuses func(s state) bool

	mu    sync.Mutex
	locks map[string]*modelLock
}

// modelLock is one lock, guarded by the mutex of its modelLocks.
type modelLock struct {
	of      *modelLocks
	state   state
	waiting map[int]chan struct{} // closed when the request is granted
	last    int                   // greatest ID in use
}

func newModelLocks(permits int) *modelLocks {
	m := &modelLocks{permits: permits, locks: map[string]*modelLock{}}
	m.admits = m.admitsSoundly
	m.withdrawn = (*modelLock).serve
	m.stale = func(*modelLock) error { return lockutils.ErrNotHeld }
	m.refuses = func(state) bool { return false }
	return m
}

// admitsSoundly is the correct decision.
func (m *modelLocks) admitsSoundly(s state, r request) bool {
	return s.room(r.Mode, m.permits) && r.mayPass(s.ahead(r))
}

// enter returns the lock of that name and gives the request its ID. The mutex stays locked.
func (m *modelLocks) enter(name string, r *request) *modelLock {
	m.mu.Lock()
	l := m.locks[name]
	if l == nil {
		l = &modelLock{of: m, waiting: map[int]chan struct{}{}}
		m.locks[name] = l
	}
	l.last++
	r.ID = l.last
	return l
}

func (m *modelLocks) try(name string, r request) (guard, error) {
	l := m.enter(name, &r)
	defer m.mu.Unlock()
	if m.refuses(l.state) || !m.admits(l.state, r) {
		return nil, lockutils.ErrLocked
	}
	l.state = l.state.with(r)
	return &modelGuard{l, r}, nil
}

func (m *modelLocks) lock(ctx context.Context, name string, r request) (guard, error) {
	l := m.enter(name, &r)
	granted := make(chan struct{})
	l.waiting[r.ID] = granted
	_, l.state = l.state.step(event{Action: arrive, Request: r}, m.permits)
	l.serve()
	m.mu.Unlock()
	select {
	case <-granted:
	case <-ctx.Done():
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(l.waiting, r.ID)
		l.state = state{
			without(l.state.holders, l.state.find(l.state.holders, r.ID)),
			without(l.state.queue, l.state.find(l.state.queue, r.ID)),
		}
		m.withdrawn(l)
		return nil, ctx.Err()
	}
	return &modelGuard{l, r}, nil
}

// serve grants each queued request that can be granted.
func (l *modelLock) serve() {
	for i := 0; i < len(l.state.queue); i++ {
		r := l.state.queue[i]
		if l.of.admits(l.state, r) {
			l.state = l.state.with(r)
			close(l.waiting[r.ID])
			delete(l.waiting, r.ID)
			i = -1
		}
	}
}

type modelGuard struct {
	lock    *modelLock
	request request
}

func (g *modelGuard) Unlock() error {
	l := g.lock
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	i := l.state.find(l.state.holders, g.request.ID)
	if i < 0 {
		return l.of.stale(l)
	}
	l.state.holders = without(l.state.holders, i)
	l.serve()
	return nil
}

// mutant returns a contender that is a model lock with a flaw.
func mutant(name string, permits int, requests []request, flaw func(m *modelLocks)) contender {
	return contender{name, permits, requests, func(string) subject {
		m := newModelLocks(permits)
		flaw(m)
		return m
	}}
}

// catchLimit bounds the time until a mutant is caught.
const catchLimit = 10 * time.Second

// expectCaught runs histories of the mutant until it is caught.
func expectCaught(t *testing.T, c contender) {
	t.Helper()
	st := newStats(mutantTitle, c.name, catchLimit)
	for n := 0; st.timeLeft(); n++ {
		if v := st.stepOnce(t, c, n, t.TempDir()); v != nil {
			st.count(violations, 1)
			v.expectClear(t)
			return
		}
	}
	t.Errorf("not caught in %v histories", st)
}

const mutantTitle = "mutants"

// maxViolation bounds the events of a minimal violation: the life cycle of one request of each
// client, and the illegal event.
const maxViolation = 3*stepClients + 1

// expectClear checks that the violation is short and has a visualisation.
func (v *violation) expectClear(t *testing.T) {
	t.Helper()
	t.Log(v)
	if len(v.history) > maxViolation {
		t.Errorf("the minimal violation has %d events", len(v.history))
	}
	if !strings.HasSuffix(v.picture, ".html") {
		t.Error("no visualisation")
	}
}

func TestControlIsNotCaught(t *testing.T) {
	st := newStats(mutantTitle, "none: the control", time.Second/2)
	c := mutant("control", 1, mixedRequests, func(*modelLocks) {})
	for n := 0; st.timeLeft(); n++ {
		if v := st.stepOnce(t, c, n, t.TempDir()); v != nil {
			t.Fatal(v)
		}
	}
}

func TestReaderBesideWriterIsCaught(t *testing.T) {
	expectCaught(t, mutant("a reader admitted beside a writer", 1, plainRequests, func(m *modelLocks) {
		m.admits = func(s state, r request) bool {
			return r.Mode == shared && len(s.holders) == 1 || m.admitsSoundly(s, r)
		}
	}))
}

func TestOverfullSemaphoreIsCaught(t *testing.T) {
	expectCaught(t, mutant("an over-full semaphore", 3, []request{plain}, func(m *modelLocks) {
		m.admits = func(s state, r request) bool {
			return s.room(r.Mode, m.permits+1) && r.mayPass(s.ahead(r))
		}
	}))
}

func TestUnfairFairLockIsCaught(t *testing.T) {
	expectCaught(
		t,
		mutant("a fair lock that grants the last waiter first", 1, []request{fair}, func(m *modelLocks) {
			m.admits = func(s state, r request) bool {
				return s.room(r.Mode, m.permits) && (len(s.queue) == 0 || s.queue[len(s.queue)-1] == r)
			}
		}),
	)
}

func TestOvertakingInFairLockIsCaught(t *testing.T) {
	expectCaught(
		t,
		mutant("a fair lock with a try that passes waiters", 1, fairRequests, func(m *modelLocks) {
			m.admits = func(s state, r request) bool {
				return m.admitsSoundly(s, r) || s.find(s.queue, r.ID) < 0 && s.room(r.Mode, m.permits)
			}
		}),
	)
}

func TestLostWakeUpIsCaught(t *testing.T) {
	expectCaught(t, mutant("a wake-up lost when a wait is cancelled", 1, mixedRequests, func(m *modelLocks) {
		m.withdrawn = func(*modelLock) {}
	}))
}

func TestStaleGuardThatUnlocksIsCaught(t *testing.T) {
	expectCaught(t, mutant("a stale guard that unlocks", 1, []request{plain}, func(m *modelLocks) {
		m.stale = func(l *modelLock) error {
			if len(l.state.holders) == 0 {
				return lockutils.ErrNotHeld
			}
			l.state.holders = nil
			l.serve()
			return nil
		}
	}))
}

func TestStaleGuardThatUnlocksInSecretIsCaught(t *testing.T) {
	expectCaught(
		t,
		mutant("a stale guard that unlocks and returns ErrNotHeld", 1, []request{plain}, func(m *modelLocks) {
			m.stale = func(l *modelLock) error {
				l.state.holders = nil
				l.serve()
				return lockutils.ErrNotHeld
			}
		}),
	)
}

func TestTryThatFailsForNothingIsCaught(t *testing.T) {
	expectCaught(
		t,
		mutant("a try that fails although the lock is free", 1, []request{plain}, func(m *modelLocks) {
			m.refuses = func(s state) bool { return len(s.holders) == 0 }
		}),
	)
}
