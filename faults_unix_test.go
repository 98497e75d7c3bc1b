//go:build unix

package lockutils_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/lockutils/lockutils"
)

func init() {
	specialFiles["a pipe"] = func(path string) error { return syscall.Mkfifo(path, 0o600) }
	specialFiles["a socket"] = func(path string) error {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false)
		return l.Close()
	}
}

// unprivileged makes a peer run as a user without any rights, as this process already does unless
// it is root's.
func unprivileged(t testing.TB) func(*exec.Cmd) {
	t.Helper()
	if !isRoot() {
		return func(*exec.Cmd) {}
	}
	// The test binary is where others may not look.
	program := filepath.Join(openDir(t), "peer")
	if err := copyFile(program, os.Args[0]); err != nil {
		t.Fatal(err)
	}
	return func(cmd *exec.Cmd) {
		cmd.Path, cmd.Dir = program, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
}

func isRoot() bool { return os.Getuid() == 0 }

// openDir returns a directory in which every user may look.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lockutils-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	chmod(t, dir, 0o755)
	return dir
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

func chmod(t testing.TB, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// wantFailure fails the test unless a is an *AcquireError that names lock, file and the system's
// reason.
func wantFailure(t testing.TB, reply peerReply, name, path string, reason syscall.Errno) {
	t.Helper()
	if !reply.Acquire || !reply.FileSystem || reply.Name != name || reply.Path != path ||
		reply.Errno != reason {
		t.Errorf("%+v, want an *AcquireError for %q and %q with %v", reply, name, path, reason)
	}
}

func TestForbiddenFilesAreErrors(t *testing.T) {
	user := unprivileged(t)
	dir := openDir(t)
	chmod(t, dir, 0o555)
	p := startPeer(t, user)

	// A directory without write permission.
	for _, options := range [][]string{{"external"}, {"external", "shared"}, {"external", "nonblocking"}} {
		wantFailure(t, p.do("lock", "x", dir, options...), "x", filepath.Join(dir, "x"), syscall.EACCES)
	}
	sub := filepath.Join(dir, "sub")
	wantFailure(t, p.do("lock", "x", sub, "external"), "x", filepath.Join(sub, "x"), syscall.EACCES)
	p.must("try", "x", dir) // nothing stays held of the internal layer
	chmod(t, dir, 0o777)
	p.must("try", "x", dir, "external")
	p.must("try", "x", sub, "external")

	// A file without read permission, which its owner can still not take away from those who hold
	// it.
	path := filepath.Join(dir, "theirs")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	chmod(t, path, 0)
	wantFailure(t, p.do("lock", "theirs", dir, "external"), "theirs", path, syscall.EACCES)
	chmod(t, path, 0o444)
	p.must("try", "theirs", dir, "external")
	if reply := p.do("lock", "theirs", dir, "external", "fcntl"); !reply.Unsupported {
		// An exclusive record lock needs the right to write.
		wantFailure(t, reply, "theirs", path, syscall.EACCES)
		p.must("try", "theirs", dir, "external", "fcntl", "shared")
	}
	p.must("lock", "theirs", dir, "external")
	chmod(t, path, 0)
	p.must("unlock", "theirs", dir)
	p = startPeer(t, user) // the other may still have the file open
	wantFailure(t, p.do("lock", "theirs", dir, "external"), "theirs", path, syscall.EACCES)
	chmod(t, path, 0o644)
	p.must("try", "theirs", dir, "external")

	if !isRoot() {
		return // for want of a second user
	}
	// A file may be somebody else's in a directory like /tmp.
	chmod(t, dir, 0o777|os.ModeSticky)
	p.must("try", "theirs", dir, "external")
	if reply := p.do("remove", "theirs", dir); reply.Errno != syscall.EPERM &&
		reply.Errno != syscall.EACCES {
		t.Errorf("removing somebody else's file: %+v", reply)
	}
	p.must("try", "theirs", dir, "external")
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}

	// A file that cannot be removed does not keep the sweep from the rest.
	p.must("try", "z", dir, "external")
	if reply := p.do("sweep", "", dir); reply.Swept != 2 || !reply.FileSystem ||
		reply.Errno != syscall.EPERM && reply.Errno != syscall.EACCES {
		t.Errorf("sweep of two files of one's own and one of somebody else's: %+v", reply)
	}
}

func TestDescriptorsUsedUpAreAnError(t *testing.T) {
	dir := lockDir(t)
	p := startPeer(t, func(cmd *exec.Cmd) {
		// The shell lowers the limit, which the runtime of the test binary would raise to the
		// hard one.
		cmd.Args = []string{"sh", "-c", "ulimit -n 64 && exec " + os.Args[0]}
		cmd.Path = "/bin/sh"
	})
	for range 2 {
		p.must("exhaust", "", dir)
		wantFailure(t, p.do("lock", "x", dir, "external"), "x", filepath.Join(dir, "x"), syscall.EMFILE)
		wantFailure(t, p.do("lock", "x", dir, "external", "shared"), "x", filepath.Join(dir, "x"),
			syscall.EMFILE)
		p.must("try", "x", dir) // nothing stays held of the internal layer
		p.must("close", "", dir)
		p.must("try", "x", dir, "external")
		p.must("try", "y", dir, "external")
		if err := os.Remove(filepath.Join(dir, "x")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDescriptorsDoNotReachOtherPrograms(t *testing.T) {
	dir := setLockPath(t)
	mustLock(t, "x", lockutils.External())
	mustLock(t, "y", lockutils.External(), lockutils.Shared())
	if g, err := lockutils.Lock("z", lockutils.External(), lockutils.Fair(), lockutils.WithFcntl()); err == nil {
		defer g.Unlock()
	}
	output, err := exec.Command("sh", "-c", "ls -l /proc/self/fd /dev/fd/ 2>/dev/null").CombinedOutput()
	if bytes.Contains(output, []byte(dir)) {
		t.Errorf("a command has open %s (%v)", output, err)
	}
}

func TestTwoWaysToOneDirectoryLeadToOneLock(t *testing.T) {
	dir := setLockPath(t)
	link := filepath.Join(lockDir(t), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	g := mustLock(t, "x", lockutils.External())
	l := lockutils.NewInterProcessLock(filepath.Join(link, "x"))
	for _, try := range []func() (bool, error){l.TryLock, l.TryRLock} {
		if got, err := try(); got || err != nil {
			t.Errorf("%v, %v", got, err)
		}
	}
	wantError(t, lockutils.RemoveExternalLockFile("x", lockutils.WithLockPath(link)), lockutils.ErrLocked)
	mustUnlock(t, g)
	wantFree(t, "x", lockutils.External(), lockutils.WithLockPath(link))
}

// Changes to the file behind the library's back cost a waiter nothing but a new start.
func TestWaitGoesOnThoughTheFileIsLost(t *testing.T) {
	for name, lose := range map[string]func(dir string) error{
		"removed": func(dir string) error { return os.Remove(filepath.Join(dir, "x")) },
		"renamed": func(dir string) error { return os.Rename(filepath.Join(dir, "x"), filepath.Join(dir, "y")) },
		"directory removed": func(dir string) error {
			// At its place a waiter may make it and the file anew, and hold the lock, at any time.
			return errors.Join(os.Rename(dir, dir+".old"), os.RemoveAll(dir+".old"))
		},
		"replaced": func(dir string) error {
			path := filepath.Join(dir, "new")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				return err
			}
			return os.Rename(path, filepath.Join(dir, "x"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(lockDir(t), "locks")
			opts := []lockutils.Option{lockutils.External(), lockutils.WithLockPath(dir)}
			other := startPeer(t)
			other.must("lock", "x", dir, "external")
			var waiters sync.WaitGroup
			inside := 0 // guarded by the lock
			for range 3 {
				waiters.Go(func() {
					g, err := lockutils.Lock("x", opts...)
					if err != nil {
						t.Error(err)
						return
					}
					inside++
					if _, err := os.Lstat(g.Path()); err != nil {
						t.Error("the lock is held with no file:", err)
					}
					if err := g.Unlock(); err != nil {
						t.Error(err)
					}
				})
			}
			if err := lose(dir); err != nil {
				t.Fatal(err)
			}
			other.must("unlock", "x", dir)
			finish(t, &waiters)
			if inside != 3 {
				t.Errorf("%d of three have been inside", inside)
			}
		})
	}
}

func TestDeadHolderHoldsNothing(t *testing.T) {
	dir := setLockPath(t)
	for _, options := range [][]string{{"external"}, {"external", "shared"}, {"external", "fair"},
		{"external", "fcntl"}} {
		other := startPeer(t)
		if reply := other.do("lock", "x", dir, options...); reply.Unsupported {
			continue
		} else if reply.Error != "" {
			t.Fatal(reply.Error)
		}
		var waiter sync.WaitGroup
		last := namedOptions[options[len(options)-1]]
		waiter.Go(func() { mustUnlock(t, mustLock(t, "x", last, lockutils.External())) })
		other.kill() // as SIGKILL does
		finish(t, &waiter)
		mustUnlock(t, mustLock(t, "x", lockutils.External()))
	}
}
