//go:build !linux

package filelock

import (
	"errors"
	"io/fs"
	"os"
)

// systemEngine is the portable one.
type systemEngine = portableEngine

// descriptorLimit says that the limit is unknown.
func descriptorLimit() uint64 { return 0 }

// removeQueueFile removes what another system may have left, since nobody queues on this one.
func removeQueueFile(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func checkQueueFile(string) error { return nil }

// Holders needs a system that publishes its table of locks.
func Holders(path string) ([]Holder, error) {
	return nil, pathError("holders", path, errors.ErrUnsupported)
}

// UsersOf needs the same.
func UsersOf([]string) ([]Users, error) { return nil, errors.ErrUnsupported }
