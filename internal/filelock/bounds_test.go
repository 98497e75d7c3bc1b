package filelock

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestCancelledWaitsCostNothing cancels many waits and counts what they leave: at most one
// goroutine and one descriptor of the lock that is still held elsewhere.
func TestCancelledWaitsCostNothing(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		r := Request{Path: lockPath(t)}
		other := newPeer(t)
		other.must("lock", r)
		cancelWait(t, r)
		goroutines, descriptors, threadsBefore := runtime.NumGoroutine(), openFiles(t), threads()
		waits := 1000
		if runtime.GOMAXPROCS(0) == 1 {
			waits = 100 // each keeps the only processor for some milliseconds
		}
		for range waits {
			cancelWait(t, r)
		}
		awaitAtMost(t, goroutines+1, "goroutines", runtime.NumGoroutine)
		awaitAtMost(t, descriptors+1, "descriptors", func() int { return openFiles(t) })
		// The scheduler may start a few for its own ends.
		if n := threads(); n > threadsBefore+runtime.GOMAXPROCS(0) {
			t.Errorf("%d threads, %d before", n, threadsBefore)
		}
		other.must("unlock", r)
		mustUnlock(t, mustLock(t, r))
	})
}

// awaitAtMost fails the test if there stay more than that many: what has just been given up, or
// evicted by the timer, may take a moment to go.
func awaitAtMost(t testing.TB, most int, what string, count func() int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); count() > most; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%d %s, want at most %d", count(), what, most)
			return
		}
	}
}

// threads counts the threads of this process; 0 where the system does not show them.
func threads() int {
	tasks, _ := os.ReadDir("/proc/self/task")
	return len(tasks)
}

// TestWaitsBeyondTheBound waits for more locks than there may be blocked threads.
func TestWaitsBeyondTheBound(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		dir := lockPath(t)
		other := newPeer(t)
		const n = 100
		request := func(i int) Request {
			return Request{Path: filepath.Join(dir, strconv.Itoa(i)), Mode: Mode(i % 2), Fair: i%3 == 0 &&
				files == engine(systemEngine{})}
		}
		needs(t, request(0))
		for i := range n {
			other.must("lock", Request{Path: request(i).Path})
		}
		var waiters errgroup.Group
		for i := range n {
			waiters.Go(func() error {
				h, err := Lock(t.Context(), request(i))
				if err != nil {
					return err
				}
				return h.Unlock()
			})
		}
		for i := range n {
			awaitWaiters(t, request(i), 1)
		}
		if n := threads(); n > 64+50 {
			t.Errorf("%d threads", n)
		}
		for i := range n {
			other.must("unlock", request(i))
		}
		if err := waiters.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func TestNamesUsedOnceLeaveNoDescriptor(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		dir := lockPath(t)
		mustGrant(t, Request{Path: filepath.Join(dir, "first")}) // makes the cache
		size := len(paths.clock)
		for i := range 3 * size {
			mustGrant(t, Request{Path: filepath.Join(dir, strconv.Itoa(i))})
			if n := openIn(t, dir); n != 0 {
				t.Fatalf("%d descriptors after one use of each of %d names", n, i+1)
			}
		}
		for i := range 3 * size {
			mustGrant(t, Request{Path: filepath.Join(dir, strconv.Itoa(i))})
			mustGrant(t, Request{Path: filepath.Join(dir, strconv.Itoa(i))})
		}
		awaitAtMost(t, size, "descriptors", func() int { return openIn(t, dir) })
		// Two rounds of the timer, without its pauses.
		for range 2 {
			for _, p := range paths.evictIf((*pathState).unreferenced) {
				p.closeIdle()
			}
		}
		awaitAtMost(t, 0, "descriptors after a time without use", func() int { return openIn(t, dir) })
		paths.mu.Lock()
		defer paths.mu.Unlock()
		if n := len(paths.byPath); n != 0 {
			t.Errorf("%d names kept after a time without use", n)
		}
	})
}

// TestFewDescriptorsAreKept checks the number of idle descriptors for some limits of descriptors.
func TestFewDescriptorsAreKept(t *testing.T) {
	for limit, want := range map[uint64]int{
		0: 32, 256: 32, 1024: 64, 4096: 256, 20_000: 1024, math.MaxUint64: 1024,
	} {
		if got := cacheSize(limit); got != want {
			t.Errorf("%d of %d descriptors", got, limit)
		}
	}
}

// TestIdleDescriptorsCloseAfterABubble uses locks in a bubble whose timers end with it.
func TestIdleDescriptorsCloseAfterABubble(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		dir := lockPath(t)
		use := func(name string) {
			mustGrant(t, Request{Path: filepath.Join(dir, name)})
			mustGrant(t, Request{Path: filepath.Join(dir, name)})
		}
		synctest.Test(t, func(*testing.T) { use("in the bubble") })
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Hour) // as much as the clocks of two bubbles, or of one and the world, may differ
			use("later")
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := openIn(t, dir); n != 0 {
				t.Errorf("%d descriptors kept after a time without use", n)
			}
		})
	})
}

// openIn counts the descriptors that lead to files in dir.
func openIn(t testing.TB, dir string) (n int) {
	t.Helper()
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && filepath.Dir(target) == dir {
			n++
		}
	}
	return n
}

func TestUncancellableWaiterServesThoseWhoJoin(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		for _, mode := range []Mode{Exclusive, Shared} {
			r := Request{Path: lockPath(t), Mode: mode}
			other := newPeer(t)
			other.must("lock", Request{Path: r.Path})
			var waiters errgroup.Group
			for i := range 10 {
				ctx := context.Background()
				if i > 0 {
					ctx = t.Context()
				}
				waiters.Go(func() error {
					h, err := Lock(ctx, r)
					if err != nil {
						return err
					}
					return h.Unlock()
				})
				awaitWaiters(t, r, i+1)
			}
			cancelWait(t, r)
			other.must("unlock", Request{Path: r.Path})
			if err := waiters.Wait(); err != nil {
				t.Error(err)
			}
			mustGrant(t, r)
		}
	})
}
