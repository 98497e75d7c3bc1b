package lockutils_test

import (
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

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
	if path := pathOf(t, "y", lockutils.WithLockPath(dir), lockutils.NonBlocking()); path != filepath.Join(dir, "y") {
		t.Errorf("path %q", path)
	}
	mustUnlock(t, g)
}

func TestSettingsMayChangeAtAnyTime(t *testing.T) {
	a, b := lockDir(t), lockDir(t)
	lockutils.SetDefaults(a)
	t.Cleanup(func() {
		lockutils.SetDefaults("")
		lockutils.SetLogger(nil)
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
			lockutils.SetLogger([]*slog.Logger{nil, discard}[i%2])
		}
	})
	finish(t, &all)
}
