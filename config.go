package lockutils

import (
	"log/slog"
	"os"
	"sync/atomic"
)

// The process-wide settings. All the functions of this file may be called at any time; a call that is under way keeps
// what it started with.

// lockPathVariable is what oslo.concurrency and lockutils-wrapper use.
const lockPathVariable = "OSLO_LOCK_PATH"

var (
	defaultLockPath  atomic.Pointer[string]
	noProcessLocking atomic.Bool
	configuredLogger atomic.Pointer[slog.Logger]
)

// SetDefaults sets the process-wide lock path. The empty string takes it back, so that the environment counts again.
func SetDefaults(lockPath string) { defaultLockPath.Store(&lockPath) }

// LockPath returns the process-wide lock path in force: that of [SetDefaults], or else the value of the environment
// variable OSLO_LOCK_PATH, or else "".
func LockPath() string {
	if p := defaultLockPath.Load(); p != nil && *p != "" {
		return *p
	}
	return os.Getenv(lockPathVariable)
}

// SetProcessLocking turns the lock files of [External] locks on, which is the default, or off: then these locks exclude
// only the goroutines of this process. It is meant for programs that are known to run alone. [ExternalLock] and
// [InterProcessLock], which are nothing but lock files, do not heed it.
func SetProcessLocking(enabled bool) { noProcessLocking.Store(!enabled) }

// SetLogger sets where the package logs to; nil means [slog.Default] at the time of each message.
func SetLogger(l *slog.Logger) { configuredLogger.Store(l) }

func logger() *slog.Logger {
	if l := configuredLogger.Load(); l != nil {
		return l
	}
	return slog.Default()
}

// handler is asked whether debug messages are wanted. A function that asks it would not be inlined, as this one is.
func handler() slog.Handler { return logger().Handler() }
