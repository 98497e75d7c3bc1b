package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// noFollow is no flag here: prepare looks for links before the file is opened, and current after
// it is locked.
const noFollow = 0

// removeHeld unlocks first: this system removes no file that is open. For the same reason the
// file cannot vanish under somebody who has opened it meanwhile.
func (f *portableFile) removeHeld() error {
	if err := f.unlock(); err != nil {
		return err
	}
	err := os.Remove(f.path)
	if errors.Is(err, windows.ERROR_SHARING_VIOLATION) {
		return ErrLocked
	}
	return err
}
