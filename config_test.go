package lockutils_test

import (
	"context"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

func TestProcessLockingTurnedOffLeavesTheInternalLock(t *testing.T) {
	dir := lockDir(t)
	lockutils.SetProcessLocking(false)
	t.Cleanup(func() { lockutils.SetProcessLocking(true) })
	g := mustLock(t, "x", lockutils.External()) // without any lock path
	if g.Path() != "" {
		t.Errorf("path %q", g.Path())
	}
	wantTaken(t, "x")
	mustUnlock(t, g)
	mustUnlock(t, mustLock(t, "x", lockutils.External(), lockutils.WithLockPath(dir)))
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("files %q", left)
	}

	// Those that are nothing but a lock file stay what they are.
	if path := pathOf(t, "x", lockutils.WithLockPath(dir)); path != filepath.Join(dir, "x") {
		t.Errorf("path %q", path)
	}

	// A hold keeps what it started with.
	g = mustLock(t, "y", lockutils.External(), lockutils.WithLockPath(dir))
	lockutils.SetProcessLocking(true)
	if path := pathOf(t, "y", lockutils.WithLockPath(dir),
		lockutils.NonBlocking()); path != filepath.Join(dir, "y") {
		t.Errorf("path %q", path)
	}
	mustUnlock(t, g)
}

func TestARelativeDefaultIsMadeAbsoluteAtOnce(t *testing.T) {
	a, b := lockDir(t), lockDir(t)
	t.Cleanup(func() { lockutils.SetDefaults("") })
	t.Chdir(a)
	lockutils.SetDefaults("locks/../locks")
	g := mustLock(t, "x", lockutils.External())
	t.Chdir(b)
	wantTaken(t, "x", lockutils.External())
	want := filepath.Join(a, "locks")
	if got := lockutils.LockPath(); got != want || g.Path() != filepath.Join(want, "x") {
		t.Errorf("lock path %q, file %q, want %q", got, g.Path(), want)
	}
}

func TestARelativeLockPathStaysTheSameDirectory(t *testing.T) {
	for name, test := range map[string]struct{ option, environment string }{
		"WithLockPath":   {option: "locks"},
		"OSLO_LOCK_PATH": {environment: "./locks"},
	} {
		for _, when := range []string{"at the start", "when it was first needed"} {
			t.Run(name+", "+when, func(t *testing.T) {
				base, elsewhere := t.TempDir(), t.TempDir()
				p := startPeer(t, func(cmd *exec.Cmd) {
					cmd.Env = append(cmd.Env, "OSLO_LOCK_PATH="+test.environment)
					cmd.Dir = base
				})
				if when != "at the start" {
					base = t.TempDir()
					p.must("chdir", "", base)
				}
				p.must("lock", "x", test.option, "external")
				p.must("chdir", "", elsewhere)
				if got := p.do("try", "x", test.option, "external"); !got.Locked {
					t.Errorf("one name has two holders: %+v", got)
				}
				if got := files(t, filepath.Join(base, "locks")); !slices.Equal(got, []string{"x"}) {
					t.Errorf("files %q", got)
				}
				if got := files(t, elsewhere); len(got) > 0 {
					t.Errorf("files %q in another directory", got)
				}
			})
		}
	}
}

func TestLockPathIsAbsolute(t *testing.T) {
	t.Setenv("OSLO_LOCK_PATH", "locks")
	got := lockutils.LockPath()
	t.Chdir(t.TempDir())
	if !filepath.IsAbs(got) || lockutils.LockPath() != got {
		t.Errorf("lock path %q, and %q in another directory", got, lockutils.LockPath())
	}
}

// setDefaultOptions makes these the process-wide default options for the rest of the test.
func setDefaultOptions(t *testing.T, opts ...lockutils.Option) {
	lockutils.SetDefaultOptions(opts...)
	t.Cleanup(func() { lockutils.SetDefaultOptions() })
}

func TestDefaultOptionsApplyToEveryCall(t *testing.T) {
	dir := lockDir(t)
	inProject := lockutils.LockWithPrefix("")
	inContext := lockutils.LockContextWithPrefix("")
	doInProject := lockutils.DoWithPrefix("")
	var inside func() error
	synchronized := lockutils.Synchronized("x", func() error { return inside() })
	projectSynchronized := lockutils.SynchronizedWithPrefix("")("x", func() error { return inside() })
	reflected := lockutils.Synchronized("x", func(int) error { return inside() })
	setDefaultOptions(t, lockutils.External(), lockutils.WithLockPath(dir), lockutils.WithPrefix("p"))

	external := func(call string) {
		t.Helper()
		want := "p-x"
		if strings.Contains(call, "Prefix") {
			want = "x" // the project's own prefix comes later
		}
		if g, err := lockutils.ExternalLock(want, lockutils.WithPrefix(""), lockutils.NonBlocking()); err == nil {
			_ = g.Unlock()
			t.Errorf("%s heeds no default options", call)
		} else {
			wantError(t, err, lockutils.ErrLocked)
		}
	}
	lock := func(g lockutils.Guard, err error) error {
		if err == nil {
			inside()
			err = g.Unlock()
		}
		return err
	}
	nothing := func(context.Context) error { return inside() }
	for name, call := range map[string]func() error{
		"Lock":                       func() error { return lock(lockutils.Lock("x")) },
		"LockContext":                func() error { return lock(lockutils.LockContext(t.Context(), "x")) },
		"TryLock":                    func() error { return lock(lockutils.TryLock("x")) },
		"ExternalLock":               func() error { return lock(lockutils.ExternalLock("x")) },
		"Do":                         func() error { return lockutils.Do(t.Context(), "x", nothing) },
		"LockWithPrefix":             func() error { return lock(inProject("x")) },
		"LockContextWithPrefix":      func() error { return lock(inContext(t.Context(), "x")) },
		"DoWithPrefix":               func() error { return doInProject(t.Context(), "x", nothing) },
		"Synchronized":               synchronized,
		"SynchronizedWithPrefix":     projectSynchronized,
		"Synchronized, another type": func() error { return reflected(1) },
	} {
		called := false
		inside = func() error {
			called = true
			external(name)
			return nil
		}
		if err := call(); err != nil || !called {
			t.Errorf("%s: error %v, called %v", name, err, called)
		}
	}
	if got := files(t, dir); !slices.Equal(got, []string{"p-x", "x"}) {
		t.Errorf("files %q", got)
	}

	if err := lockutils.RemoveExternalLockFile("x"); err != nil {
		t.Error(err)
	}
	if err := lockutils.RemoveExternalLockFileWithPrefix("")("x"); err != nil {
		t.Error(err)
	}
	if got := files(t, dir); len(got) > 0 {
		t.Errorf("left: %q", got)
	}

	lockutils.SetDefaultOptions()
	if g := mustLock(t, "x"); g.Path() != "" {
		t.Errorf("path %q after default options have been taken back", g.Path())
	}
}

func TestDefaultOptionsApplyToAFreeLockOfAKnownName(t *testing.T) {
	wantFree(t, "x")
	setDefaultOptions(t, lockutils.WithPrefix("p"))
	g := mustLock(t, "x")
	wantFree(t, "x", lockutils.WithPrefix(""))
	wantTaken(t, "x")
	wantTaken(t, "x", lockutils.WithPrefix("p"))
	mustUnlock(t, g)
}

func TestDefaultOptionsAreFurtherOutThanThoseOfAProjectAndACall(t *testing.T) {
	g := mustLock(t, "x", lockutils.WithPrefix("project"))
	setDefaultOptions(t, lockutils.NonBlocking(), lockutils.WithPrefix("process"))
	lock := lockutils.LockWithPrefix("project", lockutils.WithTimeout(0))
	_, err := lock("x")
	wantError(t, err, context.DeadlineExceeded)
	_, err = lock("x", lockutils.NonBlocking())
	wantError(t, err, lockutils.ErrLocked)
	_, err = lockutils.LockWithPrefix("project")("x")
	wantError(t, err, lockutils.ErrLocked)
	mustUnlock(t, g)
	mustUnlock(t, mustLock(t, "x"))
}

func TestDefaultOptionsThatACallCannotMeanDoNotStopIt(t *testing.T) {
	dir := setLockPath(t)
	container := new(lockutils.Semaphores)
	setDefaultOptions(t, lockutils.External(), lockutils.WithSemaphores(container), lockutils.NonBlocking(),
		lockutils.Shared(), lockutils.WithPrefix("p"))
	g, err := lockutils.InternalLock("x")
	if err != nil || g.Path() != "" {
		t.Fatalf("InternalLock: path %q, error %v", g.Path(), err)
	}
	mustUnlock(t, g)
	if g, err = lockutils.ExternalLock("x"); err != nil || g.Path() != filepath.Join(dir, "p-x") {
		t.Fatalf("ExternalLock: path %q, error %v", g.Path(), err)
	}
	mustUnlock(t, g)
	l := lockutils.NewInterProcessLock(filepath.Join(dir, "y"))
	if err := l.Lock(); err != nil {
		t.Fatal("InterProcessLock:", err)
	}
	if got, err := l.TryRLock(); got || err != nil {
		t.Errorf("TryRLock beside a writer: %v, %v", got, err) // Shared has not made a reader of the writer
	}
	mustUnlock(t, l)

	setDefaultOptions(t, lockutils.Fair())
	mustUnlock(t, mustLock(t, "x", lockutils.WithSemaphores(container)))
	_, err = lockutils.Lock("x", lockutils.WithSemaphores(container), lockutils.Fair())
	wantError(t, err, lockutils.ErrOptions)
}

func TestDefaultOptionsReachLocksThatWereMadeBefore(t *testing.T) {
	path := filepath.Join(lockDir(t), "x")
	l := lockutils.NewInterProcessLock(path)
	other := lockutils.NewInterProcessLock(path)
	if err := other.Lock(); err != nil {
		t.Fatal(err)
	}
	setDefaultOptions(t, lockutils.WithTimeout(0))
	wantAcquireError(t, l.Lock(), "", path, context.DeadlineExceeded)
	if got, err := l.TryLock(); got || err != nil {
		t.Errorf("TryLock: %v, %v", got, err)
	}
	mustUnlock(t, other)
}

func TestContradictoryDefaultOptionsFailEveryCall(t *testing.T) {
	dir := setLockPath(t)
	setDefaultOptions(t, lockutils.NonBlocking(), lockutils.WithTimeout(0))
	_, err := lockutils.Lock("x")
	wantError(t, err, lockutils.ErrOptions)
	_, err = lockutils.Lock("x", lockutils.NonBlocking())
	wantError(t, err, lockutils.ErrOptions)
	_, err = lockutils.TryLock("x")
	wantError(t, err, lockutils.ErrOptions)
	wantError(t, lockutils.NewInterProcessLock(filepath.Join(dir, "x")).Lock(), lockutils.ErrOptions)
}

func TestErrorNamesDefaultOptionsThatAreAtFault(t *testing.T) {
	const place = "SetDefaultOptions"
	setDefaultOptions(t, lockutils.NonBlocking(), lockutils.WithTimeout(0))
	_, err := lockutils.Lock("x")
	if err == nil || !strings.Contains(err.Error(), place) {
		t.Errorf("the default options contradict each other, and the error is %v", err)
	}
	setDefaultOptions(t, lockutils.WithTimeout(time.Second))
	_, err = lockutils.Lock("x", lockutils.WithDelay(-1))
	if err == nil || strings.Contains(err.Error(), place) {
		t.Errorf("an option of the call makes no sense, and the error is %v", err)
	}
}

func TestSettingsMayChangeAtAnyTime(t *testing.T) {
	a, b := lockDir(t), lockDir(t)
	lockutils.SetDefaults(a)
	t.Cleanup(func() {
		lockutils.SetDefaults("")
		lockutils.SetLogger(nil)
		lockutils.SetDefaultOptions()
		lockutils.SetProcessLocking(true)
	})
	discard := slog.New(slog.DiscardHandler)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				g, err := lockutils.Lock("x", lockutils.External())
				if err != nil {
					t.Error(err)
					return
				}
				if err := g.Unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		for i := range 100 {
			lockutils.SetDefaults([]string{a, b}[i%2])
			lockutils.SetProcessLocking(i%3 > 0)
			lockutils.SetDefaultOptions([]lockutils.Option{{}, lockutils.WithTimeout(time.Hour)}[i%2:]...)
			lockutils.SetLogger([]*slog.Logger{nil, discard}[i%2])
		}
	})
	finish(t, &all)
}
