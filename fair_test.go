package lockutils_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils"
)

// In each round a queue of fair waiters of both modes, some of whom leave it: the rest is served
// in the order in which it came, neighbouring readers together.
func TestFairWaitersAreServedInOrderThoughOthersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(300) {
			random := rand.New(rand.NewPCG(seed, 0))
			var mu sync.Mutex
			var batches [][]int // who was served at the same moment; guarded by mu
			var moment time.Time
			var want [][]int
			var leave []context.CancelFunc
			g := mustLock(t, "x")
			readers := false // the last of want are
			for i := range 2 + random.IntN(12) {
				ctx, cancel := context.WithCancel(t.Context())
				opts := []lockutils.Option{lockutils.Fair()}
				reader := random.IntN(2) == 0
				if reader {
					opts = append(opts, lockutils.Shared())
				}
				go func() {
					defer cancel()
					g, err := lockutils.LockContext(ctx, "x", opts...)
					if err != nil {
						wantError(t, err, context.Canceled)
						return
					}
					mu.Lock()
					if now := time.Now(); now != moment {
						batches, moment = append(batches, nil), now
					}
					last := len(batches) - 1
					batches[last] = append(batches[last], i)
					mu.Unlock()
					time.Sleep(time.Second)
					mustUnlock(t, g)
				}()
				synctest.Wait()
				switch {
				case random.IntN(3) == 0:
					leave = append(leave, cancel)
				case reader && readers:
					want[len(want)-1] = append(want[len(want)-1], i)
				default:
					want = append(want, []int{i})
					readers = reader
				}
			}
			for _, i := range random.Perm(len(leave)) {
				leave[i]()
			}
			time.Sleep(time.Second)
			mustUnlock(t, g)
			time.Sleep(time.Minute)
			synctest.Wait()
			for _, batch := range batches {
				slices.Sort(batch)
			}
			if !slices.EqualFunc(batches, want, slices.Equal) {
				t.Fatalf("seed %d: served %v, want %v", seed, batches, want)
			}
		}
	})
}

var (
	_ sync.Locker = lockutils.FairLock{}
	_ sync.Locker = lockutils.NamedReaderWriterLock{}
	_ sync.Locker = (*lockutils.ReaderWriterLock)(nil)
)

func TestFairLockIsServedInOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var locks lockutils.FairLocks
		l := locks.Get("x")
		l.Lock()
		var order []int // guarded by l
		for i := range 100 {
			go func() {
				l.Lock()
				order = append(order, i)
				l.Unlock()
			}()
			synctest.Wait()
		}
		if l.TryLock() {
			t.Error("TryLock of a lock held")
		}
		if locks.Len() != 1 {
			t.Errorf("Len %d", locks.Len())
		}
		l.Unlock()
		synctest.Wait()
		if len(order) != 100 || !slices.IsSorted(order) {
			t.Errorf("order %v", order)
		}
		if locks.Len() != 0 {
			t.Errorf("Len %d", locks.Len())
		}
		if !l.TryLock() {
			t.Error("TryLock of a free lock")
		}
		l.Unlock()
		wantPanic(t, l.Unlock)
	})
}

func TestFairWaitEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var locks lockutils.FairLocks
		l := locks.Get("x")
		l.Lock()
		reason := errors.New("the reason")
		ctx, cancel := context.WithCancelCause(t.Context())
		var served []int
		for i := range 10 {
			go func() {
				if i%2 == 0 {
					err := l.LockContext(ctx)
					wantAcquireError(t, err, "x", "", context.Canceled)
					wantError(t, err, reason)
					return
				}
				l.Lock()
				served = append(served, i)
				l.Unlock()
			}()
			synctest.Wait()
		}
		cancel(reason)
		synctest.Wait()
		l.Unlock()
		synctest.Wait()
		if !slices.Equal(served, []int{1, 3, 5, 7, 9}) {
			t.Errorf("served %v", served)
		}
	})
}

// A default request may pass a waiting default one, but nobody passes a Fair one, and that one
// passes nobody.
func TestNobodyPassesAFairWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string // guarded by the lock
		queue := func(id string, opts ...lockutils.Option) {
			go func() {
				g := mustLock(t, "x", opts...)
				order = append(order, id)
				mustUnlock(t, g)
			}()
			synctest.Wait()
		}
		g := mustLock(t, "x")
		queue("1", lockutils.Fair())
		queue("2")
		queue("3", lockutils.Shared())
		queue("4", lockutils.Fair())
		queue("5", lockutils.Fair(), lockutils.Shared())
		queue("6")
		mustUnlock(t, g)
		synctest.Wait()
		if !slices.Equal(order, []string{"1", "2", "3", "4", "5", "6"}) {
			t.Errorf("order %v", order)
		}

		// A free lock that somebody waits for is not there for those who come later.
		g = mustLock(t, "x")
		done := make(chan struct{})
		go func() { mustUnlock(t, mustLock(t, "x", lockutils.Fair())); close(done) }()
		synctest.Wait()
		_, err := lockutils.TryLock("x", lockutils.Fair())
		wantError(t, err, lockutils.ErrLocked)
		mustUnlock(t, g)
		<-done
	})
}

// The lock file's own queue comes in where processes contend; within a process the order is the
// same with a file.
func TestFairExternalLockIsServedInOrderOfArrival(t *testing.T) {
	setLockPath(t)
	g, err := lockutils.Lock("x", lockutils.External(), lockutils.Fair())
	if err != nil && unsupported(t, err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, g)
	synctest.Test(t, func(t *testing.T) {
		g := mustLock(t, "x") // the internal layer makes them queue
		var order []int
		for i := range 20 {
			go func() {
				g := mustLock(t, "x", lockutils.External(), lockutils.Fair())
				order = append(order, i)
				mustUnlock(t, g)
			}()
			synctest.Wait()
		}
		mustUnlock(t, g)
		synctest.Wait()
		if len(order) != 20 || !slices.IsSorted(order) {
			t.Errorf("order %v", order)
		}
	})
}
