package filelock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// parts maps names in /proc to those of the files that are found there. The thread that calls has
// mounts of its own, so what others find in "self" it finds in "thread-self".
type parts map[string]string

// withProc calls f on a thread of its own that sees only these parts of /proc, as in a container
// or with hidden processes.
func withProc(t *testing.T, visible parts, f func()) {
	t.Helper()
	dir := t.TempDir()
	onThread(t, f, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		if err := unix.Mount("/proc", dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
		if err := unix.Mount("none", "/proc", "tmpfs", 0, ""); err != nil {
			return err
		}
		for name, target := range visible {
			path := filepath.Join("/proc", name)
			err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(filepath.Join(dir, target), path))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// TestHoldersNeedsProc hides parts of /proc. Holders must not say then that nobody holds the lock.
func TestHoldersNeedsProc(t *testing.T) {
	descriptors := parts{"self/fdinfo": "thread-self/fdinfo"}
	mounts := parts{"self/fdinfo": "thread-self/fdinfo", "self/mountinfo": "thread-self/mountinfo"}
	others := parts{"self/fdinfo": "thread-self/fdinfo", "self/mountinfo": "self/mountinfo", "locks": "locks"}
	for name, c := range map[string]struct {
		visible parts
		want    error
	}{
		"nothing":                   {nil, fs.ErrNotExist},
		"descriptors":               {descriptors, fs.ErrNotExist},
		"descriptors and mounts":    {mounts, fs.ErrNotExist},
		"mounts of somebody else's": {others, errors.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			r := Request{Path: lockPath(t)}
			h := mustLock(t, r)
			defer mustUnlock(t, h)
			withProc(t, c.visible, func() {
				if holders, err := Holders(r.Path); !errors.Is(err, c.want) {
					t.Errorf("%v, %v", holders, err)
				}
			})
		})
	}
}

// TestHoldersOfHiddenProcesses lets the processes be hidden, but not their locks. Of a flock the
// kernel's table tells the process, of a record lock only that there is one.
func TestHoldersOfHiddenProcesses(t *testing.T) {
	visible := parts{"self/fdinfo": "thread-self/fdinfo", "self/mountinfo": "thread-self/mountinfo",
		"locks": "locks"}
	path := lockPath(t)
	other := newPeer(t)
	for _, c := range []struct {
		lock func(t *testing.T) (unlock func())
		want Holder
	}{
		{func(t *testing.T) func() {
			other.must("lock", Request{Path: path, Mode: Shared})
			return func() { other.must("unlock", Request{Path: path}) }
		}, Holder{PID: other.cmd.Process.Pid, Mode: Shared}},
		{func(t *testing.T) func() { return lockRecords(t, path) }, Holder{PID: UnknownPID}},
	} {
		unlock := c.lock(t)
		withProc(t, visible, func() {
			holders, err := Holders(path)
			if err != nil || len(holders) != 1 || holders[0] != c.want {
				t.Errorf("%+v, %v instead of %+v", holders, err, c.want)
			}
		})
		unlock()
	}
}

func TestHoldersOfWhatCannotBeLookedUp(t *testing.T) {
	d := newLinkedDirectory(t)
	r := Request{Path: filepath.Join(d.link, "lock")}
	h := mustLock(t, r)
	d.breakLink()
	holders, err := Holders(r.Path)
	if holders != nil {
		t.Errorf("%v", holders)
	}
	mustBeAbout(t, err, r, syscall.ELOOP)
	d.repair()
	mustBeHeldBy(t, r.Path, Exclusive, os.Getpid())
	mustUnlock(t, h)
}
