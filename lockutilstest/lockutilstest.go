// Package lockutilstest is for the tests of programs that take locks with package lockutils.
package lockutilstest

import (
	"errors"
	"testing"

	"github.com/lockutils/lockutils"
)

// TempLockPath points the process at a new lock path for the rest of the test, and returns it. The processes that the test
// starts inherit it through the environment. The old settings come back, and the directory is removed, when the test ends.
//
// The lock path is process-wide, so that a parallel test cannot have one of its own: there TempLockPath panics, as
// [testing.T.Setenv] does. Use lockutils.WithLockPath in parallel tests.
func TempLockPath(t testing.TB) string {
	t.Helper()
	before := lockutils.LockPath()
	dir := t.TempDir()
	t.Setenv("OSLO_LOCK_PATH", dir)
	if lockutils.LockPath() == dir {
		before = "" // It came from the environment, and comes back with it.
	}
	lockutils.SetDefaults(dir)
	t.Cleanup(func() { lockutils.SetDefaults(before) })
	return dir
}

// Hold takes the lock, waiting for it as long as the test may run, and releases it when the test ends, unless the test
// has done so itself. It ends the test if the lock cannot be had.
func Hold(t testing.TB, name string, opts ...lockutils.Option) lockutils.Guard {
	t.Helper()
	guard, err := lockutils.LockContext(t.Context(), name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := guard.Unlock(); err != nil && !errors.Is(err, lockutils.ErrNotHeld) {
			t.Error(err)
		}
	})
	return guard
}
