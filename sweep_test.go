package lockutils_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

// sweep returns how many files SweepExternalLockFiles has removed.
func sweep(olderThan time.Duration, opts ...lockutils.Option) (int, error) {
	result, err := lockutils.SweepExternalLockFiles(olderThan, opts...)
	return len(result.Removed), err
}

// wantSweep fails the test unless the sweep gives these results, as names in dir.
func wantSweep(
	t *testing.T, dir string, age time.Duration, removed, inUse, notEmpty string, opts ...lockutils.Option,
) {
	t.Helper()
	result, err := lockutils.SweepExternalLockFiles(age, opts...)
	if err != nil {
		t.Error(err)
	}
	for _, list := range []struct {
		what, want string
		got        []string
	}{{"removed", removed, result.Removed}, {"in use", inUse, result.InUse}, {"not empty", notEmpty,
		result.NotEmpty}} {
		var want []string
		for _, name := range strings.Fields(list.want) {
			want = append(want, filepath.Join(dir, name))
		}
		if !slices.Equal(list.got, want) {
			t.Errorf("%s: %q, want %q", list.what, list.got, want)
		}
	}
}

// Data that somebody keeps in the lock path is no lock file.
func TestSweepLeavesWhatIsNotEmpty(t *testing.T) {
	dir := setLockPath(t)
	makeFiles(t, dir, time.Hour, "a", "database", "p-data", "x", "y.lockutils-queue")
	for _, name := range []string{"database", "p-data", "x.lockutils-queue", "y.lockutils-queue"} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 100_000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantSweep(t, dir, 0, "", "", "p-data", lockutils.WithPrefix("p"))
	wantSweep(t, dir, time.Minute, "a", "", "database p-data x x.lockutils-queue y.lockutils-queue")
	wantSweep(t, dir, 0, "", "", "database p-data x x.lockutils-queue y.lockutils-queue")
	if left := files(t, dir); len(left) != 5 {
		t.Errorf("left %q", left)
	}
}

func TestDryRunRemovesNothingAndSaysWhatWouldGo(t *testing.T) {
	dir := setLockPath(t)
	makeFiles(t, dir, time.Hour, "data", "held", "old", "orphan.lockutils-queue", "p-old", "record")
	makeFiles(t, dir, 0, "new")
	if err := os.WriteFile(filepath.Join(dir, "data"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	held := mustLock(t, "held", lockutils.External())
	makeFiles(t, dir, time.Hour, "held") // as if it had been held since
	wantSweep(t, dir, time.Minute, "old orphan.lockutils-queue p-old record", "held", "data",
		lockutils.DryRun())
	wantSweep(t, dir, time.Minute, "p-old", "", "", lockutils.DryRun(), lockutils.WithPrefix("p"))
	if left := files(t, dir); !slices.Equal(left, before) {
		t.Errorf("left %q", left)
	}
	for _, name := range []string{"old", "p-old"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || time.Since(info.ModTime()) < time.Minute {
			t.Errorf("%s counts as used: %v", name, err)
		}
		wantFree(t, name, lockutils.External())
	}
	mustUnlock(t, held)
}

func TestMatchingKeepsTheSweepToNames(t *testing.T) {
	dir := setLockPath(t)
	makeFiles(t, dir, 0, "job_1", "other", "p-job_1", "p-job_2")
	if f, err := os.Create(filepath.Join(dir, "p-job_3.lockutils-queue")); err != nil {
		t.Fatal(err)
	} else if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var asked []string
	matching := func(name string) bool {
		asked = append(asked, name)
		return name == "job_1" || name == "job_3"
	}
	wantSweep(t, dir, 0, "p-job_1 p-job_3.lockutils-queue", "", "",
		lockutils.WithPrefix("p"), lockutils.Matching(matching))
	if want := []string{"job_1", "job_2", "job_3"}; !slices.Equal(asked, want) {
		t.Errorf("asked about %q, want %q", asked, want)
	}
	wantSweep(t, dir, 0, "job_1", "", "", lockutils.Matching(matching))
	wantSweep(t, dir, 0, "other p-job_2", "", "", lockutils.Matching(nil))
}

func TestOptionsOfTheSweepAreForNoOtherCall(t *testing.T) {
	setLockPath(t)
	for _, o := range []lockutils.Option{lockutils.DryRun(),
		lockutils.Matching(func(string) bool { return true })} {
		_, err := lockutils.Lock("x", o)
		wantError(t, err, lockutils.ErrOptions)
		wantError(t, lockutils.NewInterProcessLock(filepath.Join(t.TempDir(), "x"), o).Lock(),
			lockutils.ErrOptions)
		wantError(t, lockutils.RemoveExternalLockFile("x", o), lockutils.ErrOptions)
		_, err = lockutils.Holders("x", o)
		wantError(t, err, lockutils.ErrOptions)
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
		{time.Minute, []lockutils.Option{lockutils.WithPrefix("p")}, 1,
			[]string{"held", "new", "old", "p-directory", "p-held", "p-new"}},
		{time.Minute, nil, 1, []string{"held", "new", "p-directory", "p-held", "p-new"}},
		{0, []lockutils.Option{lockutils.WithPrefix("p-")}, 1, []string{"held", "new", "p-directory", "p-held"}},
		{0, []lockutils.Option{lockutils.WithPrefix("q")}, 0, []string{"held", "new", "p-directory", "p-held"}},
		{0, nil, 1, []string{"held", "p-directory", "p-held"}},
	} {
		removed, err := sweep(test.age, test.opts...)
		if left := files(t, dir); removed != test.removed || err != nil || !slices.Equal(left, test.left) {
			t.Errorf("older than %v: %d removed, error %v, left %q; want %d and %q", test.age,
				removed, err, left, test.removed, test.left)
		}
	}
	mustUnlock(t, held)
	other.must("unlock", "p-held", dir)
	if removed, err := sweep(0, lockutils.WithLockPath(filepath.Join(dir, "missing"))); removed != 0 ||
		err != nil {
		t.Errorf("missing directory: %d, %v", removed, err)
	}
	_, err := sweep(-1)
	wantError(t, err, lockutils.ErrOptions)
	_, err = sweep(0, lockutils.WithDelay(-1))
	wantError(t, err, lockutils.ErrOptions)
	if removed, err := sweep(0); removed != 2 || err != nil {
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
		removed, err := sweep(time.Minute)
		if removed != 0 || err != nil {
			t.Errorf("%d, %v: a lock just used counts as not used for a minute", removed, err)
		}
	}
}

// TestSweepGoesOnAfterAFailure puts a directory where the queue of a lock would be, which removal
// cannot deal with.
func TestSweepGoesOnAfterAFailure(t *testing.T) {
	dir := setLockPath(t)
	if g, err := lockutils.Lock("a", lockutils.External(), lockutils.Fair()); err != nil &&
		unsupported(t, err) {
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
	removed, err := sweep(0)
	if removed != 2 || err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "b")) {
		t.Errorf("%d removed, error %v", removed, err)
	}
	if left := files(t, dir); !slices.Equal(left, []string{"b", "b.lockutils-queue"}) {
		t.Errorf("left %q", left)
	}
	wantFree(t, "b", lockutils.External())
}
