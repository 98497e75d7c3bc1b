package filelock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRemoveLeavesWhatIsInUse(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		path := lockPath(t)
		if err := Remove(path); err != nil {
			t.Errorf("a missing file: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Remove has made the file: %v", err)
		}
		other := newPeer(t)
		for _, mode := range []Mode{Exclusive, Shared} {
			r := Request{Path: path, Mode: mode}
			h := mustLock(t, r)
			if err := Remove(path); !errors.Is(err, ErrLocked) {
				t.Errorf("removed under a holder: %v", err)
			}
			mustUnlock(t, h)
			other.must("lock", r)
			if err := Remove(path); !errors.Is(err, ErrLocked) {
				t.Errorf("removed under a holder in another process: %v", err)
			}
			other.must("unlock", r)
			if err := Remove(path); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the file is still there: %v", err)
			}
			mustGrant(t, r)
		}
	})
}

func TestRemoveWakesWaitersToANewFile(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		r := Request{Path: lockPath(t)}
		h := mustLock(t, r)
		other := newPeer(t)
		other.send("lock", r)
		if err := h.file.remove(); err != nil {
			t.Fatal(err)
		}
		h.path.turn.Release(Exclusive)
		paths.leave(h.path)
		if got := other.answer(); got != "ok" {
			t.Fatal(got)
		}
		mustRefuse(t, r)
		other.must("unlock", r)
	})
}

func TestRemoveIdleSparesWhatWasUsed(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		const hour = time.Hour
		ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
		for name, c := range map[string]struct {
			prepare   func(t *testing.T, r Request) // the file was last used two hours ago
			olderThan time.Duration
			want      bool
		}{
			"idle":       {func(*testing.T, Request) {}, hour, true},
			"not long":   {func(*testing.T, Request) {}, 3 * hour, false},
			"any age":    {mustGrantTo, 0, true},
			"locked now": {mustGrantTo, hour, false},
			"unlocked now": {func(t *testing.T, r Request) {
				h := mustLock(t, r)
				h.used.Store(ago(2 * hour).UnixNano())
				if err := os.Chtimes(r.Path, ago(2*hour), ago(2*hour)); err != nil {
					t.Fatal(err)
				}
				mustUnlock(t, h)
			}, hour, false},
			"held": {func(t *testing.T, r Request) {
				other := newPeer(t)
				other.must("lock", r)
				if err := os.Chtimes(r.Path, ago(2*hour), ago(2*hour)); err != nil {
					t.Fatal(err)
				}
			}, hour, false},
			"held, any age": {func(t *testing.T, r Request) { newPeer(t).must("lock", r) }, 0, false},
		} {
			t.Run(name, func(t *testing.T) {
				r := Request{Path: lockPath(t)}
				mustGrant(t, r)
				if err := os.Chtimes(r.Path, ago(2*hour), ago(2*hour)); err != nil {
					t.Fatal(err)
				}
				c.prepare(t, r)
				removed, err := removeIdle(r.Path, c.olderThan)
				if err != nil || removed != c.want {
					t.Errorf("removed: %v, %v", removed, err)
				}
				if _, err := os.Lstat(r.Path); errors.Is(err, os.ErrNotExist) != c.want {
					t.Errorf("the file: %v", err)
				}
			})
		}
	})
}

// removeIdle reports whether RemoveIdle has removed the file. It fails the test if CheckIdle says
// otherwise.
func removeIdle(path string, olderThan time.Duration) (bool, error) {
	foreseen, errForeseen := CheckIdle(path, olderThan)
	found, err := RemoveIdle(path, olderThan)
	if (errForeseen == nil || err == nil) && foreseen != found {
		err = errors.Join(err, fmt.Errorf("CheckIdle says %v, and RemoveIdle %v", foreseen, found))
	}
	return found == Idle && err == nil, err
}

func mustGrantTo(t *testing.T, r Request) { mustGrant(t, r) }

func TestRemoveIdleSparesWhatIsNoLockFile(t *testing.T) {
	dir := lockPath(t)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "missing")} {
		if removed, err := removeIdle(path, 0); removed || err != nil {
			t.Errorf("%s: %v, %v", path, removed, err)
		}
	}
}

func TestQueueFilesAreSwept(t *testing.T) {
	for _, name := range []string{"lock", strings.Repeat("ä", maxName/2)} {
		sweepQueueFile(t, Request{Path: filepath.Join(filepath.Dir(lockPath(t)), name), Fair: true})
	}
}

func sweepQueueFile(t *testing.T, r Request) {
	needs(t, r)
	queuePath := queueFileOf(r.Path)
	if removed, err := removeIdle(queuePath, 0); removed || err != nil {
		t.Errorf("removed before its lock file: %v, %v", removed, err)
	}
	if err := os.Remove(r.Path); err != nil {
		t.Fatal(err)
	}
	if removed, err := removeIdle(queuePath, time.Hour); removed || err != nil {
		t.Errorf("removed early: %v, %v", removed, err)
	}
	if removed, err := removeIdle(queuePath, 0); !removed || err != nil {
		t.Errorf("not removed: %v, %v", removed, err)
	}
	mustGrant(t, r)
	if removed, err := removeIdle(r.Path, 0); !removed || err != nil {
		t.Errorf("not removed: %v, %v", removed, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(r.Path)); len(entries) > 0 || err != nil {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestQueueFileNames(t *testing.T) {
	long := strings.Repeat("x", maxName)
	seen := map[string]bool{}
	names := []string{"a", "b", "a.lock", long, long[1:], long[:len(long)-len(queueFileSuffix)]}
	for _, suffix := range []string{queueFileSuffix, hashSuffix} {
		// the name that would have the queue file of another, if suffixes were alike
		names = append(names, strings.TrimSuffix(filepath.Base(queueFileOf(long)), suffix))
	}
	for _, name := range slices.Compact(names) {
		if IsQueueFile(name) {
			continue // which no lock may have
		}
		queuePath := filepath.Base(queueFileOf(filepath.Join("dir", name)))
		if seen[queuePath] || len(queuePath) > maxName || !IsQueueFile(queuePath) || IsQueueFile(name) {
			t.Errorf("%s has the queue file %s", name, queuePath)
		}
		seen[queuePath] = true
	}
}
