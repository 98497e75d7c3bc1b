// Package lockutilstest helps to test programs that acquire locks with package lockutils.
package lockutilstest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

// TempLockPath makes a new directory the process-wide lock path for the rest of the test, and
// returns it. Processes that the test starts inherit it through the environment. When the test
// ends, the old settings are restored and the directory is removed.
//
// The lock path is process-wide, so a parallel test cannot have its own: there TempLockPath panics,
// as [testing.T.Setenv] does. Use lockutils.WithLockPath in parallel tests.
func TempLockPath(t testing.TB) string {
	t.Helper()
	before := lockutils.LockPath()
	dir := t.TempDir()
	t.Setenv("OSLO_LOCK_PATH", dir)
	if lockutils.LockPath() == dir {
		before = "" // It came from the environment, and comes back with it.
	}
	lockutils.SetDefaults(dir)
	t.Cleanup(func() { lockutils.SetDefaults(before) })
	return dir
}

// Hold acquires the lock and releases it when the test ends, unless the test has done so itself. It
// waits for the lock until shortly before the deadline of the test. A test without a deadline, such
// as a benchmark or one in a bubble of testing/synctest, waits as long as it takes.
//
// If Hold cannot acquire the lock, it ends the test. The message says who holds the lock, as far as
// that is known.
func Hold(t testing.TB, name string, opts ...lockutils.Option) lockutils.Guard {
	t.Helper()
	ctx, cancel := untilDeadline(t)
	defer cancel()
	guard, err := lockutils.LockContext(ctx, name, opts...)
	if err != nil {
		t.Fatal(fmt.Errorf("%w%s", err, holders(err, opts)))
	}
	t.Cleanup(func() {
		if err := guard.Unlock(); err != nil && !errors.Is(err, lockutils.ErrNotHeld) {
			t.Error(err)
		}
	})
	return guard
}

var errDeadline = fmt.Errorf("the test is near its deadline: %w", context.DeadlineExceeded)

// untilDeadline returns a context that ends early enough for the test to fail by its deadline.
func untilDeadline(t testing.TB) (context.Context, context.CancelFunc) {
	if end, ok := deadline(t); ok {
		margin := min(time.Until(end)/10, 10*time.Second)
		return context.WithDeadlineCause(t.Context(), end.Add(-margin), errDeadline)
	}
	return context.WithCancel(t.Context())
}

// deadline returns the deadline of the test, if it has one. In a bubble of testing/synctest it has
// none: there T.Deadline panics, and a wait that cannot end is found out by the bubble.
func deadline(t testing.TB) (end time.Time, ok bool) {
	limited, ok := t.(interface{ Deadline() (time.Time, bool) })
	if !ok {
		return time.Time{}, false
	}
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return limited.Deadline()
}

// holders says who holds the lock that could not be acquired, beginning with a colon. It returns
// "" if the error does not come from a lock that is held.
func holders(err error, opts []lockutils.Option) string {
	var failed *lockutils.AcquireError
	held := errors.Is(err, lockutils.ErrLocked) || errors.Is(err, context.DeadlineExceeded)
	if !errors.As(err, &failed) || !held {
		return ""
	}
	var found []string
	if failed.Path != "" {
		processes, _ := lockutils.Holders(failed.Name, opts...)
		for _, p := range processes {
			process := "an unknown process"
			if p.PID != lockutils.UnknownPID {
				process = fmt.Sprintf("process %d (%s)", p.PID, p.Command)
			}
			found = append(found, fmt.Sprintf("%s as a %v", process, p.Mode))
		}
	}
	path := failed.Path
	if found == nil {
		path = "" // The lock inside the process is held, and not the file.
	}
	for _, lock := range lockutils.Snapshot() {
		if lock.Scope == failed.Scope && lock.Name == failed.Name && lock.Path == path {
			for _, h := range lock.Holders {
				found = append(found, goroutine(h))
			}
		}
	}
	if found == nil {
		return ": held inside this process; lockutils.SetTracking(1) makes it known where"
	}
	return ": held by " + strings.Join(found, ", and ")
}

// goroutine says what is known of a holder inside the process.
func goroutine(h lockutils.HolderInfo) string {
	text := "a goroutine of this process"
	if !h.Since.IsZero() {
		text += fmt.Sprintf(" for %v", time.Since(h.Since).Round(time.Millisecond))
	}
	if h.By != "" {
		text += " in " + h.By
	}
	if h.Stack != nil {
		frame, _ := runtime.CallersFrames(h.Stack).Next()
		text += fmt.Sprintf(" (%s:%d)", frame.File, frame.Line)
	}
	return text
}
