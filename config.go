package lockutils

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/lockutils/lockutils/internal/order"
)

// The process-wide settings. All the functions of this file may be called at any time; a call
// that is under way keeps what it started with.

// lockPathVariable is what oslo.concurrency and lockutils-wrapper use.
const lockPathVariable = "OSLO_LOCK_PATH"

var (
	defaultLockPath  atomic.Pointer[string]
	noProcessLocking atomic.Bool
	configuredLogger atomic.Pointer[slog.Logger]
	defaultSettings  atomic.Pointer[settings] // nil unless there are default options; immutable
)

// SetDefaults sets the process-wide lock path. A relative path is made absolute at once, so that it
// means the same directory if the process changes its working directory. The empty string unsets
// the lock path, and OSLO_LOCK_PATH counts again. The name of the function is that of
// oslo.concurrency.
func SetDefaults(lockPath string) {
	if lockPath != "" {
		if abs, err := filepath.Abs(lockPath); err == nil {
			lockPath = abs
		} // Else it is like any other relative path, and each call that needs it tells the error.
	}
	defaultLockPath.Store(&lockPath)
}

// LockPath returns the process-wide lock path in force: that of [SetDefaults], or else the value of
// the environment variable OSLO_LOCK_PATH, or else "". The result is absolute, see [WithLockPath]
// for a relative OSLO_LOCK_PATH.
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

// SetDefaultOptions sets options that every call begins with, instead of those set before. Without
// options there are none, as at the start of the program. A program that shares its lock files with
// Python's oslo.concurrency sets [WithFcntl] here, so that no call can forget it.
//
// The default options of a project and the options of the call come after them, see [Option].
// Functions and locks that were made earlier heed them too: those of [Synchronized],
// [LockWithPrefix] and the like, and [InterProcessLock]. Default options apply as far as the call
// takes them:
//
//   - [InternalLock] and [InternalFairLock] ignore External and On.
//   - [ExternalLock] ignores WithSemaphores and On.
//   - [InterProcessLock] heeds Fair, WithFcntl, WithTimeout, WithDelay, WithFileMode and
//     WithLogging.
//   - [RemoveExternalLockFile], [SweepExternalLockFiles], [Holders] and [HostLocks] heed
//     WithPrefix and WithLockPath.
//   - The handles of containers heed none.
//
// Default options that contradict each other make every call fail with an error that wraps
// [ErrOptions].
func SetDefaultOptions(opts ...Option) {
	if len(opts) == 0 {
		defaultSettings.Store(nil)
		updateDetour()
		return
	}
	s := new(settings)
	s.apply(opts)
	s.given = 0
	defaultSettings.Store(s)
	updateDetour()
}

// SetProcessLocking turns the lock files of [External] on, which is the default, or off. While they
// are off, External locks exclude only the goroutines of this process. This is for programs that
// are known to run alone. [ExternalLock] and [InterProcessLock] are nothing but lock files, and do
// not heed it.
func SetProcessLocking(enabled bool) { noProcessLocking.Store(!enabled) }

// SetLogger sets the logger of the package. Nil means [slog.Default] at the time of each message.
// Messages about the life of a lock are at level Debug; warnings are about what no error can tell.
// It panics if l has no handler, like the zero Logger.
func SetLogger(l *slog.Logger) {
	if l != nil && l.Handler() == nil {
		panic("lockutils: SetLogger: logger without a handler")
	}
	configuredLogger.Store(l)
}

func logger() *slog.Logger {
	if l := configuredLogger.Load(); l != nil {
		return l
	}
	return slog.Default()
}

// handler is asked whether debug messages are wanted. A function that asks it would not be
// inlined, as this one is.
func handler() slog.Handler { return logger().Handler() }

// detour is set while a call without options cannot take the shortcut to a free lock: it has
// default options, or is observed, which means that acquisitions of free locks are looked at too.
var (
	detour   atomic.Bool
	observed atomic.Bool
	detourMu sync.Mutex
)

func init() { order.Changed = updateDetour }

func updateDetour() {
	detourMu.Lock()
	defer detourMu.Unlock()
	observed.Store(tracking.Load() > 0 || order.Get() != nil)
	detour.Store(defaultSettings.Load() != nil || observed.Load())
}
