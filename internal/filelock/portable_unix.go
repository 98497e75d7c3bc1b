//go:build !windows

package filelock

import (
	"errors"
	"os"
	"syscall"
)

const noFollow = syscall.O_NOFOLLOW

// removeHeld unlinks first, so that whoever gets the lock next sees that the path no longer leads
// to its file.
func (f *portableFile) removeHeld() error {
	return errors.Join(os.Remove(f.path), f.unlock())
}
