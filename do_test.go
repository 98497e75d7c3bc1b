package lockutils_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/lockutilstest"
)

func TestDoHoldsTheLockWhileFnRuns(t *testing.T) {
	setLockPath(t)
	failure := errors.New("from fn")
	for _, opts := range [][]lockutils.Option{nil, {lockutils.Fair()}, {lockutils.External()},
		{lockutils.WithTimeout(time.Hour)}} {
		err := lockutils.Do(t.Context(), "x", func(context.Context) error {
			wantTaken(t, "x")
			return failure
		}, opts...)
		if err != failure {
			t.Errorf("Do returns %v", err)
		}
		wantFree(t, "x", lockutils.External())
	}
	holder := mustLock(t, "x", lockutils.External())
	err := lockutils.Do(t.Context(), "x", func(context.Context) error { t.Error("fn has run"); return nil },
		lockutils.NonBlocking(), lockutils.External())
	wantAcquireError(t, err, "x", holder.Path(), lockutils.ErrLocked)
}

func TestDoReleasesOnPanicAndGoexit(t *testing.T) {
	setLockPath(t)
	ends := map[string]func(){
		"panic":  func() { panic("stop") },
		"Goexit": runtime.Goexit,
	}
	runs := map[string]func(f func()){
		"Do": func(f func()) {
			_ = lockutils.Do(t.Context(), "x", func(context.Context) error { f(); return nil }, lockutils.External())
		},
		"func()": func(f func()) { lockutils.Synchronized("x", f, lockutils.External())() },
		"func() error": func(f func()) {
			_ = lockutils.Synchronized("x", func() error { f(); return nil }, lockutils.External())()
		},
		"func(context.Context) error": func(f func()) {
			_ = lockutils.Synchronized("x", func(context.Context) error { f(); return nil },
				lockutils.External())(t.Context())
		},
		"func(int) int": func(f func()) {
			lockutils.Synchronized("x", func(int) int { f(); return 0 },
				lockutils.External())(1)
		},
	}
	for end, f := range ends {
		for run, call := range runs {
			t.Run(run+", "+end, func(t *testing.T) {
				var inner context.Context
				recovered := make(chan any)
				go func() {
					defer func() { recovered <- recover() }()
					_ = lockutils.Do(t.Context(), "outer", func(ctx context.Context) error {
						inner = ctx
						call(f)
						return nil
					})
				}()
				if r := <-recovered; end == "panic" && r != "stop" {
					t.Errorf("recovered %v", r)
				}
				wantFree(t, "x", lockutils.External())
				wantFree(t, "outer")
				if held := lockutils.HeldLocks(inner); len(held) > 0 {
					t.Errorf("the context still knows %q", held)
				}
			})
		}
	}
}

func TestHeldLocksListsTheNamesOutermostFirst(t *testing.T) {
	setLockPath(t)
	want := func(ctx context.Context, names ...string) {
		t.Helper()
		if held := lockutils.HeldLocks(ctx); !slices.Equal(held, names) {
			t.Errorf("held: %q, want %q", held, names)
		}
	}
	type key struct{}
	want(t.Context())
	want(nil)
	var kept context.Context
	err := lockutils.Do(t.Context(), "a", func(ctx context.Context) error {
		want(ctx, "a")
		kept = ctx
		derived, cancel := context.WithTimeout(context.WithValue(context.WithoutCancel(ctx), key{}, 1), time.Hour)
		defer cancel()
		return lockutils.Do(derived, "b/c", func(ctx context.Context) error {
			want(ctx, "a", "b/c")
			if ctx.Value(key{}) != 1 {
				t.Error("the values of the context are lost")
			}
			inner := lockutils.Synchronized("d", func(ctx context.Context, n int) {
				want(ctx, "a", "b/c", "d")
			}, lockutils.Shared())
			inner(ctx, 1)
			want(ctx, "a", "b/c")
			g, err := lockutils.LockContext(ctx, "e")
			if err != nil {
				return err
			}
			want(ctx, "a", "b/c") // what is taken without Do is not tied to a context
			return g.Unlock()
		}, lockutils.External(), lockutils.WithPrefix("p"))
	})
	if err != nil {
		t.Fatal(err)
	}
	want(kept)
}

func TestHeldLocksHaveTheNamesAsGiven(t *testing.T) {
	for _, name := range []string{"", "x", strings.Repeat("long-", 30)} {
		for _, opts := range [][]lockutils.Option{nil, {lockutils.WithPrefix("p-")}, {lockutils.Shared()}} {
			check := func(ctx context.Context) error {
				if held := lockutils.HeldLocks(ctx); !slices.Equal(held, []string{name}) {
					t.Errorf("held: %q, want %q", held, name)
				}
				return nil
			}
			if err := lockutils.Do(t.Context(), name, check, opts...); err != nil {
				t.Error(err)
			}
			if err := lockutils.Synchronized(name, check, opts...)(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

// Other goroutines look at the context while its lock is released, and its memory serves other names.
func TestHeldLocksNamesTheLockOfTheContextOrNone(t *testing.T) {
	type held struct {
		ctx  context.Context
		name string
	}
	contexts := make(chan held, 8)
	opts := [][]lockutils.Option{nil, {lockutils.Shared()}}
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for h := range contexts {
				if names := lockutils.HeldLocks(h.ctx); len(names) > 0 && !slices.Equal(names, []string{h.name}) {
					t.Errorf("held: %q, want %q", names, h.name)
				}
			}
		})
	}
	for i := range 20_000 {
		name := fmt.Sprint("held-", i%3000)
		err := lockutils.Do(t.Context(), name, func(ctx context.Context) error {
			select {
			case contexts <- held{ctx, name}:
			default:
			}
			return nil
		}, opts[i%2]...)
		if err != nil {
			t.Error(err)
		}
	}
	close(contexts)
	group.Wait()
}

// The context of a hold that has ended, of another part of the program, holds nothing and ends nothing.
func TestContextOfADoThatHasEndedHoldsNothing(t *testing.T) {
	var kept context.Context
	err := lockutils.DoAll(t.Context(), []string{"a", "b"}, func(ctx context.Context) error {
		kept = ctx
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := func(ctx context.Context, names ...string) error {
		if held := lockutils.HeldLocks(ctx); !slices.Equal(held, names) {
			t.Errorf("held: %q, want %q", held, names)
		}
		return nil
	}
	for name, err := range map[string]error{
		"Do": lockutils.Do(kept, "a", func(ctx context.Context) error { return want(ctx, "a") }),
		"DoAll": lockutils.DoAll(kept, []string{"b", "a"}, func(ctx context.Context) error {
			return want(ctx, "a", "b")
		}),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	g, err := lockutils.LockContext(kept, "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := g.Context(kept)
	defer cancel()
	_ = want(ctx, "a")
	mustUnlock(t, g)
	_ = want(ctx)
}

func TestDoPassesItsContextOn(t *testing.T) {
	type key struct{}
	ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
	reason := errors.New("the reason")
	err := lockutils.Do(ctx, "x", func(inner context.Context) error {
		if _, ok := inner.Deadline(); ok {
			t.Error("the timeout of the wait has become one of fn")
		}
		if inner.Value(key{}) != "value" {
			t.Error("the value is lost")
		}
		derived, stop := context.WithCancel(inner)
		defer stop()
		cancel(reason)
		<-derived.Done()
		return context.Cause(derived)
	}, lockutils.WithTimeout(time.Hour))
	if err != reason {
		t.Errorf("cause %v", err)
	}
}

func TestAskingAgainForWhatTheContextHoldsIsADeadlock(t *testing.T) {
	dir := setLockPath(t)
	other := new(lockutils.Semaphores)
	one, two := lockutils.NewSemaphores(1), lockutils.NewSemaphores(2)
	type opts = []lockutils.Option
	external := lockutils.External()
	for _, test := range []struct {
		name      string
		held      opts
		again     string
		opts      opts
		deadlocks bool
	}{
		{"the same", nil, "x", nil, true},
		{"fair", nil, "x", opts{lockutils.Fair()}, true},
		{"fair before", opts{lockutils.Fair()}, "x", nil, true},
		{"with a timeout", nil, "x", opts{lockutils.WithTimeout(time.Hour)}, true},
		{"external inside internal", nil, "x", opts{external}, true},
		{"internal inside external", opts{external}, "x", nil, true},
		{"prefixes that mean the same", opts{lockutils.WithPrefix("p")}, "x",
			opts{lockutils.WithPrefix("p-")}, true},
		{"shared inside exclusive", nil, "x", opts{lockutils.Shared()}, true},
		{"exclusive inside shared", opts{lockutils.Shared()}, "x", nil, true},
		{"the same file by another container", opts{external}, "x",
			opts{external, lockutils.WithSemaphores(other)}, true},
		{"the same file by prefix and name", opts{external}, "x",
			opts{external, lockutils.WithLockPath(filepath.Join(dir, "sub", ".."))}, true},
		{"one permit", opts{lockutils.WithSemaphores(one)}, "x", opts{lockutils.WithSemaphores(one)}, true},
		{"shared inside shared", opts{lockutils.Shared()}, "x", opts{lockutils.Shared()}, false},
		{"shared inside shared, external", opts{lockutils.Shared(), external}, "x",
			opts{lockutils.Shared(), external}, false},
		{"another name", nil, "y", nil, false},
		{"another prefix", nil, "x", opts{lockutils.WithPrefix("p")}, false},
		{"another container", nil, "x", opts{lockutils.WithSemaphores(other)}, false},
		{"another lock path", opts{external, lockutils.WithPrefix("p")}, "x",
			opts{external, lockutils.WithPrefix("q")}, false},
		{"another permit", opts{lockutils.WithSemaphores(two)}, "x", opts{lockutils.WithSemaphores(two)}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := lockutils.Do(t.Context(), "x", func(ctx context.Context) error {
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				return lockutils.Do(ctx, "between", func(ctx context.Context) error {
					g, err := lockutils.LockContext(ctx, test.again, test.opts...)
					if err == nil {
						mustUnlock(t, g)
					}
					var failed *lockutils.AcquireError
					if err != nil && !errors.As(err, &failed) {
						t.Errorf("error %T", err)
					}
					return err
				})
			}, test.held...)
			if errors.Is(err, lockutils.ErrDeadlock) != test.deadlocks || !test.deadlocks && err != nil {
				t.Errorf("error %v", err)
			}
			wantFree(t, "x", test.held...)
			if test.again != "x" {
				wantFree(t, test.again, test.opts...)
			}
		})
	}
}

func TestWithoutWaitingThereIsNoDeadlock(t *testing.T) {
	err := lockutils.Do(t.Context(), "x", func(ctx context.Context) error {
		_, err := lockutils.LockContext(ctx, "x", lockutils.NonBlocking())
		return err
	})
	wantAcquireError(t, err, "x", "", lockutils.ErrLocked)
	wantFree(t, "x")
}

// The two names are different locks, but lead to one file.
func TestDeadlockOverAFileIsFoundWhateverTheNames(t *testing.T) {
	dir := setLockPath(t)
	err := lockutils.Do(t.Context(), "a/b", func(ctx context.Context) error {
		_, err := lockutils.LockContext(ctx, "a_b", lockutils.External())
		wantAcquireError(t, err, "a_b", filepath.Join(dir, "a_b"), lockutils.ErrDeadlock)
		g, err := lockutils.LockContext(ctx, "a_b")
		if err != nil {
			t.Fatal("without the file they are strangers:", err)
		}
		return g.Unlock()
	}, lockutils.External())
	if err != nil {
		t.Error(err)
	}
}

// The file that is locked counts, whichever path leads there.
func TestDeadlockOverAFileIsFoundWhateverThePath(t *testing.T) {
	for name, lead := range waysToAFile {
		t.Run(name, func(t *testing.T) {
			dir := setLockPath(t)
			mustUnlock(t, mustLock(t, "x", lockutils.External())) // makes the file
			other := filepath.Join(t.TempDir(), "other")
			lead(t, dir, other)
			path := filepath.Join(other, "x")
			file := lockutils.NewInterProcessLock(path)
			inOther := []lockutils.Option{
				lockutils.External(), lockutils.WithLockPath(other),
				lockutils.WithSemaphores(lockutils.NewSemaphores(1)),
			}
			err := lockutils.Do(t.Context(), "x", func(ctx context.Context) error {
				wantAcquireError(t, file.LockContext(ctx), "", path, lockutils.ErrDeadlock)
				wantAcquireError(t, file.RLockContext(ctx), "", path, lockutils.ErrDeadlock)
				_, err := lockutils.LockContext(ctx, "x", inOther...)
				wantAcquireError(t, err, "x", path, lockutils.ErrDeadlock)
				_, err = lockutils.LockContext(ctx, "x", append(inOther, lockutils.NonBlocking())...)
				wantAcquireError(t, err, "x", path, lockutils.ErrLocked)
				return lockutils.Do(ctx, "y", func(context.Context) error { return nil }, inOther...)
			}, lockutils.External())
			if err != nil {
				t.Error(err)
			}
			err = lockutils.Do(t.Context(), "x", func(ctx context.Context) error {
				if err := file.RLockContext(ctx); err != nil {
					return err
				}
				return file.RUnlock()
			}, lockutils.External(), lockutils.Shared())
			if err != nil {
				t.Error("sharing once more:", err)
			}
			if err := file.LockContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := file.Unlock(); err != nil {
				t.Error(err)
			}
		})
	}
}

// waysToAFile make another directory lead to the lock file x of the first.
var waysToAFile = map[string]func(t *testing.T, dir, other string){
	"symbolic link": func(t *testing.T, dir, other string) {
		if err := os.Symlink(dir, other); err != nil {
			t.Skip(err)
		}
	},
	"hard link": func(t *testing.T, dir, other string) {
		err := os.Mkdir(other, 0o755)
		if err == nil {
			err = os.Link(filepath.Join(dir, "x"), filepath.Join(other, "x"))
		}
		if err != nil {
			t.Skip(err)
		}
	},
	"bind mount": bindMount,
}

func TestDeadlockIsFoundThroughEveryWayIn(t *testing.T) {
	dir := setLockPath(t)
	file := lockutils.NewInterProcessLock(filepath.Join(dir, "x"))
	nested := lockutils.Synchronized("x", func(ctx context.Context, _ int) error {
		t.Error("fn has run")
		return nil
	})
	err := lockutils.Synchronized("x", func(ctx context.Context) error {
		err := lockutils.Do(ctx, "x", func(context.Context) error { t.Error("fn has run"); return nil })
		wantError(t, err, lockutils.ErrDeadlock)
		_, err = lockutils.LockContext(ctx, "x")
		wantAcquireError(t, err, "x", "", lockutils.ErrDeadlock)
		_, err = lockutils.LockContext(ctx, "x", lockutils.External())
		wantAcquireError(t, err, "x", filepath.Join(dir, "x"), lockutils.ErrDeadlock)
		wantError(t, nested(ctx, 1), lockutils.ErrDeadlock)
		wantAcquireError(t, file.LockContext(ctx), "", filepath.Join(dir, "x"), lockutils.ErrDeadlock)
		wantAcquireError(t, file.RLockContext(ctx), "", filepath.Join(dir, "x"), lockutils.ErrDeadlock)
		if got, err := file.TryLock(); got || err != nil {
			t.Error("TryLock:", got, err)
		}
		return nil
	}, lockutils.External())(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantFree(t, "x", lockutils.External())
}

func TestKnowledgeOfALockEndsWithItsHold(t *testing.T) {
	setLockPath(t)
	for _, opts := range [][]lockutils.Option{nil, {lockutils.Fair()}, {lockutils.External()},
		{lockutils.WithSemaphores(lockutils.NewSemaphores(1))}} {
		var kept context.Context
		_ = lockutils.Do(t.Context(), "x", func(ctx context.Context) error { kept = ctx; return nil }, opts...)
		g, err := lockutils.LockContext(kept, "x", opts...)
		if err != nil {
			t.Fatal(err)
		}
		if held := lockutils.HeldLocks(kept); len(held) > 0 {
			t.Errorf("held: %q", held)
		}
		// Somebody else holds the lock now: that is no deadlock, and the wait ends as any other.
		_, err = lockutils.LockContext(kept, "x",
			append(opts[:len(opts):len(opts)], lockutils.WithTimeout(time.Millisecond))...)
		wantError(t, err, context.DeadlineExceeded)
		mustUnlock(t, g)
	}
}

// A reader that reads again must not wait for a writer who waits for that reader.
func TestContextMayShareOnceMoreWhileAWriterWaits(t *testing.T) {
	setLockPath(t)
	synctest.Test(t, func(t *testing.T) {
		for _, opts := range [][]lockutils.Option{
			{lockutils.Shared()},
			{lockutils.Shared(), lockutils.Fair()},
			{lockutils.Shared(), lockutils.External()},
		} {
			var writer sync.WaitGroup
			err := lockutils.Do(t.Context(), "x", func(ctx context.Context) error {
				writer.Go(func() { mustUnlock(t, mustLock(t, "x")) })
				synctest.Wait()
				g, err := lockutils.LockContext(ctx, "x", append(opts, lockutils.NonBlocking())...)
				if err != nil {
					return err
				}
				mustUnlock(t, g)
				return lockutils.Do(ctx, "x", func(ctx context.Context) error {
					if held := lockutils.HeldLocks(ctx); !slices.Equal(held, []string{"x", "x"}) {
						t.Errorf("held: %q", held)
					}
					return nil
				}, opts...)
			}, opts...)
			if err != nil {
				t.Error(err)
			}
			writer.Wait()
		}
	})
}

func TestContextMayShareAFileOnceMoreWhileAWriterWaits(t *testing.T) {
	dir := setLockPath(t)
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "x")
		reader, writer := lockutils.NewInterProcessLock(path), lockutils.NewInterProcessLock(path)
		var waiter sync.WaitGroup
		err := lockutils.Do(t.Context(), "x", func(ctx context.Context) error {
			waiter.Go(func() {
				if err := writer.Lock(); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			if err := reader.RLockContext(ctx); err != nil {
				return err
			}
			wantError(t, reader.LockContext(ctx), lockutils.ErrDeadlock)
			return reader.RUnlock()
		}, lockutils.Shared(), lockutils.External())
		if err != nil {
			t.Error(err)
		}
		waiter.Wait()
		mustUnlock(t, writer)
	})
}

func TestContextKnowsTheScopeOfALockAcquiredBeforeTheOrderIsChecked(t *testing.T) {
	prefix := lockutils.WithPrefix("nova")
	byDefault := func(ctx context.Context, name string, fn func(context.Context) error) error {
		lockutils.SetDefaultOptions(prefix)
		defer lockutils.SetDefaultOptions()
		return lockutils.Do(ctx, name, fn)
	}
	for way, do := range map[string]func(context.Context, string, func(context.Context) error) error{
		"call": func(ctx context.Context, name string, fn func(context.Context) error) error {
			return lockutils.Do(ctx, name, fn, prefix)
		},
		"shared": func(ctx context.Context, name string, fn func(context.Context) error) error {
			return lockutils.Do(ctx, name, fn, prefix, lockutils.Shared())
		},
		"project": func(ctx context.Context, name string, fn func(context.Context) error) error {
			return lockutils.DoWithPrefix("nova")(ctx, name, fn)
		},
		"other project": func(ctx context.Context, name string, fn func(context.Context) error) error {
			return lockutils.DoWithPrefix("glance")(ctx, name, fn, prefix)
		},
		"synchronized": func(ctx context.Context, name string, fn func(context.Context) error) error {
			return lockutils.Synchronized(name, fn, prefix)(ctx)
		},
		"default": byDefault,
	} {
		t.Run(way, func(t *testing.T) {
			var seen []string
			err := do(context.Background(), "outer", func(ctx context.Context) error {
				lockutilstest.CheckOrder(t, func(scope, name string) string {
					seen = append(seen, scope+" "+name)
					return name
				})
				g, err := lockutils.LockContext(ctx, "inner", lockutils.WithPrefix(""))
				if err != nil {
					return err
				}
				return g.Unlock()
			})
			if err != nil || !slices.Contains(seen, "nova outer") || !slices.Contains(seen, " inner") {
				t.Errorf("error %v; seen: %q", err, seen)
			}
		})
	}
}

func TestDoRefusesANilFunction(t *testing.T) {
	err := lockutils.Do(t.Context(), "x", nil)
	wantAcquireError(t, err, "x", "", lockutils.ErrOptions)
	wantFree(t, "x")
}
