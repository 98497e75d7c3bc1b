// Package locks is what a project writes once, so that the rest of it need not think of prefixes: its lock files are
// all named "project-...", and are told apart from those of other projects in the same directory.
package locks

import "github.com/lockutils/lockutils"

const prefix = "project"

var (
	// Lock takes one of the project's locks.
	Lock = lockutils.LockWithPrefix(prefix)

	// Synchronized wraps a function so that it holds one of the project's locks whenever it runs.
	Synchronized = lockutils.SynchronizedWithPrefix(prefix)

	// Host is Lock against the other processes of the host too.
	Host = lockutils.LockWithPrefix(prefix, lockutils.External())

	// HostSynchronized is Synchronized against the other processes of the host too.
	HostSynchronized = lockutils.SynchronizedWithPrefix(prefix, lockutils.External())

	// Cleanup removes the lock file of a name that is not going to be locked again.
	Cleanup = lockutils.RemoveExternalLockFileWithPrefix(prefix)
)
