//go:build !linux

package filelock

import "errors"

// systemEngine is the portable one.
type systemEngine = portableEngine

// removeQueueFile has nothing to remove, since nobody queues on this system.
func removeQueueFile(string) error { return nil }

// Holders needs a system that publishes its table of locks.
func Holders(path string) ([]Holder, error) {
	return nil, pathError("holders", path, errors.ErrUnsupported)
}
