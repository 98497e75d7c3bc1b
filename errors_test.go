package lockutils_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils"
)

func TestErrorsNameTheScope(t *testing.T) {
	dir := setLockPath(t)
	named, other := lockutils.NewSemaphores(1), new(lockutils.Semaphores)
	named.Name = "volumes"
	locks := lockutils.FairLocks{Name: "gpus"}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	lock := func(opts ...lockutils.Option) func() error {
		return func() error {
			mustLock(t, "x", opts...)
			_, err := lockutils.TryLock("x", opts...)
			return err
		}
	}
	for scope, call := range map[string]func() error{
		"":                    lock(),
		"nova":                lock(lockutils.WithPrefix("nova"), lockutils.External()),
		"cinder":              lock(lockutils.WithPrefix("cinder-")),
		"volumes":             lock(lockutils.WithSemaphores(named)),
		"semaphores":          lock(lockutils.WithSemaphores(other)),
		"volumes/nova":        lock(lockutils.WithSemaphores(named), lockutils.WithPrefix("nova")),
		"gpus":                func() error { return locks.Get("x").LockContext(ended) },
		"reader-writer locks": func() error { return new(lockutils.FairLocks).Get("x").RLockContext(ended) },
		"p": func() error {
			_, err := lockutils.LockWithPrefix("p", lockutils.WithTimeout(-1))("x")
			return err
		},
		"volumes ": func() error { return named.Get("x").Acquire(ended) },
	} {
		scope = strings.TrimSpace(scope)
		err := call()
		path := ""
		if scope == "nova" {
			path = filepath.Join(dir, "nova-x")
		}
		wantAcquireError(t, err, "x", path, err)
		var failed *lockutils.AcquireError
		if errors.As(err, &failed); failed.Scope != scope {
			t.Errorf("scope %q, want %q: %v", failed.Scope, scope, err)
		}
	}
}

func TestPanicsNameTheScope(t *testing.T) {
	named := &lockutils.Semaphores{Name: "volumes"}
	gpus := lockutils.FairLocks{Name: "gpus"}
	for scope, call := range map[string]func(){
		"volumes": named.Get("x").Release,
		"gpus":    gpus.Get("x").Unlock,
		"gpus ":   gpus.Get("x").RUnlock,
	} {
		func() {
			defer func() {
				want := `lock "x" of "` + strings.TrimSpace(scope) + `"`
				if got, _ := recover().(string); !strings.Contains(got, want) {
					t.Errorf("panic %q, want one that says %q", got, want)
				}
			}()
			call()
		}()
	}
}

func TestATimeoutIsApartFromTheCallersDeadline(t *testing.T) {
	file := filepath.Join(lockDir(t), "x")
	l := lockutils.NewInterProcessLock(file)
	if err := l.Lock(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		defer mustUnlock(t, mustLock(t, "x"))
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		timed := lockutils.WithTimeout(time.Minute)

		for _, wait := range []func(context.Context) error{
			func(ctx context.Context) error { _, err := lockutils.LockContext(ctx, "x", timed); return err },
			func(ctx context.Context) error {
				return lockutils.Do(ctx, "x", func(context.Context) error { return nil }, timed)
			},
			func(ctx context.Context) error { return lockutils.NewInterProcessLock(file, timed).LockContext(ctx) },
		} {
			err := wait(short)
			wantError(t, err, context.DeadlineExceeded)
			if errors.Is(err, lockutils.ErrTimeout) {
				t.Errorf("the caller's deadline passes for a timeout: %v", err)
			}
			err = wait(t.Context())
			wantError(t, err, lockutils.ErrTimeout)
			wantError(t, err, context.DeadlineExceeded)
			if errors.Is(err, lockutils.ErrLocked) {
				t.Errorf("a wait passes for none: %v", err)
			}
		}
	})
	mustUnlock(t, l)
}

// A call that does not wait cannot deadlock. It fails in the same way whoever holds the lock.
func TestACallThatDoesNotWaitIsLockedOut(t *testing.T) {
	dir := setLockPath(t)
	container := new(lockutils.Semaphores)
	for name, opts := range map[string][]lockutils.Option{
		"internal":  nil,
		"external":  {lockutils.External()},
		"container": {lockutils.WithSemaphores(container)},
		"shared":    {lockutils.Shared()},
	} {
		t.Run(name, func(t *testing.T) {
			check := func(ctx context.Context) error {
				if name == "shared" { // which a writer would wait for
					opts = nil
				}
				_, err := lockutils.LockContext(ctx, "x", append(opts, lockutils.WithTimeout(0))...)
				wantError(t, err, lockutils.ErrLocked)
				wantError(t, err, lockutils.ErrTimeout)
				wantError(t, err, context.DeadlineExceeded)
				_, err = lockutils.LockContext(ctx, "x", append(opts, lockutils.NonBlocking())...)
				wantError(t, err, lockutils.ErrLocked)
				if errors.Is(err, lockutils.ErrTimeout) || errors.Is(err, lockutils.ErrDeadlock) {
					t.Error(err)
				}
				return nil
			}
			err := lockutils.Do(t.Context(), "x", func(ctx context.Context) error {
				_ = check(ctx)
				return check(t.Context())
			}, opts...)
			if err != nil {
				t.Error(err)
			}
		})
	}
	err := lockutils.Do(t.Context(), "y", func(ctx context.Context) error {
		return lockutils.NewInterProcessLock(filepath.Join(dir, "y"), lockutils.WithTimeout(0)).LockContext(ctx)
	}, lockutils.External())
	wantError(t, err, lockutils.ErrLocked)
	err = lockutils.Do(t.Context(), "y", func(ctx context.Context) error {
		return lockutils.NewInterProcessLock(filepath.Join(dir, "y"),
			lockutils.WithTimeout(time.Hour)).LockContext(ctx)
	}, lockutils.External())
	wantError(t, err, lockutils.ErrDeadlock)
}
