//go:build unix

package filelock

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// linkedDirectory is a directory that lock files are reached in through a symbolic link.
type linkedDirectory struct {
	t    *testing.T
	link string
	real string
}

func newLinkedDirectory(t *testing.T) linkedDirectory {
	t.Helper()
	link := lockPath(t)
	d := linkedDirectory{t, link, link + ".real"}
	if err := os.Mkdir(d.real, 0o755); err != nil {
		t.Fatal(err)
	}
	d.repair()
	return d
}

// relink lets the link lead elsewhere. There is a link at any time, so nobody gets to make a
// directory in its place.
func (d linkedDirectory) relink(to string) {
	d.t.Helper()
	if err := errors.Join(os.Symlink(to, d.link+".new"), os.Rename(d.link+".new", d.link)); err != nil {
		d.t.Fatal(err)
	}
}

// breakLink lets the link lead to itself: nothing in the directory can be looked up.
func (d linkedDirectory) breakLink() { d.t.Helper(); d.relink(d.link) }

func (d linkedDirectory) repair() { d.t.Helper(); d.relink(d.real) }

// mustBeFree fails the test unless another process gets the lock of r at once.
func mustBeFree(t *testing.T, r Request) {
	t.Helper()
	other := newPeer(t)
	defer other.kill()
	other.must("trylock", r)
	other.must("unlock", r)
}

// requestsOf lists requests of all kinds that the engine in use serves, for the lock at path.
func requestsOf(path string) (requests []Request) {
	for _, r := range []Request{
		{}, {Mode: Shared}, {Fair: true}, {Fair: true, Mode: Shared}, {Fcntl: true}, {Fcntl: true, Fair: true},
	} {
		r.Path = path
		f, err := files.open(r.withDefaults())
		if errors.Is(err, errors.ErrUnsupported) {
			continue
		}
		if err == nil {
			f.close()
		}
		requests = append(requests, r)
	}
	return requests
}

// TestPathThatCannotBeFollowed lets the lookup of a lock file fail while its descriptor is kept
// for the next, while readers hold it, and while others wait for it.
func TestPathThatCannotBeFollowed(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		d := newLinkedDirectory(t)
		for _, r := range requestsOf(filepath.Join(d.link, "lock")) {
			mustGrant(t, r)
			mustGrant(t, r)
			d.breakLink()
			mustFail(t, r, syscall.ELOOP)
			d.repair()
			mustGrant(t, r)

			h := mustLock(t, r)
			d.breakLink()
			if r.Mode == Shared {
				mustFail(t, r, syscall.ELOOP)
			}
			mustUnlock(t, h)
			d.repair()
			mustGrant(t, r)

			other := newPeer(t)
			other.must("lock", Request{Path: r.Path})
			failed := waitForErrors(t, r, 2)
			d.breakLink()
			other.must("unlock", Request{Path: r.Path})
			for range 2 {
				mustBeAbout(t, <-failed, r, syscall.ELOOP)
			}
			d.repair()
			mustBeFree(t, r)
			mustGrant(t, r)
		}
	})
}

// waitForErrors lets n goroutines wait for r, and returns the channel on which their errors come.
func waitForErrors(t *testing.T, r Request, n int) <-chan error {
	t.Helper()
	failed := make(chan error, n)
	for range n {
		go func() {
			h, err := Lock(t.Context(), r)
			if err == nil {
				err = h.Unlock()
			}
			failed <- err
		}()
	}
	awaitWaiters(t, r, n)
	return failed
}

// mustBeAbout fails the test unless err is a *fs.PathError that names the lock file of r or its
// queue file, and matches want if that is not nil.
func mustBeAbout(t *testing.T, err error, r Request, want error) {
	t.Helper()
	var pathError *fs.PathError
	if !errors.As(err, &pathError) || want != nil && !errors.Is(err, want) {
		t.Fatalf("%+v: %v instead of %v", r, err, want)
	}
	if pathError.Path != r.Path && pathError.Path != queueFileOf(r.Path) {
		t.Errorf("the error is about %s", pathError.Path)
	}
}

// TestWaitersLearnThatTheirFileIsNoLockFileAnyMore puts something else in the place of a lock
// file that others wait for.
func TestWaitersLearnThatTheirFileIsNoLockFileAnyMore(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			put  func(path string) error
			want error
		}{
			// The kernel may refuse a directory itself.
			"a directory": {func(path string) error { return os.Mkdir(path, 0o755) }, nil},
			"a link":      {func(path string) error { return os.Symlink("nowhere", path) }, syscall.ELOOP},
			"a pipe":      {makePipe, errNotRegular},
		} {
			t.Run(name, func(t *testing.T) {
				d := newLinkedDirectory(t)
				other := d.real + ".other"
				if err := errors.Join(os.Mkdir(other, 0o755), c.put(filepath.Join(other, "lock"))); err != nil {
					t.Fatal(err)
				}
				for _, r := range requestsOf(filepath.Join(d.link, "lock")) {
					holder := newPeer(t)
					holder.must("lock", Request{Path: r.Path})
					failed := waitForErrors(t, r, 2)
					d.relink(other)
					holder.must("unlock", Request{Path: r.Path})
					for range 2 {
						mustBeAbout(t, <-failed, r, c.want)
					}
					d.repair()
					mustGrant(t, r)
					mustBeFree(t, r)
				}
			})
		}
	})
}

func TestDirectoryThatCannotBeMade(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			dir  func(base string) (string, error)
			want error // nil where engines tell it in different ways
		}{
			"a link to nothing": {func(base string) (string, error) {
				return base + ".link", os.Symlink(base, base+".link")
			}, syscall.EEXIST},
			"beside one that is missing": {func(base string) (string, error) { return base + "/..", nil }, nil},
		} {
			t.Run(name, func(t *testing.T) {
				base := lockPath(t)
				dir, err := c.dir(base)
				if err != nil {
					t.Fatal(err)
				}
				r := Request{Path: dir + "/other"}
				mustFail(t, r, c.want)
				if err := os.Mkdir(base, 0o755); err != nil {
					t.Fatal(err)
				}
				mustGrant(t, r)
			})
		}
	})
}

func TestUnreadableFile(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		r := Request{Path: lockPath(t)}
		mustGrant(t, r)
		CloseIdle()
		if err := os.Chmod(r.Path, 0); err != nil {
			t.Fatal(err)
		}
		unprivileged(t, func() {
			_, err := TryLock(r)
			mustBeAbout(t, err, r, syscall.EACCES)
		})
		if err := os.Chmod(r.Path, 0o600); err != nil {
			t.Fatal(err)
		}
		mustGrant(t, r)
	})
}

// TestFileBelowAFileCannotBeRemoved tells a path that makes no sense from one whose file is
// missing.
func TestFileBelowAFileCannotBeRemoved(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		dir := lockPath(t)
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r := Request{Path: filepath.Join(dir, "lock")}
		mustBeAbout(t, Remove(r.Path), r, syscall.ENOTDIR)
		removed, err := removeIdle(r.Path, 0)
		if removed {
			t.Error("removed")
		}
		mustBeAbout(t, err, r, syscall.ENOTDIR)
	})
}

// restless is an engine for a path that leads to another file at each look.
type restless struct{ engine }

type restlessFile struct{ lockFile }

func (e restless) open(r Request) (lockFile, error) {
	f, err := e.engine.open(r)
	return restlessFile{f}, err
}

func (restlessFile) current() (bool, time.Time, error) { return false, time.Time{}, nil }

// TestPathThatNeverSettlesIsAnError locks where each file locked has been replaced by another: it
// fails, but not without end.
func TestPathThatNeverSettlesIsAnError(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		settled := files
		for _, mode := range []Mode{Exclusive, Shared} {
			r := Request{Path: lockPath(t), Mode: mode}
			useEngine(t, restless{settled})
			mustFail(t, r, errUnstable)
			other := newPeer(t)
			other.must("lock", Request{Path: r.Path})
			failed := waitForErrors(t, r, 2)
			other.must("unlock", Request{Path: r.Path})
			for range 2 {
				mustBeAbout(t, <-failed, r, errUnstable)
			}
			other.must("trylock", Request{Path: r.Path})
			other.must("unlock", Request{Path: r.Path})
			useEngine(t, settled)
			mustGrant(t, r)
		}
	})
}

func TestPortableEngineRefusesWhatItCannotDo(t *testing.T) {
	useEngine(t, portableEngine{})
	for _, r := range []Request{{Fcntl: true}, {Fair: true}} {
		r.Path = lockPath(t)
		mustFail(t, r, errors.ErrUnsupported)
		if _, err := os.Lstat(r.Path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the refusal has made the file: %v", err)
		}
	}
}

// TestFileUsedMeanwhileStays lets a file be used after the look at its age and before the removal
// locks it.
func TestFileUsedMeanwhileStays(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		r := Request{Path: lockPath(t)}
		mustGrant(t, r)
		found, err := sweep{olderThan: time.Hour}.idleFile(r.Path)
		if found != Kept || err != nil {
			t.Errorf("found: %v, %v", found, err)
		}
		if _, err := os.Lstat(r.Path); err != nil {
			t.Error(err)
		}
		newPeer(t).must("trylock", r)
	})
}

// TestUncancellableWaiterFailsForThoseWhoJoin lets a wait that cannot be cancelled fail for all
// who joined it.
func TestUncancellableWaiterFailsForThoseWhoJoin(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		d := newLinkedDirectory(t)
		r := Request{Path: filepath.Join(d.link, "lock")}
		other := newPeer(t)
		other.must("lock", r)
		failed := make(chan error, 1)
		go func() {
			_, err := Lock(context.Background(), r)
			failed <- err
		}()
		awaitWaiters(t, r, 1)
		joined := make(chan error, 1)
		go func() {
			_, err := Lock(t.Context(), r)
			joined <- err
		}()
		awaitWaiters(t, r, 2)
		d.breakLink()
		other.must("unlock", r)
		mustBeAbout(t, <-failed, r, syscall.ELOOP)
		mustBeAbout(t, <-joined, r, syscall.ELOOP)
		d.repair()
		mustGrant(t, r)
	})
}
