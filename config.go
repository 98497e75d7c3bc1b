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
	defaultSettings  atomic.Pointer[settings] // nil unless there are default options; immutable
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

// SetDefaultOptions sets the options that every call begins with; without options there are none,
// which is the default. A program that shares its lock files with programs that know fcntl locks
// only sets WithFcntl here, so that no call can forget it.
//
// They come first, then the default options of a project (see [LockWithPrefix]), then those of the
// call. The last one counts; [NonBlocking] and [WithTimeout] undo each other, and
// [WithSemaphores] undoes Fair. They apply to every function that takes options, also to those that
// were made before, such as those of [Synchronized] and [LockWithPrefix], from their next call on:
//
//   - to [InternalLock] and [InternalFairLock] without External;
//   - to [ExternalLock] without WithSemaphores;
//   - to [InterProcessLock] as far as NewInterProcessLock takes them, except NonBlocking;
//   - to [RemoveExternalLockFile], [RemoveExternalLockFiles] and [Holders] as far as those heed them:
//     prefix, lock path and logging.
//
// The handles of containers take no options. Options that contradict each other make every call fail
// with an error that wraps [ErrOptions].
func SetDefaultOptions(opts ...Option) {
	if len(opts) == 0 {
		defaultSettings.Store(nil)
		return
	}
	s := new(settings)
	s.apply(opts)
	s.given = 0
	defaultSettings.Store(s)
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
