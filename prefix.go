package lockutils

import (
	"context"
	"slices"
)

// A project usually defines its locks once, with its prefix and whatever else it wants by default, and uses nothing
// else:
//
//	var (
//		Lock         = lockutils.LockWithPrefix("nova")
//		Synchronized = lockutils.SynchronizedWithPrefix("nova")
//		LockCleanup  = lockutils.RemoveExternalLockFileWithPrefix("nova")
//	)

// A LockFunc is [Lock] within a project.
type LockFunc func(name string, opts ...Option) (Guard, error)

// A SynchronizedFunc is [Synchronized] within a project.
type SynchronizedFunc func(name string, fn func() error, opts ...Option) func() error

// A CleanupFunc is [RemoveExternalLockFile] within a project.
type CleanupFunc func(name string, opts ...Option) error

// LockWithPrefix returns [Lock] with [WithPrefix] and the default options given; options of a call come after them.
func LockWithPrefix(prefix string, defaults ...Option) LockFunc {
	base := settings{prefix: prefix}
	base.apply(defaults)
	return func(name string, opts ...Option) (Guard, error) {
		s := base
		s.apply(opts)
		return acquire(context.Background(), name, "", &s)
	}
}

// SynchronizedWithPrefix returns [Synchronized] with [WithPrefix] and the default options given; options of a call come
// after them.
func SynchronizedWithPrefix(prefix string, defaults ...Option) SynchronizedFunc {
	return func(name string, fn func() error, opts ...Option) func() error {
		return Synchronized(name, fn, within(prefix, defaults, opts)...)
	}
}

// RemoveExternalLockFileWithPrefix returns [RemoveExternalLockFile] with [WithPrefix] and the default options given;
// options of a call come after them.
func RemoveExternalLockFileWithPrefix(prefix string, defaults ...Option) CleanupFunc {
	return func(name string, opts ...Option) error {
		return RemoveExternalLockFile(name, within(prefix, defaults, opts)...)
	}
}

func within(prefix string, defaults, opts []Option) []Option {
	return slices.Concat([]Option{WithPrefix(prefix)}, defaults, opts)
}
