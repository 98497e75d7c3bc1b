package lockutils_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

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

// The test binary is also each other process that a test needs, see peer.
func TestMain(m *testing.M) {
	if os.Getenv(peerVariable) != "" {
		if err := servePeer(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Unsetenv("OSLO_LOCK_PATH") // what a user has set is no business of the tests
	goleak.VerifyTestMain(m)
}

// lockDir returns a new lock path and checks at the end of the test that no descriptor of it is
// left.
func lockDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { noDescriptorLeft(t, dir) })
	return dir
}

// setLockPath makes a new lock path the process-wide one for this test.
func setLockPath(t testing.TB) string {
	t.Helper()
	dir := lockDir(t)
	lockutils.SetDefaults(dir)
	t.Cleanup(func() { lockutils.SetDefaults("") })
	return dir
}

// noDescriptorLeft fails the test if a descriptor of this process leads into the directory.
// Systems that do not show them have none to find.
func noDescriptorLeft(t testing.TB, dir string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		filelock.CloseIdle()
		left := descriptors(dir)
		if len(left) == 0 {
			return
		}
		// Files of a wait that has just been abandoned are closed a moment later.
		if time.Now().After(deadline) {
			t.Errorf("left open: %q", left)
			return
		}
	}
}

// descriptors returns what this process has open in the directory.
func descriptors(dir string) []string {
	var found []string
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err == nil && strings.HasPrefix(target, dir) {
			found = append(found, target)
		}
	}
	return found
}

// skip skips the test, and so makes the name of its suite appear among those that were not run.
func skip(t testing.TB, suite, missing string) {
	t.Helper()
	t.Skipf("suite %s: %s", suite, missing)
}

// mustLock takes the lock, and releases it at the end of the test unless the test does.
func mustLock(t testing.TB, name string, opts ...lockutils.Option) lockutils.Guard {
	t.Helper()
	g, err := lockutils.Lock(name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Unlock() })
	return g
}

func mustUnlock(t testing.TB, g interface{ Unlock() error }) {
	t.Helper()
	if err := g.Unlock(); err != nil {
		t.Fatalf("Unlock: %v", err)
	}
}

// wantFree fails the test unless the lock can be had now.
func wantFree(t testing.TB, name string, opts ...lockutils.Option) {
	t.Helper()
	g, err := lockutils.TryLock(name, opts...)
	if err != nil {
		t.Fatalf("the lock should be free: %v", err)
	}
	mustUnlock(t, g)
}

// wantTaken fails the test unless somebody holds the lock.
func wantTaken(t testing.TB, name string, opts ...lockutils.Option) {
	t.Helper()
	g, err := lockutils.TryLock(name, opts...)
	if err == nil {
		_ = g.Unlock()
		t.Fatal("the lock should be taken")
	}
	wantError(t, err, lockutils.ErrLocked)
}

func wantError(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error %v, want one that matches %v", err, target)
	}
}

// wantAcquireError fails the test unless err is an AcquireError for that lock and file whose
// message names both and the reason.
func wantAcquireError(t testing.TB, err error, name, path string, reason error) {
	t.Helper()
	var failed *lockutils.AcquireError
	if !errors.As(err, &failed) {
		t.Fatalf("error %T %v, want an *AcquireError", err, err)
	}
	if failed.Name != name || failed.Path != path {
		t.Errorf("error names lock %q and file %q, want %q and %q", failed.Name, failed.Path, name, path)
	}
	wantError(t, err, reason)
	parts := []string{failed.Err.Error()}
	for _, named := range []string{name, path, failed.Scope} {
		if named != "" {
			parts = append(parts, strconv.Quote(named))
		}
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("message %q does not contain %q", err, part)
		}
	}
}

// unsupported reports whether err says that this system, or the portable engine, lacks what an
// option needs, and that it says so as promised.
func unsupported(t testing.TB, err error) bool {
	t.Helper()
	if !errors.Is(err, errors.ErrUnsupported) {
		return false
	}
	wantError(t, err, lockutils.ErrOptions)
	return true
}
