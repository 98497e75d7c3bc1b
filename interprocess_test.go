package lockutils_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils"
)

func TestInterProcessLockExcludesOtherProcesses(t *testing.T) {
	dir := lockDir(t)
	l := lockutils.NewInterProcessLock(filepath.Join(dir, "x"))
	if l.Path() != filepath.Join(dir, "x") || l.Exists() {
		t.Errorf("path %q, exists %v", l.Path(), l.Exists())
	}
	other := startPeer(t)
	refused := func(options ...string) bool { return other.do("try", "x", dir, append(options, "external")...).Locked }
	if err := l.Lock(); err != nil {
		t.Fatal(err)
	}
	if !l.Exists() || !refused() || !refused("shared") {
		t.Error("the lock is not in force")
	}
	mustUnlock(t, l)
	if err := l.RLock(); err != nil {
		t.Fatal(err)
	}
	if !refused() || refused("shared") {
		t.Error("a reader excludes writers, not readers")
	}
	if err := l.RUnlock(); err != nil {
		t.Fatal(err)
	}
	other.must("lock", "x", dir, "external", "shared")
	if got, err := l.TryLock(); got || err != nil {
		t.Errorf("TryLock: %v, %v", got, err)
	}
	if got, err := l.TryRLock(); !got || err != nil {
		t.Errorf("TryRLock: %v, %v", got, err)
	}
	if err := l.RUnlock(); err != nil {
		t.Fatal(err)
	}
	other.must("unlock", "x", dir)
	other.must("lock", "x", dir, "external")
	for name, try := range map[string]func() (bool, error){"TryLock": l.TryLock, "TryRLock": l.TryRLock} {
		if got, err := try(); got || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	other.kill()
	if err := l.Lock(); err != nil { // the dead hold nothing
		t.Fatal(err)
	}
	mustUnlock(t, l)
}

func TestInterProcessLockWithinTheProcess(t *testing.T) {
	dir := setLockPath(t)
	path := filepath.Join(dir, "x")
	a, b := lockutils.NewInterProcessLock(path), lockutils.NewInterProcessLock(dir+"/./x")
	if err := a.Lock(); err != nil {
		t.Fatal(err)
	}
	if got, err := b.TryLock(); got || err != nil {
		t.Errorf("TryLock of the same file: %v, %v", got, err)
	}
	wantTaken(t, "x", lockutils.External())
	wantFree(t, "x")
	wantError(t, b.Unlock(), lockutils.ErrNotHeld)
	wantError(t, a.RUnlock(), lockutils.ErrNotHeld)
	mustUnlock(t, a)
	wantError(t, a.Unlock(), lockutils.ErrNotHeld)

	g := mustLock(t, "x", lockutils.External())
	if got, err := a.TryRLock(); got || err != nil {
		t.Errorf("TryRLock of what Lock holds: %v, %v", got, err)
	}
	mustUnlock(t, g)

	for range 3 {
		if err := a.RLock(); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := b.TryRLock(); !got || err != nil {
		t.Errorf("TryRLock beside readers: %v, %v", got, err)
	}
	wantError(t, a.Unlock(), lockutils.ErrNotHeld)
	if err := b.RUnlock(); err != nil {
		t.Error(err)
	}
	for range 3 {
		wantTaken(t, "x", lockutils.External())
		if err := a.RUnlock(); err != nil {
			t.Error(err)
		}
	}
	wantError(t, a.RUnlock(), lockutils.ErrNotHeld)
	wantFree(t, "x", lockutils.External())
}

func TestInterProcessLockUnderStress(t *testing.T) {
	l := lockutils.NewInterProcessLock(filepath.Join(lockDir(t), "x"))
	value := 0
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			for range 100 {
				lock, unlock := l.Lock, l.Unlock
				if i%2 == 0 {
					lock, unlock = l.RLock, l.RUnlock
				}
				if err := lock(); err != nil {
					t.Error(err)
					return
				}
				if i%2 == 1 {
					value++
				}
				if err := unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if value != 300 {
		t.Errorf("%d of 300 counted", value)
	}
}

func TestInterProcessLockWaitEnds(t *testing.T) {
	path := filepath.Join(lockDir(t), "x")
	holder := lockutils.NewInterProcessLock(path)
	if err := holder.Lock(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		l := lockutils.NewInterProcessLock(path, lockutils.WithTimeout(time.Minute))
		start := time.Now()
		wantAcquireError(t, l.Lock(), "", path, context.DeadlineExceeded)
		wantAcquireError(t, l.RLock(), "", path, context.DeadlineExceeded)
		if took := time.Since(start); took != 2*time.Minute {
			t.Errorf("two timeouts of a minute took %v", took)
		}
		if got, err := l.TryLock(); got || err != nil {
			t.Errorf("TryLock: %v, %v", got, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantAcquireError(t, l.LockContext(ctx), "", path, context.DeadlineExceeded)
	})
	mustUnlock(t, holder)
}

func TestInterProcessLockOptions(t *testing.T) {
	path := filepath.Join(lockDir(t), "x")
	for name, opt := range map[string]lockutils.Option{
		"Shared":           lockutils.Shared(),
		"NonBlocking":      lockutils.NonBlocking(),
		"WithSemaphores":   lockutils.WithSemaphores(new(lockutils.Semaphores)),
		"WithPrefix":       lockutils.WithPrefix("p"),
		"WithLockPath":     lockutils.WithLockPath("p"),
		"negative timeout": lockutils.WithTimeout(-1),
		"negative delay":   lockutils.WithDelay(-1),
		"file mode":        lockutils.WithFileMode(0),
	} {
		l := lockutils.NewInterProcessLock(path, opt)
		for _, lock := range []func() error{
			l.Lock, l.RLock,
			func() error { _, err := l.TryLock(); return err },
			func() error { _, err := l.TryRLock(); return err },
		} {
			if err := lock(); err == nil {
				t.Errorf("%s is accepted", name)
			} else {
				wantAcquireError(t, err, "", path, lockutils.ErrOptions)
			}
		}
		if l.Exists() {
			t.Fatalf("%s: a file has been made", name)
		}
	}
	for _, opt := range []lockutils.Option{{}, lockutils.Fair(), lockutils.WithFcntl(), lockutils.WithDelay(1), lockutils.WithTimeout(0), lockutils.External()} {
		l := lockutils.NewInterProcessLock(path, opt)
		err := l.Lock()
		if err != nil && unsupported(t, err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		mustUnlock(t, l)
		if err := l.RLock(); err != nil {
			t.Fatal(err)
		}
		if err := l.RUnlock(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l := lockutils.NewInterProcessLock(path, lockutils.WithFileMode(0o640))
	if err := l.Lock(); err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, l)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 == 0 && os.PathSeparator == '/' {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestInterProcessLockRefusesTheQueueOfAnother(t *testing.T) {
	path := filepath.Join(lockDir(t), "x.lockutils-queue")
	l := lockutils.NewInterProcessLock(path)
	wantAcquireError(t, l.Lock(), "", path, lockutils.ErrName)
	if l.Exists() {
		t.Error("a file has been made")
	}
}
