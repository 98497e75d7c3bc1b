package filelock

import (
	"context"
	"testing"
	"time"
)

// gated is the system's engine, except that a gate keeps those whose wait for a lock has ended.
// So there is all the time for what happens otherwise in the moment before they look around.
type gated struct {
	systemEngine
	*gate
}

type gate struct {
	entered chan struct{} // has a value after a wait has begun
	left    chan struct{} // has a value after a wait has ended
	open    chan struct{} // closed when those who have waited may go on
}

type gatedFile struct {
	lockFile
	*gate
}

func (e gated) open(r Request) (lockFile, error) {
	f, err := e.systemEngine.open(r)
	return gatedFile{f, e.gate}, err
}

func (f gatedFile) wait(m Mode, delay time.Duration, stop <-chan struct{}) error {
	note(f.entered)
	err := f.lockFile.wait(m, delay, stop)
	note(f.left)
	<-f.gate.open
	return err
}

// note leaves a value in c, which has room for one.
func note(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// abandonWait lets a wait for r, whose lock other holds, begin and be cancelled. It returns when
// the wait has entered the engine, where it goes on until the engine ends it.
func abandonWait(t *testing.T, r Request, other peer) *gate {
	t.Helper()
	g := &gate{make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})}
	useEngine(t, gated{gate: g})
	other.must("lock", Request{Path: r.Path})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := Lock(ctx, r)
		failed <- err
	}()
	<-g.entered
	cancel()
	if err := <-failed; err != context.Canceled {
		t.Fatal(err)
	}
	return g
}

// TestTryGetsWhatAnAbandonedWaitHas tries for a lock that only a wait of this process has which
// nobody needs any more.
func TestTryGetsWhatAnAbandonedWaitHas(t *testing.T) {
	for _, c := range []struct{ abandoned, tried Mode }{
		{Exclusive, Exclusive}, {Exclusive, Shared}, {Shared, Exclusive}, {Shared, Shared},
	} {
		abandoned := Request{Path: lockPath(t), Mode: c.abandoned}
		tried := Request{Path: abandoned.Path, Mode: c.tried}
		other := newPeer(t)
		g := abandonWait(t, abandoned, other)
		other.must("unlock", Request{Path: abandoned.Path})
		<-g.left
		granted := make(chan *Hold, 1)
		go func() {
			h, err := TryLock(tried)
			if err != nil {
				t.Errorf("%+v: %v", c, err)
			}
			granted <- h
		}()
		awaitWaiters(t, abandoned, 1) // who tries takes the wait over
		close(g.open)
		h := <-granted
		if h == nil {
			t.FailNow()
		}
		mustRefuse(t, Request{Path: abandoned.Path})
		mustUnlock(t, h)
		mustBeFree(t, Request{Path: abandoned.Path})
	}
}

// TestLockThatComesTooLateIsGivenBack lets waiters give up after the kernel has given them the
// lock, and before they know.
func TestLockThatComesTooLateIsGivenBack(t *testing.T) {
	for _, mode := range []Mode{Exclusive, Shared} {
		r := Request{Path: lockPath(t), Mode: mode}
		other := newPeer(t)
		g := abandonWait(t, r, other)
		other.must("unlock", Request{Path: r.Path})
		<-g.left
		cancelWait(t, r) // adopts the wait that has the lock, and gives up too
		close(g.open)
		mustUnlock(t, mustLock(t, Request{Path: r.Path}))
		mustBeFree(t, Request{Path: r.Path})
	}
}

// TestAbandonedPollDelaysNobody lets a poll be abandoned and not notice: it holds nothing, so who
// tries gets the lock if it is free, and is refused soon if it is not.
func TestAbandonedPollDelaysNobody(t *testing.T) {
	r := Request{Path: lockPath(t), Fcntl: true}
	other := newPeer(t)
	g := abandonWait(t, r, other)
	<-g.left
	mustRefuse(t, r)
	mustRefuse(t, Request{Path: r.Path})
	other.must("unlock", r)
	mustGrant(t, r)
	mustGrant(t, Request{Path: r.Path})
	close(g.open)
	mustUnlock(t, mustLock(t, r))
}

// late is the system's engine, except that a poll which is abandoned takes a last look, and its
// time for it.
type late struct {
	systemEngine
	polling chan struct{} // closed when the poll begins
	looking chan struct{} // closed when the lock is held by the last look
}

type lateFile struct {
	lockFile
	late
}

func (e late) open(r Request) (lockFile, error) {
	f, err := e.systemEngine.open(r)
	return lateFile{f, e}, err
}

func (f lateFile) wait(m Mode, _ time.Duration, stop <-chan struct{}) error {
	close(f.polling)
	<-stop
	if granted, err := f.try(m); !granted || err != nil {
		return err
	}
	close(f.looking)
	time.Sleep(5 * time.Millisecond) // as if others had the processor
	if err := f.unlock(); err != nil {
		return err
	}
	return errStopped
}

// TestTryOutlastsTheLastLookOfAnAbandonedPoll tries for a lock that an abandoned poll of this
// process has for a moment.
func TestTryOutlastsTheLastLookOfAnAbandonedPoll(t *testing.T) {
	r := Request{Path: lockPath(t), Fcntl: true}
	e := late{polling: make(chan struct{}), looking: make(chan struct{})}
	useEngine(t, e)
	other := newPeer(t)
	other.must("lock", r)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := Lock(ctx, r)
		failed <- err
	}()
	<-e.polling
	other.must("unlock", r)
	cancel()
	if err := <-failed; err != context.Canceled {
		t.Fatal(err)
	}
	<-e.looking
	h, err := TryLock(r)
	if err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, h)
}
