package filelock

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk returns the root of a file system with room for very few files.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "nr_inodes=4"); err != nil {
		t.Skip("cannot mount a small disk: ", err)
	}
	t.Cleanup(func() {
		CloseIdle()
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// unprivileged calls f without the superuser's right to open all files.
func unprivileged(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const nobody = 65534
	if _, err := unix.SetfsuidRetUid(nobody); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := unix.SetfsuidRetUid(0); err != nil {
			t.Error(err)
		}
	}()
	f()
}

func TestRemoteFileSystemsGetThePortableEngine(t *testing.T) {
	path := lockPath(t)
	mustGrant(t, Request{Path: path})
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	for _, remote := range []string{"NFS", ""} {
		setRemoteType(uint64(st.Dev), remote)
		CloseIdle()
		f, err := files.open(Request{Path: path}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		if _, portable := f.(*portableFile); portable != (remote != "") {
			t.Errorf("remote: %q, file: %T", remote, f)
		}
		f.close()
		for _, r := range []Request{{Path: path, Fcntl: true}, {Path: path, Fair: true}} {
			h, err := TryLock(r)
			if remote == "" {
				if err != nil {
					t.Fatal(err)
				}
				mustUnlock(t, h)
				continue
			}
			var unsupported *UnsupportedError
			if !errors.As(err, &unsupported) || unsupported.FileSystem != remote ||
				!errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%+v: %v", r, err)
			}
		}
	}
}

func setRemoteType(dev uint64, remote string) {
	remoteDevices.mu.Lock()
	defer remoteDevices.mu.Unlock()
	remoteDevices.byDevice[dev] = remote
}

func TestChildrenInheritNoDescriptor(t *testing.T) {
	r := Request{Path: lockPath(t), Fair: true}
	h := mustLock(t, r)
	out, err := exec.Command("ls", "-l", "/proc/self/fd").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), filepath.Dir(r.Path)) {
		t.Errorf("inherited:\n%s", out)
	}
	mustUnlock(t, h)
}
