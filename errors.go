package lockutils

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/lockutils/lockutils/driver"
)

// The reasons why a call can fail, for [errors.Is].
var (
	// ErrLocked reports that the lock is held by another holder, and that the call was not to wait.
	ErrLocked = driver.ErrLocked

	// ErrTimeout reports that the time of [WithTimeout] has passed. It matches
	// [context.DeadlineExceeded]. A deadline of the caller's own context does not match ErrTimeout.
	ErrTimeout error = &twoErrors{errors.New("timed out"), context.DeadlineExceeded}

	// ErrNotHeld reports that the hold to be released does not exist, or has been released before.
	ErrNotHeld = errors.New("lockutils: lock not held")

	// ErrDeadlock reports that the wait would never end, because the context holds the lock itself.
	// A wait that was ended as part of a cycle matches it too, see [DeadlockError].
	ErrDeadlock = errors.New("deadlock: the context already holds this lock")

	// ErrLockPath reports that the lock needs a lock file, and that there is no directory for it.
	ErrLockPath = errors.New(
		"no lock path: use WithLockPath, SetDefaults or the environment variable OSLO_LOCK_PATH")

	// ErrName reports that the name, with its prefix, cannot be that of a lock file.
	ErrName = errors.New("not a name for a lock file")

	// ErrLost reports that the hold has ended, or may have, without having been released. Only
	// locks at a lock service can be lost, see [On].
	ErrLost = driver.ErrLost

	// ErrOptions reports that an option or an argument makes no sense, or contradicts another.
	ErrOptions = errors.New("invalid options")
)

// errLockedNow is the error of a call with a timeout of zero.
var errLockedNow error = &twoErrors{ErrLocked, ErrTimeout}

// twoErrors are an error and its cause. The first use of package fmt takes 40 microseconds, which would be
// half of the time that the package takes at the start of a program.
type twoErrors [2]error

func (e *twoErrors) Error() string { return e[0].Error() + ": " + e[1].Error() }

func (e *twoErrors) Unwrap() []error { return e[:] }

// An AcquireError tells which lock could not be acquired, and why. Every call that fails to acquire
// a lock returns one, and holds nothing then.
type AcquireError struct {
	// Scope tells the lock from others of the same name. It is the prefix without its hyphen, or
	// the container, or container, slash, prefix. A container is called by its field Name, or
	// else "semaphores" or "reader-writer locks". Scope is "" for a lock without either.
	Scope string

	Name    string // the lock's name; "" where locks have none
	Path    string // its lock file; "" if none was involved
	Service string // the kind of the lock service, "etcd" for example; "" without one
	Err     error  // the reason
}

// Error names the lock, its file or service, and the reason.
func (e *AcquireError) Error() string {
	msg := "lockutils: cannot acquire " + title(e.Scope, e.Name) + inFile(e.Path)
	if e.Service != "" {
		msg += " at " + e.Service
	}
	return msg + ": " + e.Err.Error()
}

// title names a lock in a message. Either may be empty.
func title(scope, name string) string {
	t := "lock"
	if name != "" {
		t += " " + strconv.Quote(name)
	}
	if scope != "" {
		t += " of " + strconv.Quote(scope)
	}
	return t
}

// inFile names a lock file in a message, after the lock.
func inFile(path string) string {
	if path == "" {
		return ""
	}
	return " (file " + strconv.Quote(path) + ")"
}

// Unwrap returns the reason.
func (e *AcquireError) Unwrap() error { return e.Err }

// refused returns the error of a call that has not reached any lock.
func (s *settings) refused(name string, err error) *AcquireError {
	return &AcquireError{Scope: s.scope(), Name: name, Service: s.serviceKind(), Err: err}
}

// failed returns the error of a call that has not got its lock.
func (s *settings) failed(name, path string, err error) *AcquireError {
	e := s.refused(name, err)
	e.Path = path
	return e
}

// invalid returns an error that wraps ErrOptions and says what is wrong.
func invalid(what string) error { return fmt.Errorf("%w: %s", ErrOptions, what) }

// ended returns the error of a wait that ctx has ended. It matches both ctx.Err() and the cause. In
// the time that WithTimeout gives, the cause is ErrTimeout.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// waitError returns the error of a wait that ended with err.
func waitError(ctx context.Context, err error) error {
	if errors.Is(err, ErrDeadlock) {
		return err
	}
	return ended(ctx)
}

// canWait reports whether ctx is neither nil nor done.
func canWait(ctx context.Context) bool { return ctx != nil && ctx.Err() == nil }

// usable returns an error unless ctx can be waited with.
func usable(ctx context.Context) error {
	if ctx == nil {
		return invalid("nil context")
	}
	if ctx.Err() != nil {
		return ended(ctx)
	}
	return nil
}
