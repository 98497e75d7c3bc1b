//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// blocking is the yardstick of waiting: the kernel wakes the waiter, and the wait cannot be
// cancelled.
const blocking = "flock(2)"

// systemPeers lists the locks of the operating system.
func systemPeers() []filePeer {
	return []filePeer{
		{
			name: blocking, note: "open, flock, unlock, close; blocking, cannot be cancelled",
			open: func(dir string) fileLock {
				path := filepath.Join(dir, lockName)
				return fileLock{pass: func(inside func()) error {
					fd, err := openLocked(path)
					if err != nil {
						return err
					}
					within(inside)
					return unlockClose(fd)
				}}
			},
		},
		{
			name: "flock(2) + inode check", note: "and whether the path still leads to the locked file (fstat, stat)",
			open: func(dir string) fileLock {
				path := filepath.Join(dir, lockName)
				return fileLock{pass: func(inside func()) error {
					fd, err := openLocked(path)
					if err != nil {
						return err
					}
					var locked, there unix.Stat_t
					if err := errors.Join(unix.Fstat(fd, &locked), unix.Stat(path, &there)); err != nil {
						return err
					}
					if locked.Dev != there.Dev || locked.Ino != there.Ino {
						panic("the lock file has been replaced")
					}
					within(inside)
					return unlockClose(fd)
				}}
			},
		},
		{
			name: "flock(2), kept open", note: "flock and unlock alone; never notices that the file was removed",
			open: func(dir string) fileLock {
				f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
				must(err)
				return fileLock{pass: func(inside func()) error {
					fd := int(f.Fd())
					if err := flockWait(fd); err != nil {
						return err
					}
					within(inside)
					defer runtime.KeepAlive(f)
					return unix.Flock(fd, unix.LOCK_UN)
				}}
			},
		},
	}
}

// openLocked opens the file, creating it if necessary, and locks it.
func openLocked(path string) (fd int, err error) {
	fd, err = unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if err := flockWait(fd); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// flockWait locks exclusively and repeats interrupted calls.
func flockWait(fd int) error {
	for {
		if err := unix.Flock(fd, unix.LOCK_EX); err != unix.EINTR {
			return os.NewSyscallError("flock", err)
		}
	}
}

// unlockClose unlocks before it closes: a child being started may share the descriptor.
func unlockClose(fd int) error {
	return errors.Join(unix.Flock(fd, unix.LOCK_UN), unix.Close(fd))
}
