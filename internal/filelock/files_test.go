package filelock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
)

// mustFail fails the test unless r meets with a *fs.PathError that names the lock file's path or
// a part of it, and matches want if that is not nil.
func mustFail(t *testing.T, r Request, want error) {
	t.Helper()
	for _, attempt := range []func(Request) (*Hold, error){
		TryLock,
		func(r Request) (*Hold, error) { return Lock(t.Context(), r) },
	} {
		h, err := attempt(r)
		var pathError *fs.PathError
		if !errors.As(err, &pathError) || want != nil && !errors.Is(err, want) {
			t.Fatalf("%v, %v instead of %v", h, err, want)
		}
		if rel, err := filepath.Rel(pathError.Path, r.Path); err != nil || rel == ".." {
			t.Errorf("the error is about %s", pathError.Path)
		}
	}
}

func TestWhatIsNoLockFileIsRefused(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			put  func(path string) error
			want error
		}{
			"a directory": {func(path string) error { return os.Mkdir(path, 0o755) }, errNotRegular},
			"a link to a file": {func(path string) error {
				return errors.Join(os.WriteFile(path+".target", nil, 0o600), os.Symlink(path+".target", path))
			}, syscall.ELOOP},
			"a link to nothing": {func(path string) error { return os.Symlink(path+".missing", path) }, syscall.ELOOP},
			"a pipe":            {makePipe, errNotRegular},
		} {
			t.Run(name, func(t *testing.T) {
				r := Request{Path: lockPath(t)}
				if err := c.put(r.Path); err != nil {
					t.Skip(err)
				}
				mustFail(t, r, c.want)
				if err := os.RemoveAll(r.Path); err != nil {
					t.Fatal(err)
				}
				mustGrant(t, r)
			})
		}
	})
}

func TestDirectoryThatIsAFile(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		dir := lockPath(t)
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r := Request{Path: filepath.Join(dir, "lock")}
		mustFail(t, r, nil)
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		mustGrant(t, r)
	})
}

func TestMissingDirectoryIsMade(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		dir := lockPath(t)
		mustGrant(t, Request{Path: filepath.Join(dir, "deeper", "lock")})
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o022 != 0 {
			t.Errorf("%v, %v", info, err)
		}
	})
}

func TestFileIsCreatedWithPerm(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		for _, c := range []struct{ perm, want fs.FileMode }{{0, 0o600}, {0o640, 0o640}, {0o400, 0o400}} {
			path := lockPath(t)
			mustGrant(t, Request{Path: path, Perm: c.perm})
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if supportsModes && info.Mode() != c.want {
				t.Errorf("perm %v: %v", c.perm, info.Mode())
			}
		}
	})
}

func TestContentStays(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		path := lockPath(t)
		const content = "somebody's notes"
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		mustGrant(t, Request{Path: path})
		mustGrant(t, Request{Path: path, Mode: Shared})
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// TestLockFollowsThePath locks, lets the file be taken away in several ways, and checks that the
// next lock is on the file that the path leads to.
func TestLockFollowsThePath(t *testing.T) {
	if !removesOpenFiles {
		t.Skip("this system removes no open files")
	}
	eachEngine(t, func(t *testing.T) {
		for name, takeAway := range map[string]func(path string) error{
			"removed": os.Remove,
			"renamed": func(path string) error { return os.Rename(path, path+".old") },
			"directory removed": func(path string) error {
				dir := filepath.Dir(path) // whose files a waiter makes again at any time
				return errors.Join(os.Rename(dir, dir+".old"), os.RemoveAll(dir+".old"))
			},
			"replaced": func(path string) error {
				return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
			},
			"replaced by a link to itself": func(path string) error {
				return errors.Join(os.Rename(path, path+".old"), os.Symlink(path+".old", path))
			},
		} {
			t.Run(name, func(t *testing.T) {
				for _, mode := range []Mode{Exclusive, Shared} {
					r := Request{Path: filepath.Join(lockPath(t), "lock"), Mode: mode}
					// While the descriptor is kept for the next.
					mustGrant(t, r)
					mustGrant(t, r)
					if err := takeAway(r.Path); err != nil {
						t.Fatal(err)
					}
					if name == "replaced by a link to itself" {
						mustFail(t, r, syscall.ELOOP)
						continue
					}
					mustLeadTo(t, r)
					// While others wait for it.
					other := newPeer(t)
					other.must("lock", Request{Path: r.Path})
					var waiter errgroup.Group
					var h *Hold
					waiter.Go(func() (err error) {
						h, err = Lock(t.Context(), r)
						return err
					})
					awaitWaiters(t, r, 1)
					if err := takeAway(r.Path); err != nil {
						t.Fatal(err)
					}
					other.must("unlock", Request{Path: r.Path})
					if err := waiter.Wait(); err != nil {
						t.Fatal(err)
					}
					other.send("trylock", Request{Path: r.Path})
					if got := other.answer(); got != ErrLocked.Error() {
						t.Errorf("another process got the lock on the new file too: %s", got)
					}
					mustUnlock(t, h)
				}
			})
		}
	})
}

// mustLeadTo locks r and fails the test unless another process finds it locked by the path.
func mustLeadTo(t *testing.T, r Request) {
	t.Helper()
	h := mustLock(t, r)
	other := newPeer(t)
	defer other.kill()
	other.send("trylock", Request{Path: r.Path})
	if got := other.answer(); got != ErrLocked.Error() {
		t.Errorf("another process got the lock: %s", got)
	}
	mustUnlock(t, h)
}

func TestReadersJoinOnlyTheFileOfThePath(t *testing.T) {
	if !removesOpenFiles {
		t.Skip("this system removes no open files")
	}
	eachEngine(t, func(t *testing.T) {
		r := Request{Path: lockPath(t), Mode: Shared}
		first := mustLock(t, r)
		if err := os.Remove(r.Path); err != nil {
			t.Fatal(err)
		}
		second := mustLock(t, r)
		mustUnlock(t, first)
		mustRefuse(t, Request{Path: r.Path})
		mustUnlock(t, second)
		mustGrant(t, Request{Path: r.Path})
	})
}
