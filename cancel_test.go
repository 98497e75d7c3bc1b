package lockutils_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/internal/filelock"
)

// finish fails the test if the goroutines are not done in time: a wake-up has been lost.
func finish(t testing.TB, all *sync.WaitGroup) {
	t.Helper()
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("somebody still waits for a lock that is free")
	}
}

// Waiters come, are cancelled at any moment, and are served. Whoever is not cancelled must get the lock, or the test ends
// only by its bound; and nothing may be left at the end.
func TestCancellingAnyWaiterAtAnyMomentLosesNoWakeUp(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	two := lockutils.NewSemaphores(2)
	var fair lockutils.FairLocks
	var rw lockutils.ReaderWriterLock
	named := func(opts ...lockutils.Option) func(ctx context.Context, i int) (func() error, error) {
		return func(ctx context.Context, i int) (func() error, error) {
			if i%3 == 0 {
				opts := append(opts[:len(opts):len(opts)], lockutils.Shared())
				g, err := lockutils.LockContext(ctx, "x", opts...)
				return g.Unlock, err
			}
			g, err := lockutils.LockContext(ctx, "x", opts...)
			return g.Unlock, err
		}
	}
	for name, acquire := range map[string]func(ctx context.Context, i int) (release func() error, err error){
		"default":   named(),
		"fair":      named(lockutils.Fair()),
		"container": named(lockutils.WithSemaphores(two)),
		"timeout":   named(lockutils.WithTimeout(time.Hour)),
		"default and fair": func(ctx context.Context, i int) (func() error, error) {
			if i%2 == 0 {
				return named(lockutils.Fair())(ctx, i)
			}
			return named()(ctx, i)
		},
		"FairLock": func(ctx context.Context, _ int) (func() error, error) {
			l := fair.Get("x")
			return func() error { l.Unlock(); return nil }, l.LockContext(ctx)
		},
		"ReaderWriterLock": func(ctx context.Context, i int) (func() error, error) {
			if i%2 == 0 {
				return func() error { rw.RUnlock(); return nil }, rw.RLockContext(ctx)
			}
			return func() error { rw.Unlock(); return nil }, rw.LockContext(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var cancelled atomic.Int32
			for range rounds {
				release, err := acquire(t.Context(), 1)
				if err != nil {
					t.Fatal(err)
				}
				var all sync.WaitGroup
				for i := range 10 {
					ctx, cancel := t.Context(), context.CancelFunc(func() {})
					if i%2 == 0 {
						ctx, cancel = context.WithCancel(ctx)
						time.AfterFunc(time.Duration(rand.IntN(100))*time.Microsecond, cancel)
					}
					all.Go(func() {
						defer cancel()
						release, err := acquire(ctx, i)
						if err == nil {
							err = release()
						} else if errors.Is(err, context.Canceled) && ctx.Err() != nil {
							cancelled.Add(1)
							return
						}
						if err != nil {
							t.Error(err)
						}
					})
				}
				if err := release(); err != nil {
					t.Error(err)
				}
				finish(t, &all)
				release, err = acquire(t.Context(), 1)
				if err != nil {
					t.Fatal(err)
				}
				if err := release(); err != nil {
					t.Error(err)
				}
			}
			t.Logf("%d cancelled, %d served", cancelled.Load(), rounds*10-int(cancelled.Load()))
		})
	}
	if two.Len()+fair.Len() != 0 || rw.Owner() != lockutils.ModeNone || rw.HasPendingWriters() {
		t.Error("something is left")
	}
	wantFree(t, "x")
}

// The holder is another process, so that the first of the waiters here waits in the kernel.
func TestCancellingAnyExternalWaiterLosesNoWakeUp(t *testing.T) {
	dir := setLockPath(t)
	other := startPeer(t)
	rounds := 40
	if testing.Short() {
		rounds = 5
	}
	served := 0 // guarded by the lock
	cancelled := atomic.Int32{}
	for round := range rounds {
		other.must("lock", "x", dir, "external")
		var all sync.WaitGroup
		for i := range 20 {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if i%2 == 0 {
				ctx, cancel = context.WithCancel(ctx)
				time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, cancel)
			}
			opts := []lockutils.Option{lockutils.External()}
			if round%2 == 1 && i%4 < 2 {
				opts = append(opts, lockutils.Shared())
			}
			all.Go(func() {
				defer cancel()
				g, err := lockutils.LockContext(ctx, "x", opts...)
				if err != nil {
					if !errors.Is(err, context.Canceled) || ctx.Err() == nil {
						t.Error(err)
					}
					cancelled.Add(1)
					return
				}
				if len(opts) == 1 {
					served++
				}
				if err := g.Unlock(); err != nil {
					t.Error(err)
				}
			})
		}
		other.must("unlock", "x", dir)
		finish(t, &all)
		wantFree(t, "x")
	}
	mustUnlock(t, mustLock(t, "x", lockutils.External()))
	t.Logf("%d cancelled, %d served alone", cancelled.Load(), served)
}

// What an abandoned wait gets from the kernel is nobody's: a request that does not wait must not be refused for it.
func TestAbandonedWaitRefusesNobody(t *testing.T) {
	if runtime.GOOS != "linux" || os.Getenv(filelock.EngineVariable) != "" {
		return // where waits poll, one that has just been abandoned may be taking its last look
	}
	dir := setLockPath(t)
	other := startPeer(t)
	modes := [][]lockutils.Option{
		{lockutils.External()},
		{lockutils.External(), lockutils.Shared()},
	}
	for range 50 {
		for _, abandoned := range modes {
			for _, next := range modes {
				other.must("lock", "x", dir, "external")
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				_, err := lockutils.LockContext(ctx, "x", abandoned...)
				cancel()
				wantError(t, err, context.DeadlineExceeded)
				other.must("unlock", "x", dir)
				wantFree(t, "x", next...)
			}
		}
	}
}

// In each round a queue of fair waiters of both modes, some of whom leave it: the rest is served in the order in which it
// came, neighbouring readers together.
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
