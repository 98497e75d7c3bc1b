package queue

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils/internal/queuetest"
)

func TestFairRequestsAreServedInOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lock
		mustAcquire(t, &l, Exclusive)
		var order []int // written by holders only
		for i := range 100 {
			go func() {
				_, _ = l.Acquire(background, Exclusive, Fair, Subject{})
				order = append(order, i)
				runtime.Gosched()
				l.Release(Exclusive)
			}()
			synctest.Wait()
		}
		l.Release(Exclusive)
		synctest.Wait()
		if len(order) != 100 || !slices.IsSorted(order) {
			t.Errorf("served in the order %v", order)
		}
		l.checkIdle(t)
	})
}

// Readers and writers are served in order of arrival, neighbouring readers together, whatever
// they think of barging.
func TestReadersAndWritersAreServedInTurn(t *testing.T) {
	for _, o := range []Order{Barging, Fair} {
		synctest.Test(t, func(t *testing.T) {
			var l Lock
			mustAcquire(t, &l, Shared)
			served := make(chan string, 10)
			for i, m := range []Mode{Exclusive, Shared, Shared, Shared, Exclusive, Exclusive, Shared} {
				queueUp(&l, served, fmt.Sprint(i), m, o)
			}
			for _, step := range []struct {
				leave Mode
				times int
				next  []string
			}{
				{Shared, 1, []string{"0"}},
				{Exclusive, 1, []string{"1", "2", "3"}},
				{Shared, 2, nil},
				{Shared, 1, []string{"4"}},
				{Exclusive, 1, []string{"5"}},
				{Exclusive, 1, []string{"6"}},
				{Shared, 1, nil},
			} {
				for range step.times {
					l.Release(step.leave)
				}
				queuetest.ExpectServed(t, served, step.next...)
			}
			l.checkIdle(t)
		})
	}
}

func TestNobodyPassesAFairRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lock
		mustAcquire(t, &l, Exclusive)
		served := make(chan string, 3)
		queueUp(&l, served, "easy", Exclusive, Barging)
		queueUp(&l, served, "fair", Exclusive, Fair)
		for _, name := range []string{"easy", "fair"} {
			// Handed over at once: there is no moment at which the lock is free.
			l.Release(Exclusive)
			if _, ok := l.TryAcquire(Exclusive, Barging); ok {
				t.Fatalf("%q was passed", name)
			}
			queuetest.ExpectServed(t, served, name)
		}
		l.Release(Exclusive)
		l.checkIdle(t)
	})
}

// A reader that was counted without being admitted may be the last to leave, and then has to admit a
// waiter. No request passes that waiter in the moment before.
func TestNobodyPassesAFairRequestThatAReaderInVainLetsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lock
		mustAcquire(t, &l, Exclusive)
		served := make(chan string, 1)
		queueUp(&l, served, "fair", Exclusive, Fair)
		l.add(oneHolder)
		l.Release(Exclusive)
		queuetest.ExpectServed(t, served)
		moment := l.add(minusHolder)
		if _, ok := l.TryAcquire(Exclusive, Barging); ok {
			t.Error("a waiting request was passed")
		}
		l.follow(moment)
		queuetest.ExpectServed(t, served, "fair")
		l.Release(Exclusive)
		l.checkIdle(t)
	})
}

func TestSeveralPermitsAreGivenOutInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Lock{Permits: 3}
		for range 3 {
			mustAcquire(t, l, Exclusive)
		}
		served := make(chan string, 6)
		for i, m := range []Mode{Exclusive, Exclusive, Shared, Exclusive, Exclusive} {
			queueUp(l, served, fmt.Sprint(i), m, Fair)
		}
		l.Release(Exclusive)
		queuetest.ExpectServed(t, served, "0")
		l.Release(Exclusive)
		queuetest.ExpectServed(t, served, "1")
		l.Release(Exclusive)
		l.Release(Exclusive)
		queuetest.ExpectServed(t, served) // the reader waits for all of them
		l.Release(Exclusive)
		queuetest.ExpectServed(t, served, "2")
		l.Release(Shared)
		queuetest.ExpectServed(t, served, "3", "4")
		l.Release(Exclusive)
		l.Release(Exclusive)
		l.checkIdle(t)
	})
}

// pass lets the holder release the lock and take it again before the first waiter, who is woken,
// can. It is Release and TryAcquire without a moment in between.
func pass(t *testing.T, l *Lock) {
	t.Helper()
	l.Mu.Lock()
	w := l.grantNext(l.leave(l.LockState(), Exclusive))
	if !l.admits(w, Exclusive, Barging) {
		t.Error("a waiter who is only just waking up cannot be passed")
	}
	l.UnlockState(l.enter(w, Exclusive))
	l.Mu.Unlock()
	synctest.Wait()
}

func TestStarvingWaiterIsHandedTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lock
		mustAcquire(t, &l, Exclusive)
		served := make(chan string, 3)
		queueUp(&l, served, "first", Exclusive, Barging)
		queueUp(&l, served, "second", Exclusive, Barging)
		time.Sleep(starvation - 1)
		pass(t, &l)
		queuetest.ExpectServed(t, served)
		if l.Load()&handoff != 0 {
			t.Error("nobody has waited for a millisecond, but barging is not allowed")
		}
		queueUp(&l, served, "late", Exclusive, Barging)
		time.Sleep(time.Nanosecond)
		pass(t, &l)
		for _, name := range []string{"first", "second"} { // both have starved, though but one was passed
			l.Release(Exclusive)
			if _, ok := l.TryAcquire(Exclusive, Barging); ok {
				t.Fatalf("%s: a waiter was passed after a millisecond", name)
			}
			queuetest.ExpectServed(t, served, name)
		}
		if l.Load()&handoff != 0 {
			t.Error("nobody has starved, but barging is not allowed")
		}
		l.Release(Exclusive)
		queuetest.ExpectServed(t, served, "late")
		l.Release(Exclusive)
		l.checkIdle(t)
	})
}

// A writer gets in although there is never a moment without readers who want to.
func TestReadersDoNotKeepOutAWriter(t *testing.T) {
	var l Lock
	done := make(chan struct{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if rand.IntN(2) == 0 {
					_, _ = l.Acquire(background, Shared, Barging, Subject{})
					queuetest.Dawdle()
					l.Release(Shared)
				} else if _, ok := l.TryAcquire(Shared, Barging); ok {
					l.Release(Shared)
				}
			}
		})
	}
	for range 500 {
		_, _ = l.Acquire(background, Exclusive, Barging, Subject{})
		l.Release(Exclusive)
	}
	close(done)
	group.Wait()
	l.checkIdle(t)
}
