package lockutils_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

func TestHostLocksListsEveryLockFileOfTheLockPath(t *testing.T) {
	dir := setLockPath(t)
	if _, err := lockutils.HostLocks(); errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	files, err := lockutils.HostLocks(lockutils.WithLockPath(filepath.Join(dir, "missing")))
	if len(files) > 0 || err != nil {
		t.Errorf("missing directory: %v, %v", files, err)
	}
	other := startPeer(t)
	other.must("lock", "theirs", dir, "external", "shared")
	held := mustLock(t, "p-held", lockutils.External())
	defer held.Unlock()
	makeFiles(t, dir, time.Hour, "a", "pid-file", "data", "x.lockutils-queue")
	for _, name := range []string{"data", "pid-file"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("4711"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other.must("lock", "pid-file", dir, "external")

	me, them := os.Getpid(), other.cmd.Process.Pid
	type row struct {
		name   string
		holder int
		mode   lockutils.Mode
	}
	want := func(rows []row, opts ...lockutils.Option) {
		t.Helper()
		files, err := lockutils.HostLocks(opts...)
		if err != nil || len(files) != len(rows) {
			t.Fatalf("%+v, %v", files, err)
		}
		for i, f := range files {
			w := rows[i]
			if f.Path != filepath.Join(dir, w.name) || len(f.Waiters) > 0 {
				t.Errorf("%+v instead of %s", f, w.name)
			}
			if (w.holder == 0) != (len(f.Holders) == 0) ||
				len(f.Holders) > 0 && (f.Holders[0].PID != w.holder || f.Holders[0].Mode != w.mode) {
				t.Errorf("%s: held by %+v", w.name, f.Holders)
			}
			if age := time.Since(f.LastUsed); (age > time.Minute) != (w.name == "a") {
				t.Errorf("%s: used %v ago", w.name, age)
			}
		}
	}
	want([]row{
		{name: "a"},
		{"p-held", me, lockutils.ModeWriter},
		{"pid-file", them, lockutils.ModeWriter},
		{"theirs", them, lockutils.ModeReader},
	})
	want([]row{{"p-held", me, lockutils.ModeWriter}}, lockutils.WithPrefix("p"))
	_, err = lockutils.HostLocks(lockutils.WithDelay(-1))
	wantError(t, err, lockutils.ErrOptions)
	_, err = lockutils.HostLocks(lockutils.WithPrefix("a/../b"), lockutils.DryRun())
	wantError(t, err, lockutils.ErrOptions)
}
