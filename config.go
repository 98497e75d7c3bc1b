package lockutils

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
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

// SetDefaults sets the process-wide lock path. A relative one is made absolute at once, so that it
// stays the same directory if the program changes its working directory. The empty string takes the
// lock path back, so that the environment variable OSLO_LOCK_PATH counts again.
func SetDefaults(lockPath string) {
	if lockPath != "" {
		if abs, err := filepath.Abs(lockPath); err == nil {
			lockPath = abs
		} // Else it is like any other relative path, and each call that needs it tells the error.
	}
	defaultLockPath.Store(&lockPath)
}

// LockPath returns the process-wide lock path in force: that of [SetDefaults], or else the value of
// the environment variable OSLO_LOCK_PATH, or else "". It is absolute. A relative OSLO_LOCK_PATH is
// relative to the directory that [WithLockPath] tells of.
func LockPath() string {
	dir := configuredLockPath()
	if dir == "" {
		return ""
	}
	if abs, err := absolute(dir); err == nil {
		return abs
	}
	return dir
}

// configuredLockPath is LockPath before it is made absolute.
func configuredLockPath() string {
	if p := defaultLockPath.Load(); p != nil && *p != "" {
		return *p
	}
	return os.Getenv(lockPathVariable)
}

// absolute returns an absolute and clean path. The same path gives the same result at any time.
func absolute(path string) (string, error) {
	if filepath.IsAbs(path) {
		return filepath.Clean(path), nil
	}
	base, err := baseDirectory()
	if err != nil {
		return "", fmt.Errorf("relative lock path %q: %w", path, err)
	}
	if os.IsPathSeparator(path[0]) { // relative to a drive
		base = filepath.VolumeName(base)
	}
	return filepath.Join(base, path), nil
}

// baseDirectory returns the working directory that the process had at the first call.
var baseDirectory = sync.OnceValues(os.Getwd)

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
