// Package locks defines the lock functions of a project, so that the rest of it need not know the
// prefix. Its lock files are all named "project-...", apart from those of other projects in the
// same directory.
package locks

import "github.com/lockutils/lockutils"

const prefix = "project"

var (
	// Lock acquires a lock of the project.
	Lock = lockutils.LockWithPrefix(prefix)

	// Synchronized wraps a function so that it holds a lock of the project while it runs.
	Synchronized = lockutils.SynchronizedWithPrefix(prefix)

	// Host is Lock, and also excludes the other processes of the host.
	Host = lockutils.LockWithPrefix(prefix, lockutils.External())

	// HostSynchronized is Synchronized, and also excludes the other processes of the host.
	HostSynchronized = lockutils.SynchronizedWithPrefix(prefix, lockutils.External())

	// Cleanup removes the lock file of a name that is no longer used.
	Cleanup = lockutils.RemoveExternalLockFileWithPrefix(prefix)
)
