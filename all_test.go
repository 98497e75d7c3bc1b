package lockutils_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils"
)

// manyKinds returns options with which LockAll has to keep its promises, as far as this system and its
// engine for lock files support them.
func manyKinds(t *testing.T) map[string][]lockutils.Option {
	t.Helper()
	kinds := map[string][]lockutils.Option{
		"plain":      nil,
		"fair":       {lockutils.Fair()},
		"shared":     {lockutils.Shared()},
		"prefix":     {lockutils.WithPrefix("p")},
		"timeout":    {lockutils.WithTimeout(time.Hour)},
		"semaphores": {lockutils.WithSemaphores(lockutils.NewSemaphores(1))},
		"external":   {lockutils.External()},
		"readers":    {lockutils.External(), lockutils.Shared()},
	}
	fairFiles := []lockutils.Option{lockutils.External(), lockutils.Fair()}
	g, err := lockutils.Lock("probe", append(fairFiles, lockutils.WithLockPath(t.TempDir()))...)
	if !unsupported(t, err) {
		mustUnlock(t, g)
		kinds["fair files"] = fairFiles
	}
	return kinds
}

func TestLockAllHoldsEveryLockAndReleasesThem(t *testing.T) {
	for kind, opts := range manyKinds(t) {
		t.Run(kind, func(t *testing.T) {
			setLockPath(t)
			guards, err := lockutils.LockAll(t.Context(), []string{"b", "a", "c", "a"}, opts...)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, g := range guards {
				names = append(names, g.Name())
			}
			if !slices.Equal(names, []string{"a", "b", "c"}) {
				t.Errorf("guards of %q", names)
			}
			alone := slices.Clone(opts)
			if kind == "shared" || kind == "readers" {
				alone = alone[:len(alone)-1]
			}
			for _, name := range names {
				if g, err := lockutils.TryLock(name, tryable(alone)...); !errors.Is(err, lockutils.ErrLocked) {
					t.Errorf("TryLock(%q) beside LockAll: %v, %v", name, g, err)
				}
			}
			if err := guards.Unlock(); err != nil {
				t.Error(err)
			}
			for _, name := range names {
				g, err := lockutils.TryLock(name, tryable(alone)...)
				if err != nil {
					t.Errorf("TryLock(%q) afterwards: %v", name, err)
				}
				_ = g.Unlock()
			}
			if err := guards.Unlock(); !errors.Is(err, lockutils.ErrNotHeld) {
				t.Errorf("the second Unlock returns %v", err)
			}
		})
	}
}

// tryable leaves out what TryLock does not take.
func tryable(opts []lockutils.Option) []lockutils.Option {
	if len(opts) == 1 && fmt.Sprint(opts[0]) == fmt.Sprint(lockutils.WithTimeout(time.Hour)) {
		return nil
	}
	return opts
}

func TestLockAllFailingAtAnyLockLeavesNothingHeld(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	for kind, opts := range manyKinds(t) {
		if kind == "timeout" {
			continue
		}
		for _, taken := range names {
			t.Run(kind+" "+taken, func(t *testing.T) {
				setLockPath(t)
				alone := opts
				if kind == "shared" || kind == "readers" {
					alone = opts[:len(opts)-1]
				}
				holder := mustLock(t, taken, alone...)
				guards, err := lockutils.LockAll(t.Context(), names,
					append(slices.Clone(opts), lockutils.NonBlocking())...)
				wantAcquireError(t, err, taken, holder.Path(), lockutils.ErrLocked)
				if guards != nil {
					t.Errorf("guards: %v", guards)
				}
				for _, name := range names {
					if name != taken {
						if g, err := lockutils.TryLock(name, alone...); err != nil {
							t.Errorf("%q: %v", name, err)
						} else {
							_ = g.Unlock()
						}
					}
				}
				_ = holder.Unlock()
			})
		}
	}
}

func TestLockAllTakesNoNamesForNothingToDo(t *testing.T) {
	guards, err := lockutils.LockAll(t.Context(), nil)
	if err != nil || len(guards) != 0 || guards.Unlock() != nil {
		t.Errorf("LockAll of nothing: %v, %v", guards, err)
	}
	ran := false
	err = lockutils.DoAll(t.Context(), nil, func(context.Context) error { ran = true; return nil })
	if err != nil || !ran {
		t.Errorf("DoAll of nothing: %v, run %v", err, ran)
	}
}

func TestLockAllRefusesBadInput(t *testing.T) {
	setLockPath(t)
	names := []string{"a", "b"}
	//lint:ignore SA1012 a nil context is what is tested
	_, err := lockutils.LockAll(nil, names)
	wantAcquireError(t, err, "", "", lockutils.ErrOptions)
	_, err = lockutils.LockAll(t.Context(), names, lockutils.WithTimeout(-1))
	wantAcquireError(t, err, "", "", lockutils.ErrOptions)
	err = lockutils.DoAll(t.Context(), names, nil)
	wantAcquireError(t, err, "", "", lockutils.ErrOptions)
	_, err = lockutils.LockAll(t.Context(), []string{"a", ""}, lockutils.External())
	wantAcquireError(t, err, "", "", lockutils.ErrName)
	_, err = lockutils.LockAll(t.Context(), []string{"a", "x\x00"}, lockutils.External())
	wantAcquireError(t, err, "x\x00", "", lockutils.ErrName)
	cause := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err = lockutils.LockAll(ctx, names)
	wantAcquireError(t, err, "", "", cause)
	for _, name := range names {
		wantFree(t, name, lockutils.External())
	}
}

func TestLockAllTakesTheEmptyNameAndManyCopies(t *testing.T) {
	names := slices.Repeat([]string{"", "x"}, 1000)
	guards, err := lockutils.LockAll(t.Context(), names)
	if err != nil || len(guards) != 2 {
		t.Fatalf("%d guards, %v", len(guards), err)
	}
	wantTaken(t, "")
	wantTaken(t, "x")
	if err := guards.Unlock(); err != nil {
		t.Error(err)
	}
}

func TestLockAllTakesTenThousandNames(t *testing.T) {
	names := make([]string, 10_000)
	for i := range names {
		names[i] = fmt.Sprint("many-", i)
	}
	err := lockutils.DoAll(t.Context(), names, func(ctx context.Context) error {
		if n := len(lockutils.HeldLocks(ctx)); n != len(names) {
			t.Errorf("the context knows %d locks", n)
		}
		wantTaken(t, names[7])
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	wantFree(t, names[7])
}

func TestLockAllRecognisesOneFileByItsPath(t *testing.T) {
	dir := setLockPath(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Skip(err)
	}
	within(t, func() error {
		guards, err := lockutils.LockAll(t.Context(), []string{"a_b", "a/b", "a_b"}, lockutils.External())
		if err != nil {
			return err
		}
		if len(guards) != 1 {
			t.Errorf("%d guards of one file", len(guards))
		}
		wantTaken(t, "a/b")
		wantTaken(t, "a_b")
		if err := guards.Unlock(); err != nil {
			return err
		}
		wantFree(t, "a/b", lockutils.External())
		wantFree(t, "a_b", lockutils.External())
		return lockutils.DoAll(t.Context(), []string{"a/b", "a_b"}, func(ctx context.Context) error {
			for _, name := range []string{"a/b", "a_b"} {
				_, err := lockutils.LockContext(ctx, name)
				wantAcquireError(t, err, name, "", lockutils.ErrDeadlock)
			}
			return nil
		}, lockutils.External())
	})
}

func TestLockAllOfHardLinksOfOneFileEndsAtOnce(t *testing.T) {
	dir := setLockPath(t)
	lockutils.SetDeadlockCheck(0) // which would end the wait later
	defer lockutils.SetDeadlockCheck(50 * time.Millisecond)
	mustUnlock(t, mustLock(t, "b", lockutils.External()))
	if err := os.Link(filepath.Join(dir, "b"), filepath.Join(dir, "c")); err != nil {
		t.Skip(err)
	}
	names := []string{"a", "b", "c", "d"}
	within(t, func() error {
		_, err := lockutils.LockAll(t.Context(), names, lockutils.External())
		wantAcquireError(t, err, "c", filepath.Join(dir, "c"), lockutils.ErrDeadlock)
		if !strings.Contains(err.Error(), `"b"`) {
			t.Errorf("%q does not name the other lock", err)
		}
		_, err = lockutils.LockAll(t.Context(), names, lockutils.External(), lockutils.NonBlocking())
		wantAcquireError(t, err, "c", filepath.Join(dir, "c"), lockutils.ErrLocked)
		for _, name := range names {
			wantFree(t, name, lockutils.External())
		}
		guards, err := lockutils.LockAll(t.Context(), names, lockutils.External(), lockutils.Shared())
		if err != nil {
			return err
		}
		return guards.Unlock()
	})
}

// Another path to a file that the context holds is recognised before anything is acquired.
func TestLockAllOverAnotherPathToAHeldFileIsADeadlock(t *testing.T) {
	dir := setLockPath(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Skip(err)
	}
	there := []lockutils.Option{
		lockutils.External(), lockutils.WithLockPath(link),
		lockutils.WithSemaphores(new(lockutils.Semaphores)),
	}
	within(t, func() error {
		return lockutils.Do(t.Context(), "b", func(ctx context.Context) error {
			_, err := lockutils.LockAll(ctx, []string{"c", "b", "a"}, there...)
			wantError(t, err, lockutils.ErrDeadlock)
			wantFree(t, "a", lockutils.External())
			wantFree(t, "c", lockutils.External())
			return nil
		}, lockutils.External())
	})
}

// Names that are in one order as names and in the other as files must not let two processes, for
// which two spellings stand here, deadlock each other.
func TestLockAllOrdersFilesByPath(t *testing.T) {
	setLockPath(t)
	within(t, func() error {
		var group sync.WaitGroup
		for _, names := range [][]string{{"a/z", "a0"}, {"a_z", "a0"}, {"a0", "a/z"}} {
			group.Go(func() {
				for range 200 {
					guards, err := lockutils.LockAll(t.Context(), names, lockutils.External())
					if err != nil {
						t.Error(err)
						return
					}
					_ = guards.Unlock()
				}
			})
		}
		group.Wait()
		return nil
	})
}

func TestLockAllHasOneTimeoutForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, c := mustLock(t, "a"), mustLock(t, "c")
		time.AfterFunc(40*time.Second, func() { _ = a.Unlock() })
		start := time.Now()
		_, err := lockutils.LockAll(t.Context(), []string{"c", "b", "a"}, lockutils.WithTimeout(time.Minute))
		wantAcquireError(t, err, "c", "", context.DeadlineExceeded)
		if waited := time.Since(start); waited != time.Minute {
			t.Errorf("waited %v", waited)
		}
		wantFree(t, "a")
		wantFree(t, "b")
		_, err = lockutils.LockAll(t.Context(), []string{"a", "c"}, lockutils.WithTimeout(0))
		wantAcquireError(t, err, "c", "", context.DeadlineExceeded)
		wantFree(t, "a")
		_ = c.Unlock()
		guards, err := lockutils.LockAll(t.Context(), []string{"a", "c"}, lockutils.WithTimeout(0))
		if err != nil {
			t.Fatal(err)
		}
		_ = guards.Unlock()
	})
}

func TestLockAllIsCancelledWhileItHoldsSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		holder := mustLock(t, "b")
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := lockutils.LockAll(ctx, []string{"a", "b", "c"})
			failed <- err
		}()
		synctest.Wait()
		wantTaken(t, "a")
		cancel()
		wantAcquireError(t, <-failed, "b", "", context.Canceled)
		wantFree(t, "a")
		wantFree(t, "c")
		_ = holder.Unlock()
	})
}

func TestDoAllGivesAContextThatKnowsTheLocks(t *testing.T) {
	setLockPath(t)
	for kind, opts := range manyKinds(t) {
		err := lockutils.DoAll(t.Context(), []string{"b", "a"}, func(ctx context.Context) error {
			if held := lockutils.HeldLocks(ctx); !slices.Equal(held, []string{"a", "b"}) {
				t.Errorf("%s: HeldLocks: %q", kind, held)
			}
			if kind == "shared" || kind == "readers" {
				return lockutils.DoAll(ctx, []string{"a", "b"}, func(context.Context) error { return nil }, opts...)
			}
			_, err := lockutils.LockAll(ctx, []string{"b", "c"}, opts...)
			if !errors.Is(err, lockutils.ErrDeadlock) {
				t.Errorf("%s: LockAll of a held lock: %v", kind, err)
			}
			return nil
		}, opts...)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestLockAllTakesOnePermitOfEach(t *testing.T) {
	container := lockutils.NewSemaphores(2)
	first, err := lockutils.LockAll(t.Context(), []string{"a", "b", "a"}, lockutils.WithSemaphores(container))
	if err != nil {
		t.Fatal(err)
	}
	second, err := lockutils.LockAll(t.Context(), []string{"a", "b"},
		lockutils.WithSemaphores(container), lockutils.NonBlocking())
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockutils.LockAll(t.Context(), []string{"a", "b"},
		lockutils.WithSemaphores(container), lockutils.NonBlocking())
	wantAcquireError(t, err, "a", "", lockutils.ErrLocked)
	if err := errors.Join(first.Unlock(), second.Unlock()); err != nil {
		t.Error(err)
	}
	if n := container.Len(); n != 0 {
		t.Errorf("%d semaphores are left in use", n)
	}
}

func TestLockAllLogsEachLock(t *testing.T) {
	setLockPath(t)
	for _, opts := range [][]lockutils.Option{nil, {lockutils.External()}} {
		log := record(t, slog.LevelDebug)
		guards, err := lockutils.LockAll(t.Context(), []string{"y", "x"}, opts...)
		if err != nil {
			t.Fatal(err)
		}
		_ = guards.Unlock()
		counts := map[string]int{}
		for _, m := range log.take() {
			counts[m.Message]++
		}
		for _, want := range []string{"Acquiring lock", "Acquired lock", "Released lock"} {
			if counts[want] != 2 {
				t.Errorf("%q was logged %d times", want, counts[want])
			}
		}
	}
}

// Random subsets of a few names, with and without files, by goroutines that all take them in
// their own order: nobody hangs, and no two are inside together.
func TestLockAllOfRandomSubsetsNeverHangsNorOverlaps(t *testing.T) {
	setLockPath(t)
	const goroutines, rounds, names = 16, 60, 8
	var inside [names]atomic.Int32
	within(t, func() error {
		var group sync.WaitGroup
		for g := range goroutines {
			group.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(g)))
				for range rounds {
					subset := random.Perm(names)[:1+random.IntN(4)]
					var wanted []string
					for _, i := range subset {
						wanted = append(wanted, fmt.Sprint("n/", i))
					}
					var opts []lockutils.Option
					if random.IntN(2) == 0 {
						opts = append(opts, lockutils.External())
					}
					guards, err := lockutils.LockAll(t.Context(), wanted, opts...)
					if err != nil {
						t.Error(err)
						return
					}
					for _, i := range subset {
						if inside[i].Add(1) != 1 {
							t.Errorf("two are inside %d", i)
						}
					}
					for _, i := range subset {
						inside[i].Add(-1)
					}
					_ = guards.Unlock()
				}
			})
		}
		group.Wait()
		return nil
	})
}

// within fails the test if f hangs.
func within(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it hangs")
	}
}

func TestErrorsOfSeveralLocksNameTheScopeAndTheTimeout(t *testing.T) {
	mustLock(t, "y", lockutils.WithPrefix("nova"))
	var failed *lockutils.AcquireError
	_, err := lockutils.LockAll(t.Context(), []string{"x", "y"}, lockutils.WithPrefix("nova"),
		lockutils.WithTimeout(0))
	wantError(t, err, lockutils.ErrLocked)
	wantError(t, err, lockutils.ErrTimeout)
	if errors.As(err, &failed); failed.Scope != "nova" || failed.Name != "y" {
		t.Errorf("scope %q, name %q", failed.Scope, failed.Name)
	}
	synctest.Test(t, func(t *testing.T) {
		defer mustUnlock(t, mustLock(t, "z"))
		_, err := lockutils.LockAll(t.Context(), []string{"x", "z"}, lockutils.WithTimeout(time.Minute))
		wantError(t, err, lockutils.ErrTimeout)
		if errors.Is(err, lockutils.ErrLocked) {
			t.Errorf("a wait passes for none: %v", err)
		}
	})

	// A call that does not wait cannot deadlock.
	err = lockutils.Do(t.Context(), "z", func(ctx context.Context) error {
		_, err := lockutils.LockAll(ctx, []string{"z"}, lockutils.WithTimeout(0))
		return err
	})
	wantError(t, err, lockutils.ErrLocked)
}
