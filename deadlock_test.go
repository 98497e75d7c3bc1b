package lockutils_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/drivers/drivertest"
)

// A step is what one goroutine of a cycle does: it calls then with a context that holds
// something, and then waits for what the next one holds.
type step struct {
	hold func(ctx context.Context, then func(ctx context.Context) error) error
	wait func(ctx context.Context) error
}

// runCycle runs the steps, each waiting only when all hold theirs, one after the other, and
// returns their errors.
func runCycle(t *testing.T, steps ...step) []error {
	t.Helper()
	errs := make([]error, len(steps))
	var holding, done sync.WaitGroup
	holding.Add(len(steps))
	turns := make([]chan struct{}, len(steps))
	for i := range turns {
		turns[i] = make(chan struct{})
	}
	for i, s := range steps {
		done.Go(func() {
			errs[i] = s.hold(t.Context(), func(ctx context.Context) error {
				holding.Done()
				<-turns[i]
				return s.wait(ctx)
			})
		})
	}
	holding.Wait()
	for i := range turns {
		close(turns[i])
		synctest.Wait()
	}
	done.Wait()
	return errs
}

// wantOneDeadlock fails the test unless the last of the errors, and no other, is a DeadlockError
// with a cycle of n.
func wantOneDeadlock(t *testing.T, errs []error, n int) *lockutils.DeadlockError {
	t.Helper()
	for i, err := range errs[:len(errs)-1] {
		if err != nil {
			t.Errorf("goroutine %d: %v", i, err)
		}
	}
	last := errs[len(errs)-1]
	var acquire *lockutils.AcquireError
	var deadlock *lockutils.DeadlockError
	if !errors.As(last, &acquire) || !errors.As(last, &deadlock) || !errors.Is(last, lockutils.ErrDeadlock) {
		t.Fatalf("the last one gets %v", last)
	}
	if len(deadlock.Cycle) != n {
		t.Errorf("a cycle of %d: %v", len(deadlock.Cycle), deadlock)
	}
	for i, w := range deadlock.Cycle {
		if len(w.Stack) == 0 || len(w.Holds) == 0 || w.Since.IsZero() || w.Mode == lockutils.ModeNone {
			t.Errorf("member %d: %+v", i, w)
		}
	}
	return deadlock
}

func doStep(hold, wait string, opts ...lockutils.Option) step {
	return step{
		func(ctx context.Context, then func(context.Context) error) error {
			return lockutils.Do(ctx, hold, then, opts...)
		},
		func(ctx context.Context) error {
			return lockutils.Do(ctx, wait, func(context.Context) error { return nil }, opts...)
		},
	}
}

func TestCycleEndsWithOneDeadlockError(t *testing.T) {
	for _, opts := range [][]lockutils.Option{
		nil, {lockutils.Fair()}, {lockutils.WithPrefix("p")}, {lockutils.WithTimeout(time.Hour)},
		{lockutils.WithSemaphores(lockutils.NewSemaphores(1))},
	} {
		for _, n := range []int{2, 3, 10} {
			synctest.Test(t, func(t *testing.T) {
				var steps []step
				for i := range n {
					steps = append(steps, doStep(fmt.Sprint("n", i), fmt.Sprint("n", (i+1)%n), opts...))
				}
				start := time.Now()
				e := wantOneDeadlock(t, runCycle(t, steps...), n)
				if took := time.Since(start); took > 100*time.Millisecond {
					t.Errorf("it took %v", took)
				}
				if w := e.Cycle[0]; w.Name != "n0" || !slices.Equal(w.Holds, []string{fmt.Sprint("n", n-1)}) {
					t.Errorf("the victim: %+v", w)
				}
				for i, w := range e.Cycle {
					next := e.Cycle[(i+1)%n]
					if !slices.Contains(next.Holds, w.Name) {
						t.Errorf("%q is not held by the next, who holds %q", w.Name, next.Holds)
					}
				}
				for _, want := range []string{`"n0"`, `"n1"`, "doStep"} {
					if !strings.Contains(e.Error(), want) {
						t.Errorf("%q does not tell of %s", e.Error(), want)
					}
				}
			})
		}
	}
}

func TestCycleInRealTimeEndsWithin100Milliseconds(t *testing.T) {
	for range 3 {
		var both sync.WaitGroup
		both.Add(2)
		errs := make(chan error, 2)
		for i := range 2 {
			go func() {
				errs <- lockutils.Do(t.Context(), fmt.Sprint(i), func(ctx context.Context) error {
					both.Done()
					both.Wait()
					return lockutils.Do(ctx, fmt.Sprint(1-i), func(context.Context) error { return nil })
				})
			}()
		}
		one, two := <-errs, <-errs
		if (one == nil) == (two == nil) || !errors.Is(errors.Join(one, two), lockutils.ErrDeadlock) {
			t.Errorf("%v, %v", one, two)
		}
	}
}

func TestCycleOverSharedHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := doStep("a", "b", lockutils.Shared())
		b := doStep("b", "a", lockutils.Shared())
		a.wait, b.wait = doStep("", "b").wait, doStep("", "a").wait
		wantOneDeadlock(t, runCycle(t, a, b), 2)
	})
}

// Any one of several readers closes the cycle, although the others can go on.
func TestCycleOverOneOfSeveralReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := mustLock(t, "a", lockutils.Shared())
		a := doStep("a", "b", lockutils.Shared())
		a.wait = doStep("", "b").wait
		wantOneDeadlock(t, runCycle(t, a, doStep("b", "a")), 2)
		_ = other.Unlock()
	})
}

// A reader does not pass a writer that waits, and so waits for the readers for whom that one waits.
func TestCycleOverAWaitingWriterInBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader := step{
			doStep("a", "", lockutils.Shared()).hold,
			doStep("", "b").wait,
		}
		late := step{
			doStep("b", "").hold,
			doStep("", "a", lockutils.Shared()).wait,
		}
		writer := step{
			func(ctx context.Context, then func(context.Context) error) error { return then(ctx) },
			doStep("", "a").wait,
		}
		errs := runCycle(t, reader, writer, late)
		wantOneDeadlock(t, errs, 2)
	})
}

func TestCycleOverAllPermitsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := lockutils.NewSemaphores(2)
		permit := func(wait string) step {
			return step{doStep("s", "", lockutils.WithSemaphores(s)).hold, doStep("", wait).wait}
		}
		owner := func(hold string) step {
			return step{
				doStep(hold, "").hold,
				func(ctx context.Context) error {
					err := s.Get("s").Acquire(ctx)
					if err == nil {
						s.Get("s").Release()
					}
					return err
				},
			}
		}
		both := step{
			func(ctx context.Context, then func(context.Context) error) error {
				return lockutils.DoAll(ctx, []string{"a", "b"}, then)
			},
			owner("").wait,
		}
		wantOneDeadlock(t, runCycle(t, permit("a"), permit("b"), both), 2)

		// One permit is with somebody whose end nobody waits for: no deadlock.
		free := mustLock(t, "s", lockutils.WithSemaphores(s))
		time.AfterFunc(time.Second, func() { _ = free.Unlock() })
		for i, err := range runCycle(t, permit("a"), owner("a")) {
			if err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
	})
}

// A reader needs all permits, and so waits for each of their holders, even behind a request that one
// permit will do for.
func TestCycleOverOnePermitBehindAnotherRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := lockutils.WithSemaphores(lockutils.NewSemaphores(2))
		other := mustLock(t, "s", in)
		time.AfterFunc(time.Second, func() { _ = other.Unlock() })
		holder := step{doStep("s", "", in).hold, doStep("", "a").wait}
		first := step{
			func(ctx context.Context, then func(context.Context) error) error { return then(ctx) },
			doStep("", "s", in).wait,
		}
		reader := step{doStep("a", "").hold, doStep("", "s", in, lockutils.Shared()).wait}
		wantOneDeadlock(t, runCycle(t, holder, first, reader), 2)
	})
}

func TestCycleOverSeveralPrefixesAndContainers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := lockutils.WithSemaphores(lockutils.NewSemaphores(1))
		p := lockutils.WithPrefix("p")
		cycle := []step{
			{doStep("x", "").hold, doStep("", "x", p).wait},
			{doStep("x", "", p).hold, doStep("", "x", s).wait},
			{doStep("x", "", s).hold, doStep("", "x").wait},
		}
		e := wantOneDeadlock(t, runCycle(t, cycle...), 3)
		for _, want := range []string{`waits for "x" of "p" and`, `and holds "x" of "p"`} {
			if !strings.Contains(e.Error(), want) {
				t.Errorf("%q does not tell of %s", e, want)
			}
		}
	})
}

func TestCycleOverGuardContexts(t *testing.T) {
	for _, opts := range [][]lockutils.Option{nil, {lockutils.WithPrefix("p")}, {lockutils.Shared()}} {
		synctest.Test(t, func(t *testing.T) {
			guarded := func(hold, wait string) step {
				return step{
					func(ctx context.Context, then func(context.Context) error) error {
						g, err := lockutils.Lock(hold, opts...)
						if err != nil {
							return err
						}
						defer g.Unlock()
						ctx, cancel := g.Context(ctx)
						defer cancel()
						return then(ctx)
					},
					func(ctx context.Context) error {
						g, err := lockutils.LockContext(ctx, wait, opts[:len(opts)&^1]...)
						if len(opts) == 1 && fmt.Sprint(opts[0]) == fmt.Sprint(lockutils.WithPrefix("p")) {
							_ = g.Unlock()
							g, err = lockutils.LockContext(ctx, wait, opts...)
						}
						if err == nil {
							_ = g.Unlock()
						}
						return err
					},
				}
			}
			wantOneDeadlock(t, runCycle(t, guarded("a", "b"), guarded("b", "a")), 2)
		})
	}
}

func TestGuardContextKnowsTheHold(t *testing.T) {
	setLockPath(t)
	for _, opts := range [][]lockutils.Option{
		nil, {lockutils.External()}, {lockutils.WithPrefix("p")},
		{lockutils.WithSemaphores(lockutils.NewSemaphores(1))},
	} {
		g := mustLock(t, "x", opts...)
		ctx, cancel := g.Context(t.Context())
		if held := lockutils.HeldLocks(ctx); !slices.Equal(held, []string{"x"}) {
			t.Errorf("HeldLocks: %q", held)
		}
		_, err := lockutils.LockContext(ctx, "x", opts...)
		wantError(t, err, lockutils.ErrDeadlock)
		other, err := lockutils.LockContext(ctx, "y", opts...)
		if err != nil {
			t.Error(err)
		}
		_ = other.Unlock()
		_, err = lockutils.LockContext(lockutils.Detach(ctx), "x",
			append(slices.Clone(opts), lockutils.WithTimeout(time.Millisecond))...)
		wantError(t, err, lockutils.ErrTimeout)
		_ = g.Unlock()
		if held := lockutils.HeldLocks(ctx); len(held) != 0 {
			t.Errorf("HeldLocks after Unlock: %q", held)
		}
		if ctx.Err() != nil {
			t.Error("the context has ended with the hold")
		}
		cancel()
		if ctx.Err() == nil {
			t.Error("the context has not ended with cancel")
		}
	}
	ctx, cancel := lockutils.Guard{}.Context(t.Context())
	defer cancel()
	if held := lockutils.HeldLocks(ctx); len(held) != 0 {
		t.Errorf("the zero guard holds %q", held)
	}
}

func TestGuardContextOfAPermit(t *testing.T) {
	two := lockutils.WithSemaphores(lockutils.NewSemaphores(2))
	first := mustLock(t, "x", two)
	ctx, cancel := first.Context(t.Context())
	defer cancel()
	second, err := lockutils.LockContext(ctx, "x", two)
	if err != nil {
		t.Fatalf("the second permit: %v", err)
	}
	both, cancel := second.Context(ctx)
	defer cancel()
	if held := lockutils.HeldLocks(both); !slices.Equal(held, []string{"x", "x"}) {
		t.Errorf("HeldLocks: %q", held)
	}
	_, err = lockutils.LockContext(both, "x", two)
	wantError(t, err, lockutils.ErrDeadlock)
	mustUnlock(t, first)
	third, err := lockutils.LockContext(both, "x", two)
	if err != nil {
		t.Fatalf("after a release: %v", err)
	}
	mustUnlock(t, third)
	mustUnlock(t, second)
}

func TestGuardContextOfAShare(t *testing.T) {
	setLockPath(t)
	for _, opts := range [][]lockutils.Option{
		{lockutils.Shared()}, {lockutils.Shared(), lockutils.WithPrefix("p")},
		{lockutils.Shared(), lockutils.External()},
	} {
		alone := opts[1:]
		g := mustLock(t, "x", opts...)
		ctx, cancel := g.Context(t.Context())
		_, err := lockutils.LockContext(ctx, "x", alone...)
		wantError(t, err, lockutils.ErrDeadlock)

		// The share can be shared once more, although a writer waits.
		waiting := make(chan error, 1)
		go func() {
			w, err := lockutils.Lock("x", alone...)
			if err == nil {
				err = w.Unlock()
			}
			waiting <- err
		}()
		scope := ""
		if len(alone) == 1 && fmt.Sprint(alone[0]) == fmt.Sprint(lockutils.WithPrefix("p")) {
			scope = "p"
		}
		for queued := false; !queued; runtime.Gosched() {
			i, ok := find(scope, "x", "")
			queued = ok && len(i.Waiters) == 1
		}
		more, err := lockutils.LockContext(ctx, "x", opts...)
		if err != nil {
			t.Fatal(err)
		}
		mustUnlock(t, more)
		mustUnlock(t, g)
		cancel()
		if err := <-waiting; err != nil {
			t.Error(err)
		}
	}
}

func TestCycleOverGuardContextsOfAllPermits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		two := lockutils.WithSemaphores(lockutils.NewSemaphores(2))
		guarded := step{
			func(ctx context.Context, then func(context.Context) error) error {
				g, err := lockutils.LockContext(ctx, "pool", two)
				if err != nil {
					return err
				}
				defer g.Unlock()
				ctx, cancel := g.Context(ctx)
				defer cancel()
				return then(ctx)
			},
			func(ctx context.Context) error {
				g, err := lockutils.LockContext(ctx, "pool", two)
				if err == nil {
					_ = g.Unlock()
				}
				return err
			},
		}
		wantOneDeadlock(t, runCycle(t, guarded, guarded), 1)
	})
}

func TestDetachedContextHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		parent := context.WithValue(t.Context(), key{}, 1)
		err := lockutils.Do(parent, "x", func(ctx context.Context) error {
			free := lockutils.Detach(ctx)
			if held := lockutils.HeldLocks(free); len(held) != 0 || free.Value(key{}) != 1 {
				t.Errorf("it holds %q, value %v", held, free.Value(key{}))
			}
			return lockutils.Do(free, "y", func(ctx context.Context) error {
				if held := lockutils.HeldLocks(ctx); !slices.Equal(held, []string{"y"}) {
					t.Errorf("HeldLocks below: %q", held)
				}
				return nil
			})
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// A guard may have several contexts, and is one holder all the same.
func TestSeveralContextsOfOnePermitAreNoDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := lockutils.WithSemaphores(lockutils.NewSemaphores(2))
		other, mine := mustLock(t, "s", in), mustLock(t, "s", in)
		time.AfterFunc(time.Second, func() { mustUnlock(t, other) })
		user := step{
			func(ctx context.Context, then func(context.Context) error) error {
				ctx, cancel := mine.Context(ctx)
				defer cancel()
				return then(ctx)
			},
			doStep("", "a").wait,
		}
		owner := step{doStep("a", "").hold, doStep("", "s", in).wait}
		for i, err := range runCycle(t, user, user, owner) {
			if err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
		mustUnlock(t, mine)
	})
}

// nothing is the first half of a step that holds nothing.
func nothing(ctx context.Context, then func(context.Context) error) error { return then(ctx) }

// A request that waits at a service holds the lock inside the process.
func TestCycleOverTheLockInsideOfOneThatWaitsOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		on := lockutils.On(drivertest.NewMemory().Open())
		in := lockutils.WithSemaphores(lockutils.NewSemaphores(1))
		outside := step{nothing, doStep("", "n", on).wait}
		inside := step{doStep("n", "", on, in).hold, doStep("", "n").wait}
		wantOneDeadlock(t, runCycle(t, outside, inside), 2)
	})
}

// LockAll knows the locks inside already when it waits for a file.
func TestDeadlockErrorNamesEachHoldOnce(t *testing.T) {
	setLockPath(t)
	synctest.Test(t, func(t *testing.T) {
		external := lockutils.External()
		all := step{nothing, func(ctx context.Context) error {
			guards, err := lockutils.LockAll(ctx, []string{"a", "b"}, external)
			if err != nil {
				return err
			}
			return guards.Unlock()
		}}
		in := lockutils.WithSemaphores(lockutils.NewSemaphores(1))
		owner := step{doStep("b", "", external, in).hold, doStep("", "a").wait}
		d := wantOneDeadlock(t, runCycle(t, all, owner), 2)
		if held := d.Cycle[1].Holds; !slices.Equal(held, []string{"a", "b"}) {
			t.Errorf("LockAll holds %q", held)
		}
	})
}

// A reader that has no turn at the service yet waits behind a writer of its process.
func TestCycleOverAWriterThatWaitsForAService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		on := lockutils.On(drivertest.NewMemory().Open())
		in := func() lockutils.Option { return lockutils.WithSemaphores(lockutils.NewSemaphores(1)) }
		reader := step{doStep("n", "", on, in(), lockutils.Shared()).hold, doStep("", "a").wait}
		writer := step{nothing, doStep("", "n", on, in()).wait}
		late := step{doStep("a", "").hold, doStep("", "n", on, in(), lockutils.Shared()).wait}
		wantOneDeadlock(t, runCycle(t, reader, writer, late), 2)
	})
}

func TestCycleOverAnotherNameOfAGuardOfLockAll(t *testing.T) {
	setLockPath(t)
	synctest.Test(t, func(t *testing.T) {
		both := step{
			func(ctx context.Context, then func(context.Context) error) error {
				guards, err := lockutils.LockAll(ctx, []string{"a/b", "a_b"}, lockutils.External())
				if err != nil {
					return err
				}
				defer guards.Unlock()
				ctx, cancel := guards[0].Context(ctx)
				defer cancel()
				if held := lockutils.HeldLocks(ctx); !slices.Equal(held, []string{"a_b", "a/b"}) {
					t.Errorf("HeldLocks: %q", held)
				}
				return then(ctx)
			},
			doStep("", "x").wait,
		}
		wantOneDeadlock(t, runCycle(t, both, doStep("x", "a_b")), 2)
	})
}

func TestCycleIsFoundWhateverComesOfTheSetting(t *testing.T) {
	defer lockutils.SetDeadlockCheck(50 * time.Millisecond)
	synctest.Test(t, func(t *testing.T) {
		// The first examination is after 50 ms, the second one 5 ms later.
		time.AfterFunc(52*time.Millisecond, func() { lockutils.SetDeadlockCheck(time.Hour) })
		wantOneDeadlock(t, runCycle(t, doStep("a", "b"), doStep("b", "a")), 2)
	})
}

func TestCycleOverLockFiles(t *testing.T) {
	dir := setLockPath(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Skip(err)
	}
	external := lockutils.External()
	interProcess := func(path string) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			l := lockutils.NewInterProcessLock(path)
			err := l.LockContext(ctx)
			if err == nil {
				_ = l.Unlock()
			}
			return err
		}
	}
	container := lockutils.WithSemaphores(new(lockutils.Semaphores))
	behindWaiter := func(name string) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			for queued := false; !queued; runtime.Gosched() {
				queued = slices.ContainsFunc(lockutils.Snapshot(), func(i lockutils.LockInfo) bool {
					return i.Path != "" && i.Name == name && len(i.Waiters) == 1
				})
			}
			return doStep("", name).wait(ctx)
		}
	}
	cases := map[string][]step{
		"names": {doStep("a", "b", external), doStep("b", "a", external)},
		"one file, two names": {
			doStep("a", "b/x", external), doStep("b_x", "a", external),
		},
		"another path": {
			{doStep("a", "", external).hold, doStep("", "b", external, lockutils.WithLockPath(link),
				container).wait},
			doStep("b", "a", external),
		},
		"own lock inside, at its turn": {
			{nothing, doStep("", "b/x", external).wait},
			{doStep("b_x", "", external).hold, behindWaiter("b/x")},
		},
		"own lock inside, in the kernel": {
			{nothing, doStep("", "b", external, lockutils.WithLockPath(link)).wait},
			{doStep("b", "", external, container).hold, behindWaiter("b")},
		},
		"InterProcessLock": {
			{doStep("a", "", external).hold, interProcess(filepath.Join(dir, "b"))},
			{doStep("b", "", external).hold, interProcess(filepath.Join(link, "a"))},
		},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			within(t, func() error {
				errs := make([]error, 2)
				var both, done sync.WaitGroup
				both.Add(2)
				for i, s := range steps {
					done.Go(func() {
						errs[i] = s.hold(t.Context(), func(ctx context.Context) error {
							both.Done()
							both.Wait()
							return s.wait(ctx)
						})
					})
				}
				done.Wait()
				slices.SortFunc(errs, func(a, b error) int {
					if (a == nil) == (b == nil) {
						return 0
					} else if a == nil {
						return -1
					}
					return 1
				})
				wantOneDeadlock(t, errs, 2)
				return nil
			})
		})
	}
}

func TestWaitsThatEndByThemselvesAreNoDeadlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A long hold with a queue of waits that hold something.
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() {
				err := lockutils.Do(t.Context(), fmt.Sprint("own", i), func(ctx context.Context) error {
					return lockutils.Do(ctx, "busy", func(context.Context) error {
						time.Sleep(time.Second)
						return nil
					})
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	})
}

func TestDeadlockCheckCanBeTurnedOff(t *testing.T) {
	defer lockutils.SetDeadlockCheck(50 * time.Millisecond)
	// Before the waits begin, and between the two examinations that find the cycle.
	for _, when := range []time.Duration{0, 52 * time.Millisecond} {
		lockutils.SetDeadlockCheck(50 * time.Millisecond)
		synctest.Test(t, func(t *testing.T) {
			time.AfterFunc(when, func() { lockutils.SetDeadlockCheck(0) })
			errs := runCycle(t, doStep("a", "b", lockutils.WithTimeout(time.Minute)),
				doStep("b", "a", lockutils.WithTimeout(time.Hour)))
			if !errors.Is(errs[0], lockutils.ErrTimeout) || errs[1] != nil {
				t.Errorf("turned off after %v: %v", when, errs)
			}
		})
	}
}

func TestArgumentsThatMakeNoSensePanic(t *testing.T) {
	for name, f := range map[string]func(){
		"SetDeadlockCheck": func() { lockutils.SetDeadlockCheck(-1) },
		"SetSlowWait":      func() { lockutils.SetSlowWait(-1) },
		"SetTracking":      func() { lockutils.SetTracking(-1) },
		"ReadStats":        func() { lockutils.ReadStats(nil) },
		//lint:ignore SA1012 a nil context is what is tested
		"Guard.Context": func() { lockutils.Guard{}.Context(nil) },
	} {
		func() {
			defer func() {
				if r := recover(); r == nil || !strings.HasPrefix(fmt.Sprint(r), "lockutils: "+name) {
					t.Errorf("%s panics with %v", name, r)
				}
			}()
			f()
		}()
	}
}

// In canonical order nothing is reported; in random order every operation ends.
func TestDeadlocksAreBrokenAndNoOthersReported(t *testing.T) {
	lockutils.SetDeadlockCheck(2 * time.Millisecond)
	defer lockutils.SetDeadlockCheck(50 * time.Millisecond)
	const goroutines, rounds, names = 32, 30, 6
	for _, ordered := range []bool{true, false} {
		var deadlocks atomic.Int64
		within(t, func() error {
			var group sync.WaitGroup
			for g := range goroutines {
				group.Go(func() {
					random := rand.New(rand.NewPCG(2, uint64(g)))
					for range rounds {
						order := random.Perm(names)[:3]
						if ordered {
							slices.Sort(order)
						}
						err := nest(t.Context(), random, order)
						if errors.Is(err, lockutils.ErrDeadlock) {
							deadlocks.Add(1)
						} else if err != nil {
							t.Error(err)
						}
					}
				})
			}
			group.Wait()
			return nil
		})
		if n := deadlocks.Load(); ordered && n != 0 {
			t.Errorf("%d deadlocks in canonical order", n)
		} else {
			t.Logf("ordered %v: %d deadlocks", ordered, n)
		}
	}
}

func nest(ctx context.Context, random *rand.Rand, order []int) error {
	if len(order) == 0 {
		for range 50 {
			runtime.Gosched()
		}
		return nil
	}
	var opts []lockutils.Option
	if random.IntN(3) == 0 {
		opts = append(opts, lockutils.Shared())
	}
	return lockutils.Do(ctx, fmt.Sprint("nest", order[0]), func(ctx context.Context) error {
		return nest(ctx, random, order[1:])
	}, opts...)
}

// A reader whose goroutine gets no processor for a while looks as if it waited for the lock that
// it has.
func TestAGrantThatIsNotNoticedYetIsNoDeadlock(t *testing.T) {
	lockutils.SetDeadlockCheck(time.Millisecond)
	t.Cleanup(func() { lockutils.SetDeadlockCheck(50 * time.Millisecond) })
	holder := mustLock(t, "shared")
	var waits sync.WaitGroup
	queue := func(n int, wait func() error) {
		waits.Go(func() {
			if err := wait(); err != nil {
				t.Error(err)
			}
		})
		for i, _ := find("", "shared", ""); len(i.Waiters) < n; i, _ = find("", "shared", "") {
			runtime.Gosched()
		}
	}
	nest := func(outer, inner string, opts ...[]lockutils.Option) func() error {
		return func() error {
			return lockutils.Do(t.Context(), outer, func(ctx context.Context) error {
				return lockutils.Do(ctx, inner, func(context.Context) error { return nil }, opts[1]...)
			}, opts[0]...)
		}
	}
	shared := []lockutils.Option{lockutils.Shared()}
	queue(1, nest("alone", "shared", nil, shared))
	queue(2, nest("shared", "alone", shared, nil))
	queue(3, func() error {
		return lockutils.Do(t.Context(), "shared", func(context.Context) error { return nil })
	})

	var stop atomic.Bool
	var busy sync.WaitGroup
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for range 6 {
		busy.Go(func() {
			for !stop.Load() {
			}
		})
	}
	mustUnlock(t, holder)
	waits.Wait()
	stop.Store(true)
	busy.Wait()
}

// A wait that is over keeps nothing of its context, even while the watcher goes on.
func TestExaminedWaitsAreForgotten(t *testing.T) {
	lockutils.SetSlowWait(time.Hour) // so that the watcher has something to watch
	defer lockutils.SetSlowWait(0)
	watched := mustLock(t, "watched")
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		mustUnlock(t, mustLock(t, "watched"))
	}()
	var freed atomic.Bool
	func() {
		type key struct{}
		value := new([1 << 20]byte)
		runtime.AddCleanup(value, func(int) { freed.Store(true) }, 0)
		busy := mustLock(t, "busy")
		time.AfterFunc(150*time.Millisecond, func() { mustUnlock(t, busy) })
		ctx := context.WithValue(t.Context(), key{}, value)
		nothing := func(context.Context) error { return nil }
		err := lockutils.Do(ctx, "own", func(ctx context.Context) error {
			return lockutils.Do(ctx, "busy", nothing)
		})
		if err != nil {
			t.Error(err)
		}
	}()
	for range 3000 {
		if runtime.GC(); freed.Load() {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !freed.Load() {
		t.Error("the context is still known")
	}
	mustUnlock(t, watched)
	<-waited
}
