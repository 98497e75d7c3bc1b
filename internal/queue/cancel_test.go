package queue

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils/internal/queuetest"
)

// An endingContext ends without telling anybody, so that a waiter finds out when it has just been
// woken for another reason.
type endingContext struct {
	context.Context
	ended atomic.Bool
}

func (c *endingContext) Err() error {
	if c.ended.Load() {
		return context.Canceled
	}
	return nil
}

func TestWaiterLeavesWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lock
		mustAcquire(t, &l, Exclusive)
		ctx, cancel := context.WithTimeout(background, time.Minute)
		defer cancel()
		start := time.Now()
		if _, err := l.Acquire(ctx, Exclusive, Barging, Subject{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Acquire returned %v", err)
		}
		if waited := time.Since(start); waited != time.Minute {
			t.Errorf("it waited for %v", waited)
		}
		l.Release(Exclusive)
		l.checkIdle(t)
	})
}

func TestCancelledWaiterLetsItsSuccessorsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lock
		mustAcquire(t, &l, Shared)
		ctx, cancel := context.WithCancel(background)
		served := make(chan string, 4)
		queueUpContext(ctx, &l, served, "writer", Exclusive, Fair)
		queueUp(&l, served, "reader 1", Shared, Fair)
		queueUp(&l, served, "reader 2", Shared, Barging)
		queueUp(&l, served, "last", Exclusive, Fair)
		cancel()
		queuetest.ExpectServed(t, served, "writer: context canceled", "reader 1", "reader 2")
		for range 3 {
			l.Release(Shared)
		}
		queuetest.ExpectServed(t, served, "last")
		l.Release(Exclusive)
		l.checkIdle(t)
	})
}

// A waiter that is granted the lock, or woken for it, passes it on if its context has ended.
func TestWaiterServedTooLateGivesTheLockOn(t *testing.T) {
	for _, permits := range []int32{1, 2} {
		for _, late := range []struct {
			name string
			mode Mode
			o    Order
		}{
			{"handed over", Exclusive, Fair},
			{"woken", Exclusive, Barging},
			{"reader", Shared, Fair},
		} {
			t.Run(late.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := &Lock{Permits: permits}
					for range permits {
						mustAcquire(t, l, Exclusive)
					}
					ctx := &endingContext{Context: background}
					served := make(chan string, 3)
					queueUpContext(ctx, l, served, "late", late.mode, late.o)
					queueUp(l, served, "next", Exclusive, late.o)
					ctx.ended.Store(true)
					held := permits
					for ; held == permits || held > 0 && late.mode == Shared; held-- {
						l.Release(Exclusive)
					}
					queuetest.ExpectServed(t, served, "late: context canceled", "next")
					for ; held > 0; held-- {
						l.Release(Exclusive)
					}
					if !l.Release(Exclusive) || l.Release(Exclusive) || l.Release(Shared) {
						t.Error("the lock is not held exactly once")
					}
					l.checkIdle(t)
				})
			})
		}
	}
}

// A waiter that is granted the lock in the moment in which its context ends either has it, or it
// goes to the next.
func TestGrantAndCancelAtOnce(t *testing.T) {
	outcomes := map[string]int{}
	for range 300 {
		synctest.Test(t, func(t *testing.T) {
			var l Lock
			o := Order(rand.IntN(2))
			mustAcquire(t, &l, Exclusive)
			ctx, cancel := context.WithCancel(background)
			served := make(chan string, 2)
			queueUpContext(ctx, &l, served, "first", Exclusive, o)
			queueUp(&l, served, "second", Exclusive, o)
			go cancel()
			l.Release(Exclusive)
			synctest.Wait()
			if len(served) == 1 {
				outcomes["granted"]++
				queuetest.ExpectServed(t, served, "first")
				l.Release(Exclusive)
				queuetest.ExpectServed(t, served, "second")
			} else {
				outcomes["cancelled"]++
				queuetest.ExpectServed(t, served, "first: context canceled", "second")
			}
			l.Release(Exclusive)
			l.checkIdle(t)
		})
	}
	t.Log(outcomes)
}

// Thousands of waiters of all kinds are cancelled at any moment, while others come and go. The others
// acquire the lock in the end.
func TestCancellingAtAnyMomentLosesNoWakeUp(t *testing.T) {
	for _, permits := range []int32{1, 2} {
		l := &Lock{Permits: permits}
		r := queuetest.Room{Permits: int64(permits)}
		for range 100 {
			ctx, cancel := context.WithCancel(background)
			var group sync.WaitGroup
			for i := range 20 {
				ctx := ctx
				if i%2 == 0 {
					ctx = background
				}
				group.Go(func() {
					m := Mode(rand.IntN(2))
					queuetest.Dawdle()
					if _, err := l.Acquire(ctx, m, Order(rand.IntN(2)), Subject{}); err == nil {
						if m == Shared {
							r.Read(queuetest.Dawdle)
						} else {
							r.Write(queuetest.Dawdle)
						}
						l.Release(m)
					}
				})
			}
			queuetest.Dawdle()
			cancel()
			group.Wait()
			l.checkIdle(t)
		}
		if n := r.Overlaps.Load(); n != 0 {
			t.Errorf("%d overlaps", n)
		}
	}
}
