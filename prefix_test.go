package lockutils_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

func TestProjectScope(t *testing.T) {
	dir := setLockPath(t)
	for _, prefix := range []string{"nova", "nova-"} {
		var (
			lock         = lockutils.LockWithPrefix(prefix, lockutils.External())
			synchronized = lockutils.SynchronizedWithPrefix(prefix, lockutils.External())
			cleanup      = lockutils.RemoveExternalLockFileWithPrefix(prefix, lockutils.External())
		)
		g, err := lock("x")
		if err != nil {
			t.Fatal(err)
		}
		if g.Name() != "x" || g.Path() != filepath.Join(dir, "nova-x") {
			t.Errorf("name %q, path %q", g.Name(), g.Path())
		}
		wantTaken(t, "x", lockutils.WithPrefix("nova"))
		wantFree(t, "x")
		wantError(t, synchronized("x", func() error { t.Error("fn has run"); return nil },
			lockutils.NonBlocking())(), lockutils.ErrLocked)
		wantError(t, cleanup("x"), lockutils.ErrLocked)
		mustUnlock(t, g)

		failure := errors.New("from fn")
		if err := synchronized("x", func() error {
			wantTaken(t, "x",
				lockutils.WithPrefix("nova"))
			return failure
		})(); err != failure {
			t.Error(err)
		}
		if err := cleanup("x"); err != nil || len(files(t, dir)) > 0 {
			t.Errorf("error %v, left %q", err, files(t, dir))
		}
		if err := cleanup("x"); err != nil {
			t.Error("a missing file:", err)
		}
	}
}

// A prefix means the same for a call that takes the shortcut to a free lock, as Lock does, and for one
// that does not, as TryLock. One hyphen at its end does not count.
func TestPrefixesMeanTheSameToAllCalls(t *testing.T) {
	for prefix, same := range map[string]string{
		"p": "p-", "p-": "p", "p--": "p--", "p.": "p.", "": "-", "-": "",
	} {
		for _, opts := range [][]lockutils.Option{nil, {lockutils.Shared()}} {
			g := mustLock(t, "n", append(opts, lockutils.WithPrefix(prefix))...)
			wantTaken(t, "n", lockutils.WithPrefix(same))
			mustUnlock(t, g)
		}

		g, err := lockutils.TryLock("n", lockutils.WithPrefix(prefix))
		if err != nil {
			t.Fatal(err)
		}
		_, err = lockutils.Lock("n", lockutils.WithPrefix(same), lockutils.WithTimeout(0))
		wantError(t, err, lockutils.ErrLocked)
		mustUnlock(t, g)
	}
}

func TestOptionsOfACallComeAfterTheProjects(t *testing.T) {
	dir, other := setLockPath(t), lockDir(t)
	lock := lockutils.LockWithPrefix("p", lockutils.External(), lockutils.WithLockPath(other),
		lockutils.NonBlocking())
	g, err := lock("x", lockutils.WithLockPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	if g.Path() != filepath.Join(dir, "p-x") {
		t.Errorf("path %q", g.Path())
	}
	_, err = lock("x")
	wantError(t, err, lockutils.ErrLocked)
	mustUnlock(t, g)

	// The options of one call do not stay for the next.
	g, err = lock("x")
	if err != nil {
		t.Fatal(err)
	}
	if g.Path() != filepath.Join(other, "p-x") {
		t.Errorf("path %q", g.Path())
	}
	mustUnlock(t, g)
	cleanup := lockutils.RemoveExternalLockFileWithPrefix("p", lockutils.WithLockPath(other))
	if err := cleanup("x", lockutils.WithLockPath(dir)); err != nil || len(files(t,
		dir)) > 0 || !slices.Equal(files(t, other), []string{"p-x"}) {
		t.Errorf("error %v, left %q and %q", err, files(t, dir), files(t, other))
	}
}

func TestTheLaterListDecidesAboutWaiting(t *testing.T) {
	mustLock(t, "x", lockutils.WithPrefix("p"))
	timed := lockutils.LockWithPrefix("p", lockutils.WithTimeout(time.Hour))
	_, err := timed("x", lockutils.NonBlocking())
	wantError(t, err, lockutils.ErrLocked)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Error("the timeout counts although a later list undoes it:", err)
	}
	atOnce := lockutils.LockWithPrefix("p", lockutils.NonBlocking())
	_, err = atOnce("x", lockutils.WithTimeout(0))
	wantError(t, err, context.DeadlineExceeded)

	// A contradiction is one within a list, and stays one.
	_, err = timed("x", lockutils.NonBlocking(), lockutils.WithTimeout(0))
	wantError(t, err, lockutils.ErrOptions)
	contradictory := lockutils.LockWithPrefix("p", lockutils.NonBlocking(), lockutils.WithTimeout(0))
	_, err = contradictory("x", lockutils.NonBlocking())
	wantError(t, err, lockutils.ErrOptions)

	synchronized := lockutils.SynchronizedWithPrefix("p", lockutils.WithTimeout(time.Hour))
	wantError(t, synchronized("x", func() error { return nil }, lockutils.NonBlocking())(), lockutils.ErrLocked)
}

func TestProjectFunctionsWithAContext(t *testing.T) {
	lock := lockutils.LockContextWithPrefix("p")
	do := lockutils.DoWithPrefix("p")
	err := do(t.Context(), "x", func(ctx context.Context) error {
		wantTaken(t, "x", lockutils.WithPrefix("p"))
		wantFree(t, "x")
		if held := lockutils.HeldLocks(ctx); !slices.Equal(held, []string{"x"}) {
			t.Errorf("held %q", held)
		}
		_, err := lock(ctx, "x")
		return err
	})
	wantError(t, err, lockutils.ErrDeadlock)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = lock(ended, "x")
	wantAcquireError(t, err, "x", "", context.Canceled)
	_, err = lock(nil, "x")
	wantError(t, err, lockutils.ErrOptions)
	wantAcquireError(t, do(t.Context(), "x", nil), "x", "", lockutils.ErrOptions)
	g, err := lock(t.Context(), "x", lockutils.Shared())
	if err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, g)
}
