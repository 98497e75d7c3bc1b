package lockutils_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

// files returns the names of the files in a directory.
func files(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// makeFiles makes lock files that were last used so long ago.
func makeFiles(t testing.TB, dir string, age time.Duration, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		used := time.Now().Add(-age)
		if err := os.Chtimes(path, used, used); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRemoveExternalLockFileRemovesTheFileOfAName(t *testing.T) {
	dir, other := setLockPath(t), lockDir(t)
	makeFiles(t, dir, 0, "x", "p-x", "a_b", "y")
	makeFiles(t, other, 0, "x")
	for _, test := range []struct {
		name string
		opts []lockutils.Option
		left []string
	}{
		{"p", nil, []string{"a_b", "p-x", "x", "y"}},
		{"x", nil, []string{"a_b", "p-x", "y"}},
		{"x", nil, []string{"a_b", "p-x", "y"}}, // a missing file is no error
		{"x", []lockutils.Option{lockutils.WithPrefix("p-")}, []string{"a_b", "y"}},
		{"a/b", []lockutils.Option{lockutils.Shared(), lockutils.External()}, []string{"y"}},
		{"x", []lockutils.Option{lockutils.WithLockPath(other)}, []string{"y"}},
		{"y", []lockutils.Option{lockutils.WithLockPath(filepath.Join(dir, "missing"))}, []string{"y"}},
	} {
		if err := lockutils.RemoveExternalLockFile(test.name, test.opts...); err != nil {
			t.Errorf("%q: %v", test.name, err)
		}
		if left := files(t, dir); !slices.Equal(left, test.left) {
			t.Fatalf("%q: left %q, want %q", test.name, left, test.left)
		}
	}
	if left := files(t, other); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	if _, err := os.Stat(filepath.Join(dir, "missing")); err == nil {
		t.Error("removing has made a directory")
	}
	wantError(t, lockutils.RemoveExternalLockFile("y", lockutils.WithDelay(-1)), lockutils.ErrOptions)
}

func TestFileInUseIsNotRemoved(t *testing.T) {
	dir := setLockPath(t)
	other := startPeer(t)
	stays := func() {
		t.Helper()
		wantError(t, lockutils.RemoveExternalLockFile("x"), lockutils.ErrLocked)
		if removed, err := lockutils.RemoveExternalLockFiles(0); removed != 0 || err != nil {
			t.Errorf("sweep: %d, %v", removed, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "x")); err != nil {
			t.Error(err)
		}
	}
	for _, opts := range [][]lockutils.Option{
		{lockutils.External()},
		{lockutils.External(), lockutils.Shared()},
		{lockutils.External(), lockutils.Fair()},
		{lockutils.External(), lockutils.WithFcntl()},
	} {
		g, err := lockutils.Lock("x", opts...)
		if err != nil && unsupported(t, err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		stays()
		if a := other.do("remove", "x", dir); !a.Locked {
			t.Errorf("another process: %+v", a)
		}
		mustUnlock(t, g)
	}
	for _, mode := range []string{"external", "shared"} {
		other.must("lock", "x", dir, "external", mode)
		stays()
		other.must("unlock", "x", dir)
	}
	if err := lockutils.RemoveExternalLockFile("x"); err != nil {
		t.Error(err)
	}
}

func TestSweepRemovesWhatNobodyHasUsedForSoLong(t *testing.T) {
	dir := setLockPath(t)
	makeFiles(t, dir, time.Hour, "old", "p-old", "held", "p-held")
	makeFiles(t, dir, 0, "new", "p-new")
	if err := os.Mkdir(filepath.Join(dir, "p-directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	held := mustLock(t, "held", lockutils.External())
	other := startPeer(t)
	other.must("lock", "p-held", dir, "external", "shared")
	makeFiles(t, dir, time.Hour, "held", "p-held") // as if they had been held since
	for _, test := range []struct {
		age     time.Duration
		opts    []lockutils.Option
		removed int
		left    []string
	}{
		{2 * time.Hour, nil, 0, []string{"held", "new", "old", "p-directory", "p-held", "p-new", "p-old"}},
		{time.Minute, []lockutils.Option{lockutils.WithPrefix("p")}, 1, []string{"held", "new", "old", "p-directory", "p-held", "p-new"}},
		{time.Minute, nil, 1, []string{"held", "new", "p-directory", "p-held", "p-new"}},
		{0, []lockutils.Option{lockutils.WithPrefix("p-")}, 1, []string{"held", "new", "p-directory", "p-held"}},
		{0, []lockutils.Option{lockutils.WithPrefix("q")}, 0, []string{"held", "new", "p-directory", "p-held"}},
		{0, nil, 1, []string{"held", "p-directory", "p-held"}},
	} {
		removed, err := lockutils.RemoveExternalLockFiles(test.age, test.opts...)
		if left := files(t, dir); removed != test.removed || err != nil || !slices.Equal(left, test.left) {
			t.Errorf("older than %v: %d removed, error %v, left %q; want %d and %q", test.age, removed, err, left, test.removed, test.left)
		}
	}
	mustUnlock(t, held)
	other.must("unlock", "p-held", dir)
	if removed, err := lockutils.RemoveExternalLockFiles(0, lockutils.WithLockPath(filepath.Join(dir, "missing"))); removed != 0 || err != nil {
		t.Errorf("missing directory: %d, %v", removed, err)
	}
	_, err := lockutils.RemoveExternalLockFiles(-1)
	wantError(t, err, lockutils.ErrOptions)
	_, err = lockutils.RemoveExternalLockFiles(0, lockutils.WithDelay(-1))
	wantError(t, err, lockutils.ErrOptions)
	if removed, err := lockutils.RemoveExternalLockFiles(0); removed != 2 || err != nil {
		t.Errorf("at the end: %d, %v", removed, err)
	}
}

func TestUseKeepsALockFileFromTheSweep(t *testing.T) {
	dir := setLockPath(t)
	for _, opts := range [][]lockutils.Option{
		{lockutils.External()},
		{lockutils.External(), lockutils.Shared()},
		{lockutils.External(), lockutils.Fair()},
		{lockutils.External(), lockutils.WithFcntl()},
	} {
		makeFiles(t, dir, time.Hour, "x")
		g, err := lockutils.Lock("x", opts...)
		if err != nil && unsupported(t, err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		mustUnlock(t, g)
		removed, err := lockutils.RemoveExternalLockFiles(time.Minute)
		if removed != 0 || err != nil {
			t.Errorf("%d, %v: a lock just used counts as not used for a minute", removed, err)
		}
	}
}

// What a fair lock leaves beside its file goes with it.
func TestRemovalLeavesNothingOfAFairLock(t *testing.T) {
	dir := setLockPath(t)
	opts := []lockutils.Option{lockutils.External(), lockutils.Fair()}
	g, err := lockutils.Lock("x", opts...)
	if err != nil && unsupported(t, err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, g)
	if err := lockutils.RemoveExternalLockFile("x"); err != nil || len(files(t, dir)) > 0 {
		t.Errorf("error %v, left %q", err, files(t, dir))
	}
	mustUnlock(t, mustLock(t, "x", opts...))
	if removed, err := lockutils.RemoveExternalLockFiles(0); removed != 1 || err != nil || len(files(t, dir)) > 0 {
		t.Errorf("%d removed, error %v, left %q", removed, err, files(t, dir))
	}
}

// TestSweepGoesOnAfterAFailure puts a directory where the queue of a lock would be, which removal cannot deal with.
func TestSweepGoesOnAfterAFailure(t *testing.T) {
	dir := setLockPath(t)
	if g, err := lockutils.Lock("a", lockutils.External(), lockutils.Fair()); err != nil && unsupported(t, err) {
		return // no queues, and no failure
	} else if err != nil {
		t.Fatal(err)
	} else {
		mustUnlock(t, g)
	}
	makeFiles(t, dir, 0, "b", "c")
	if err := os.Mkdir(filepath.Join(dir, "b.lockutils-queue"), 0o700); err != nil {
		t.Fatal(err)
	}
	removed, err := lockutils.RemoveExternalLockFiles(0)
	if removed != 2 || err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "b")) {
		t.Errorf("%d removed, error %v", removed, err)
	}
	if left := files(t, dir); !slices.Equal(left, []string{"b", "b.lockutils-queue"}) {
		t.Errorf("left %q", left)
	}
	wantFree(t, "b", lockutils.External())
}

// Goroutines and another process take locks while files are removed and swept: there is never more than one holder.
func TestRemovalIsSafeWhileOthersRun(t *testing.T) {
	dir := setLockPath(t)
	count := workplace(t, dir)
	other := startPeer(t)
	const rounds = 25
	var inside, overlaps atomic.Int32
	var removed atomic.Int64
	var workers, removers sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		workers.Go(func() {
			for range rounds {
				g, err := lockutils.Lock("x", lockutils.External())
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) > 1 {
					overlaps.Add(1)
				}
				if err := work(filepath.Join(dir, "work")); err != nil {
					t.Error(err)
				}
				inside.Add(-1)
				if err := g.Unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Go(func() {
		for range rounds {
			other.send("work", "x", dir, "external")
			if a := other.answer(); a.Error != "" {
				t.Error(a.Error)
				return
			}
		}
	})
	for i := range 2 {
		removers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if i == 0 {
					if err := lockutils.RemoveExternalLockFile("x"); err != nil && !errors.Is(err, lockutils.ErrLocked) {
						t.Error(err)
					}
				} else if n, err := lockutils.RemoveExternalLockFiles(0); err != nil {
					t.Error(err)
				} else {
					removed.Add(int64(n))
				}
				time.Sleep(50 * time.Microsecond)
			}
		})
	}
	workers.Wait()
	close(stop)
	removers.Wait()
	if overlaps.Load() > 0 || count() != fmt.Sprint(4*rounds) {
		t.Errorf("%d overlaps, %s of %d counted", overlaps.Load(), count(), 4*rounds)
	}
	t.Logf("swept %d times", removed.Load())
}
