//go:build unix

package filelock

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// This system's ways with files.
const (
	supportsModes    = true
	removesOpenFiles = true
)

func makePipe(path string) error { return syscall.Mkfifo(path, 0o600) }

// TestDescriptorsExhausted takes all descriptors away, sees the lock fail, gives them back and
// sees it granted.
func TestDescriptorsExhausted(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		r := Request{Path: lockPath(t)}
		var limit syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		few := limit
		few.Cur = 100
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
				t.Error(err)
			}
		}()
		kept := Request{Path: lockPath(t)}
		mustGrant(t, kept)
		mustGrant(t, kept) // leaves its descriptor open, where the engine does that
		var all []*os.File
		for {
			f, err := os.Open(os.DevNull)
			if errors.Is(err, syscall.EMFILE) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, f)
		}
		if files == engine(systemEngine{}) && runtime.GOOS == "linux" {
			mustGrant(t, r) // with the descriptor that was kept for another lock
			CloseIdle()
			f, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, f)
		}
		mustFail(t, r, syscall.EMFILE)
		for _, f := range all {
			_ = f.Close()
		}
		mustGrant(t, r)
	})
}

// TestFullDisk creates a lock file where there is no inode left.
func TestFullDisk(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		dir := smallDisk(t)
		r := Request{Path: filepath.Join(dir, "lock")}
		var filler string
		for i := 0; ; i++ {
			filler = filepath.Join(dir, strconv.Itoa(i))
			err := os.WriteFile(filler, nil, 0o600)
			if errors.Is(err, syscall.ENOSPC) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		mustFail(t, r, syscall.ENOSPC)
		if err := os.Remove(filepath.Join(dir, "0")); err != nil {
			t.Fatal(err)
		}
		mustGrant(t, r)
		// A full disk is no obstacle to what exists.
		if err := os.WriteFile(filler, nil, 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		CloseIdle()
		mustGrant(t, r)
	})
}

// TestForbiddenFile locks what this user may not open.
func TestForbiddenFile(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		r := Request{Path: lockPath(t)}
		dir := filepath.Dir(r.Path)
		mustGrant(t, r)
		CloseIdle()
		for path, mode := range map[string]os.FileMode{r.Path: 0, dir: 0o500} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		unprivileged(t, func() {
			for _, path := range []string{r.Path, filepath.Join(dir, "new"), filepath.Join(dir, "new", "lock")} {
				if h, err := TryLock(Request{Path: path}); !errors.Is(err, syscall.EACCES) {
					t.Errorf("%s: %v, %v", path, h, err)
				}
			}
		})
		for path, mode := range map[string]os.FileMode{r.Path: 0o600, dir: 0o700} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		mustGrant(t, r)
	})
}

func TestStoppedHolderKeepsItsLock(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		r := Request{Path: lockPath(t)}
		other := newPeer(t)
		other.must("lock", r)
		if err := other.cmd.Process.Signal(unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		cancelWait(t, r)
		mustRefuse(t, r)
		if err := other.cmd.Process.Signal(unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		other.must("unlock", r)
		mustUnlock(t, mustLock(t, r))
	})
}
