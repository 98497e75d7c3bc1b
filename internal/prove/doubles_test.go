package prove

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

// Broken locks. Each is the model made to work, with one decision replaced by a wrong one; the one without is the
// control that shows that it is the flaw that is caught.

// modelLocks is the model with a mutex around it. Its decisions can be replaced.
type modelLocks struct {
	permits int
	// admits reports whether a request that stands in the queue, or has just come, gets the lock.
	admits func(s state, r request) bool
	// withdrawn is called when somebody has left the queue or has given back what came too late.
	withdrawn func(l *modelLock)
	// stale is called when a guard is unlocked that has been unlocked before.
	stale func(l *modelLock) error
	// refuses reports whether a try fails that could be granted.
	refuses func(s state) bool

	mu    sync.Mutex
	locks map[string]*modelLock
}

// modelLock is one lock, guarded by the mutex of all.
type modelLock struct {
	of      *modelLocks
	state   state
	waiting map[int]chan struct{} // closed when the request is granted
	last    int                   // ID given
}

func newModelLocks(permits int) *modelLocks {
	m := &modelLocks{permits: permits, locks: map[string]*modelLock{}}
	m.admits = m.soundly
	m.withdrawn = (*modelLock).serve
	m.stale = func(*modelLock) error { return lockutils.ErrNotHeld }
	m.refuses = func(state) bool { return false }
	return m
}

// soundly is how a sound lock admits.
func (m *modelLocks) soundly(s state, r request) bool {
	return s.room(r.Mode, m.permits) && r.mayPass(s.ahead(r))
}

// enter returns the lock of that name with the request numbered. The mutex stays locked.
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

// serve grants what can be granted.
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

// double returns a contender that is a model lock with a flaw.
func double(name string, permits int, asks []request, flaw func(m *modelLocks)) contender {
	return contender{name, permits, asks, func(string) subject {
		m := newModelLocks(permits)
		flaw(m)
		return m
	}}
}

// allowance is how soon a flaw must be caught.
const allowance = 10 * time.Second

// expectCaught plays with the double until it is caught.
func expectCaught(t *testing.T, c contender) {
	t.Helper()
	e := newEffort(brokenTitle, c.name, allowance)
	for n := 0; e.goesOn(); n++ {
		if v := e.playOnce(t, c, n, t.TempDir()); v != nil {
			e.count(violations, 1)
			v.expectClear(t)
			return
		}
	}
	t.Errorf("not caught in %v histories", e)
}

const brokenTitle = "broken variants"

// enough is how many events may be needed: the life of one request of each client, and the one that it makes illegal.
const enough = 3*playSeats + 1

// expectClear checks that the violation is short and has its picture.
func (v *violation) expectClear(t *testing.T) {
	t.Helper()
	t.Log(v)
	if len(v.history) > enough {
		t.Errorf("it takes %d events to show the violation", len(v.history))
	}
	if !strings.HasSuffix(v.picture, ".html") {
		t.Error("there is no picture")
	}
}

func TestSoundDoubleIsNotCaught(t *testing.T) {
	e := newEffort(brokenTitle, "none: the control", time.Second/2)
	c := double("control", 1, allAsks, func(*modelLocks) {})
	for n := 0; e.goesOn(); n++ {
		if v := e.playOnce(t, c, n, t.TempDir()); v != nil {
			t.Fatal(v)
		}
	}
}

func TestReaderBesideWriterIsCaught(t *testing.T) {
	expectCaught(t, double("a reader admitted beside a writer", 1, plainAsks, func(m *modelLocks) {
		m.admits = func(s state, r request) bool {
			return r.Mode == shared && len(s.holders) == 1 || m.soundly(s, r)
		}
	}))
}

func TestOverfullSemaphoreIsCaught(t *testing.T) {
	expectCaught(t, double("an over-full semaphore", 3, []request{plainAsk}, func(m *modelLocks) {
		m.admits = func(s state, r request) bool {
			return s.room(r.Mode, m.permits+1) && r.mayPass(s.ahead(r))
		}
	}))
}

func TestUnfairFairLockIsCaught(t *testing.T) {
	expectCaught(t, double("a fair lock that serves the last first", 1, []request{fairAsk}, func(m *modelLocks) {
		m.admits = func(s state, r request) bool {
			return s.room(r.Mode, m.permits) && (len(s.queue) == 0 || s.queue[len(s.queue)-1] == r)
		}
	}))
}

func TestOvertakingInFairLockIsCaught(t *testing.T) {
	expectCaught(t, double("a fair lock with a try that passes those who wait", 1, fairAsks, func(m *modelLocks) {
		m.admits = func(s state, r request) bool {
			return m.soundly(s, r) || s.find(s.queue, r.ID) < 0 && s.room(r.Mode, m.permits)
		}
	}))
}

func TestLostWakeUpIsCaught(t *testing.T) {
	expectCaught(t, double("a wake-up lost when a waiter gives up", 1, allAsks, func(m *modelLocks) {
		m.withdrawn = func(*modelLock) {}
	}))
}

func TestStaleGuardThatUnlocksIsCaught(t *testing.T) {
	expectCaught(t, double("a stale guard that unlocks", 1, []request{plainAsk}, func(m *modelLocks) {
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
	expectCaught(t, double("a stale guard that unlocks and denies it", 1, []request{plainAsk}, func(m *modelLocks) {
		m.stale = func(l *modelLock) error {
			l.state.holders = nil
			l.serve()
			return lockutils.ErrNotHeld
		}
	}))
}

func TestTryThatFailsForNothingIsCaught(t *testing.T) {
	expectCaught(t, double("a try that fails though the lock is free", 1, []request{plainAsk}, func(m *modelLocks) {
		m.refuses = func(s state) bool { return len(s.holders) == 0 }
	}))
}
