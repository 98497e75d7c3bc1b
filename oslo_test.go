package lockutils_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/lockutilstest"
)

// The behaviours that the unit tests of oslo.concurrency's lockutils check, in their order. Those
// of its script are checked beside lockutils-wrapper.

func TestOsloSynchronizedKeepsWhatTheFunctionIs(t *testing.T) {
	var f task = func() error { return errFromFn }
	wrapped := lockutils.Synchronized("whatever", f,
		lockutils.WithPrefix("test-")) // of the same type, methods and all
	if err := task(wrapped)(); err != errFromFn {
		t.Error(err)
	}
}

func TestOsloCollectionsLockInternallyApart(t *testing.T) {
	var s1, s2 lockutils.Semaphores
	trigger := make(chan struct{})
	var ran sync.WaitGroup
	hold := func(s *lockutils.Semaphores, f func()) {
		ran.Go(func() {
			g, err := lockutils.InternalLock("testing", lockutils.WithSemaphores(s))
			if err != nil {
				t.Error(err)
				return
			}
			f()
			mustUnlock(t, g)
		})
	}
	hold(&s2, func() { <-trigger })
	hold(&s1, func() { close(trigger) })
	finish(t, &ran)
}

func TestOsloLocksInternallyAcrossGoroutines(t *testing.T) {
	var seen []int // guarded by the lock
	container := new(lockutils.Semaphores)
	var all sync.WaitGroup
	for id := range 10 {
		all.Go(func() {
			g := mustLock(t, "testlock2", lockutils.WithPrefix("test-"), lockutils.WithSemaphores(container))
			for range 10 {
				seen = append(seen, id)
			}
			mustUnlock(t, g)
		})
	}
	finish(t, &all)
	if len(seen) != 100 || len(slices.Compact(seen)) != 10 {
		t.Errorf("seen %v", seen)
	}
	if container.Len() != 0 {
		t.Error("semaphore leak detected")
	}
}

func TestOsloInternalFairLockIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := []lockutils.Option{lockutils.WithPrefix("test-"), lockutils.Fair()}
		g := mustLock(t, "testlock", opts...)
		var holders []int // guarded by the lock
		for id := range 10 {
			go func() {
				g := mustLock(t, "testlock", opts...)
				holders = append(holders, id)
				mustUnlock(t, g)
			}()
			synctest.Wait()
		}
		mustUnlock(t, g)
		synctest.Wait()
		if !slices.Equal(holders, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			t.Errorf("holders %v", holders)
		}
	})
}

func TestOsloFairLockTakesNoSemaphores(t *testing.T) {
	_, err := lockutils.Lock("testlock", lockutils.WithSemaphores(new(lockutils.Semaphores)), lockutils.Fair())
	wantAcquireError(t, err, "testlock", "", lockutils.ErrOptions)
}

// oslo.concurrency refuses this because fasteners cannot do it. Here it is possible.
func TestOsloFairLockMayBeNonBlocking(t *testing.T) {
	g := mustLock(t, "testlock", lockutils.Fair(), lockutils.NonBlocking())
	_, err := lockutils.Lock("testlock", lockutils.Fair(), lockutils.NonBlocking())
	wantError(t, err, lockutils.ErrLocked)
	mustUnlock(t, g)
}

func TestOsloExternalSynchronizedNests(t *testing.T) {
	setLockPath(t)
	opts := []lockutils.Option{lockutils.WithPrefix("test-"), lockutils.External()}
	inner := lockutils.Synchronized("testlock2", func(context.Context) error { return errFromFn }, opts...)
	outer := lockutils.Synchronized("testlock1", func(ctx context.Context) error { return inner(ctx) }, opts...)
	if err := outer(t.Context()); err != errFromFn {
		t.Error(err)
	}
}

func TestOsloLocksExternallyAcrossFiftyProcesses(t *testing.T) {
	dir := lockDir(t)
	count := newCounter(t, dir)
	var peers []*peer
	for range 50 {
		peers = append(peers, startPeer(t))
	}
	for _, p := range peers {
		p.send("work", "external", dir, "external", "test-")
	}
	for _, p := range peers {
		if reply := p.receive(); reply.Error != "" {
			t.Error(reply.Error)
		}
	}
	if count() != "50" {
		t.Errorf("%s of 50 counted", count())
	}
}

// All of them find no directory, and meet in the one that the first of them makes.
func TestOsloLockDirectoryThatDoesNotExistIsMade(t *testing.T) {
	dir := filepath.Join(lockDir(t), "missing")
	holder := startPeer(t)
	var peers []*peer
	for range 5 {
		peers = append(peers, startPeer(t))
	}
	holder.must("lock", "external", dir, "external", "test-")
	for _, p := range peers {
		if reply := p.do("try", "external", dir, "external", "test-"); !reply.Locked {
			t.Errorf("%+v", reply)
		}
	}
}

func TestOsloPrefixes(t *testing.T) {
	dir := setLockPath(t)
	external := lockutils.External()
	g, err := lockutils.LockWithPrefix("mypfix-")("mylock", external)
	if err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, g)
	for _, f := range []func() error{
		lockutils.SynchronizedWithPrefix("mypfix-")("mylock2", wrapped, external),
		lockutils.Synchronized("lock", wrapped, external),
		lockutils.Synchronized("lock", wrapped, external, lockutils.WithPrefix("hypen")),
	} {
		if err := f(); err != nil {
			t.Error(err)
		}
	}
	if made := files(t, dir); !slices.Equal(made,
		[]string{"hypen-lock", "lock", "mypfix-mylock", "mypfix-mylock2"}) {
		t.Errorf("files %q", made)
	}
}

func TestOsloLocksOfOtherNamesNestAndAreFreeAfterwards(t *testing.T) {
	setLockPath(t)
	for range 2 {
		g := mustLock(t, "test")
		for _, name := range []string{"test2", "test1", "test2"} {
			g := mustLock(t, name, lockutils.External())
			if _, err := os.Stat(g.Path()); err != nil {
				t.Error(err)
			}
			mustUnlock(t, g)
		}
		mustUnlock(t, g)
	}
}

func TestOsloRemovesTheFileOfAnExternalLock(t *testing.T) {
	r := record(t, slog.LevelInfo)
	dir := lockDir(t)
	makeFiles(t, dir, 0, "prefix-name")
	for range 2 { // the second time there is none
		if err := lockutils.RemoveExternalLockFile("name", lockutils.WithPrefix("prefix"),
			lockutils.WithLockPath(dir)); err != nil {
			t.Error(err)
		}
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("left %q", left)
		}
	}
	lockutils.SetDefaults(dir)
	t.Cleanup(func() { lockutils.SetDefaults("") })
	makeFiles(t, dir, 0, "name")
	if err := lockutils.RemoveExternalLockFile("name"); err != nil || len(files(t, dir)) > 0 {
		t.Errorf("error %v, left %q", err, files(t, dir))
	}
	r.want(t)

	if err := os.Mkdir(filepath.Join(dir, "name"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := lockutils.RemoveExternalLockFile("name"); err == nil {
		t.Error("no error for what cannot be removed")
	}
	r.want(t) // where oslo.concurrency has nothing but its log
}

func TestOsloNameWhoseHashHasASlash(t *testing.T) {
	wantFree(t, "foobar")
}

func TestOsloLockFileExistsWhileTheFunctionRuns(t *testing.T) {
	dir := lockDir(t)
	err := lockutils.Synchronized("lock-file", func() error {
		_, err := os.Stat(filepath.Join(dir, "lock-file"))
		return err
	}, lockutils.External(), lockutils.WithLockPath(dir))()
	if err != nil {
		t.Error(err)
	}
}

func TestOsloInterProcessLockIsRefusedWhileAnotherProcessHasIt(t *testing.T) {
	dir := lockDir(t)
	other := startPeer(t)
	other.must("lock", "processlock", dir, "external")
	l := lockutils.NewInterProcessLock(filepath.Join(dir, "processlock"))
	if got, err := l.TryLock(); got || err != nil {
		t.Errorf("TryLock: %v, %v", got, err)
	}
	other.kill()
	if got, err := l.TryLock(); !got || err != nil {
		t.Errorf("TryLock after its death: %v, %v", got, err)
	}
	mustUnlock(t, l)
}

func TestOsloNonBlockingExternalLockDoesNotBlockBetweenProcesses(t *testing.T) {
	dir := lockDir(t)
	other := startPeer(t)
	other.must("lock", "foo", dir, "external")
	calls := 0
	foo := lockutils.Synchronized("foo", func() error { calls++; return nil },
		lockutils.External(), lockutils.NonBlocking(), lockutils.WithLockPath(dir))
	wantError(t, foo(), lockutils.ErrLocked)
	other.must("unlock", "foo", dir)
	if err := foo(); err != nil || calls != 1 {
		t.Errorf("error %v, %d calls", err, calls)
	}
}

// Between goroutines the kernel would let an external lock be had twice.
func TestOsloLocksBetweenGoroutines(t *testing.T) {
	dir := lockDir(t)
	for _, opts := range [][]lockutils.Option{
		{lockutils.External(), lockutils.WithLockPath(dir)},
		{lockutils.External(), lockutils.WithLockPath(dir), lockutils.NonBlocking()},
		{lockutils.NonBlocking(), lockutils.WithLockPath(dir)},
	} {
		nonBlocking := slices.Contains(opts, lockutils.NonBlocking())
		var calls []string // guarded by the lock
		inside, leave := make(chan struct{}), make(chan struct{})
		foo := lockutils.Synchronized("foo", func(name string) error {
			calls = append(calls, name)
			if name == "other" {
				close(inside)
				<-leave
			}
			calls = append(calls, name)
			return nil
		}, opts...)
		var all sync.WaitGroup
		all.Go(func() {
			if err := foo("other"); err != nil {
				t.Error(err)
			}
		})
		<-inside
		if nonBlocking {
			wantError(t, foo("main"), lockutils.ErrLocked)
			close(leave)
		} else {
			all.Go(func() {
				if err := foo("main"); err != nil {
					t.Error(err)
				}
			})
			close(leave)
		}
		finish(t, &all)
		want := []string{"other", "other", "main", "main"}
		if nonBlocking {
			want = want[:2]
		}
		if !slices.Equal(calls, want) {
			t.Errorf("calls %q, want %q", calls, want)
		}
	}
}

func TestOsloLockFileIsNotDestroyed(t *testing.T) {
	dir := lockDir(t)
	path := filepath.Join(dir, "not-destroyed")
	if err := os.WriteFile(path, []byte("test"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := mustLock(t, "not-destroyed", lockutils.External(), lockutils.WithLockPath(dir))
	if data, err := os.ReadFile(path); string(data) != "test" {
		t.Errorf("content %q, error %v", data, err)
	}
	mustUnlock(t, g)
}

func TestOsloFixtureHoldsTheLockUntilTheTestHasEnded(t *testing.T) {
	dir := setLockPath(t)
	t.Run("test", func(t *testing.T) {
		t.Cleanup(func() {
			wantFree(t, "test-lock",
				lockutils.External())
		}) // cleanups run from the last to the first
		g := lockutilstest.Hold(t, "test-lock", lockutils.External())
		t.Cleanup(func() { wantTaken(t, "test-lock", lockutils.External()) })
		if g.Path() != filepath.Join(dir, "test-lock") {
			t.Errorf("path %q", g.Path())
		}
	})
}

func TestOsloLockPathIsTheDefaultOrWhatOverridesIt(t *testing.T) {
	t.Cleanup(func() { lockutils.SetDefaults("") })
	for _, path := range []string{"/the/path", "/alternate/path"} {
		lockutils.SetDefaults(path)
		if lockutils.LockPath() != path {
			t.Errorf("LockPath %q, want %q", lockutils.LockPath(), path)
		}
	}
}
