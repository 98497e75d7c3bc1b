// Package lockutils takes locks by name: a program asks for the lock called "instance-4711" and gets it, whether the
// contenders are goroutines of one process or processes of one host. It does not build, keep or clean up lock objects:
// a name costs memory only while somebody holds it or waits for it.
//
//	guard, err := lockutils.Lock("instance-4711")
//	if err != nil {
//		return err
//	}
//	defer guard.Unlock()
//
// [Lock], [LockContext] and [TryLock] return a [Guard]; [Do] runs a function with the lock held, [Synchronized] makes a
// function that always runs so. Options say what kind of lock it is: [External] excludes other processes as well,
// through a lock file; [Shared] lets readers in together; [Fair] serves strictly in order of arrival; [WithPrefix]
// scopes the name to a project.
//
// The package is the Go counterpart of Python's oslo_concurrency.lockutils, with which it can share lock files (see
// [WithFcntl]).
//
// Without [Fair], a request may take a lock that is free although others wait for it, as with [sync.Mutex]; a waiter
// that has been passed for two milliseconds is served next. No lock is reentrant: whoever holds one and asks for it again
// waits for ever, unless the asking goes through the context of [Do], which gives [ErrDeadlock].
//
// All functions and methods may be called concurrently, unless their documentation says otherwise.
package lockutils

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"

	"github.com/lockutils/lockutils/internal/queue"
)

// Lock takes the named lock, waiting for it as long as it takes, and returns the guard that releases it. An error is
// always an [*AcquireError]. Inside a process, locks with and without [External], with and without [Fair], are the same
// lock if they have the same name, prefix and container.
func Lock(name string, opts ...Option) (Guard, error) {
	ctx := context.Background()
	if len(opts) == 0 && !handler().Enabled(ctx, slog.LevelDebug) {
		if h, ok := internalLocks.AcquireAtOnce(name); ok {
			return Guard{name, h}, nil
		}
	}
	return lockSlow(ctx, name, opts)
}

// LockContext is [Lock] with a wait that ends with ctx: the error then matches ctx.Err() and context.Cause(ctx). With a
// ctx that is done already not even a free lock is taken. A nil ctx is an error that wraps [ErrOptions].
func LockContext(ctx context.Context, name string, opts ...Option) (Guard, error) {
	if len(opts) == 0 && ctx != nil && ctx.Err() == nil && !handler().Enabled(ctx, slog.LevelDebug) {
		if h, ok := internalLocks.AcquireAtOnce(name); ok {
			return Guard{name, h}, nil
		}
	}
	return lockSlow(ctx, name, opts)
}

// lockSlow is LockContext for all but a free lock that is asked for without options.
func lockSlow(ctx context.Context, name string, opts []Option) (Guard, error) {
	s := settingsOf(opts)
	return lock(ctx, name, &s)
}

// TryLock is [Lock] with [NonBlocking]: it returns an error that wraps [ErrLocked] if the lock is taken. As with
// [sync.Mutex.TryLock], that can happen although nobody holds the lock, if others come and go at the same instant.
func TryLock(name string, opts ...Option) (Guard, error) {
	s := settingsOf(opts)
	s.nonBlocking = true
	return lock(context.Background(), name, &s)
}

// InternalLock takes just the layer of [Lock] that concerns the goroutines of this process, for those who compose locks
// themselves. Asking it for [External] is an error.
func InternalLock(name string, opts ...Option) (Guard, error) {
	s := settingsOf(opts)
	if s.external {
		return Guard{}, &AcquireError{Name: name, Err: invalid("InternalLock with External")}
	}
	return lock(context.Background(), name, &s)
}

// InternalFairLock is [InternalLock] with [Fair].
func InternalFairLock(name string, opts ...Option) (Guard, error) {
	s := settingsOf(opts)
	s.fair = true
	if s.external {
		return Guard{}, &AcquireError{Name: name, Err: invalid("InternalFairLock with External")}
	}
	return lock(context.Background(), name, &s)
}

// A Guard stands for one acquisition of a lock. It is a small value that may be copied and be unlocked by any
// goroutine. The zero Guard holds nothing.
type Guard struct {
	label string     // the lock's name; with an extra: path, labelSeparator, name
	hold  queue.Hold // of the internal lock, or an extra's ticket
}

// extra is what a guard needs for a lock with a file, or with log messages, until it is unlocked. It is no part of the
// guard, which has to stay small enough to be returned in registers.
type extra struct {
	ticket   queue.Ticket
	internal queue.Hold
	file     fileHold // zero if there is none
	trail    *trail   // nil unless the release is to be logged
}

// Extras are pooled: their tickets tell which guards they belong to.
var extras = sync.Pool{New: func() any { return new(extra) }}

func newExtra(internal queue.Hold, file fileHold, t *trail) queue.Hold {
	x := extras.Get().(*extra)
	x.internal, x.file, x.trail = internal, file, t
	return x.ticket.Issue(x)
}

// Unlock releases the lock. A second Unlock, on whatever copy, returns [ErrNotHeld] and disturbs nobody. Any other
// error comes from the file system and means that the lock file could not be closed properly; the lock is released all
// the same.
func (g Guard) Unlock() error {
	if g.hold.ReleaseAtOnce() {
		return nil // nearly always
	}
	return g.unlockSlow()
}

// unlockSlow is Unlock for a lock with an extra, or that others want, and for a guard that holds nothing any more.
func (g Guard) unlockSlow() error {
	x := g.extra()
	if !g.hold.Release() {
		return ErrNotHeld
	}
	if x != nil {
		return x.release()
	}
	return nil
}

// Name returns the lock's name, as it was asked for.
func (g Guard) Name() string {
	_, name := g.parts()
	return name
}

// Path returns the path of the lock file, or "" for a lock without one.
func (g Guard) Path() string {
	path, _ := g.parts()
	return path
}

func (g Guard) parts() (path, name string) {
	if g.extra() == nil {
		return "", g.label
	}
	path, name, _ = strings.Cut(g.label, labelSeparator)
	return path, name
}

// labelSeparator is in no path.
const labelSeparator = "\x00"

func (g Guard) extra() *extra {
	x, _ := g.hold.Attachment().(*extra)
	return x
}

// release releases in the opposite order of acquisition. It is called once for each hold of the ticket.
func (x *extra) release() (err error) {
	internal, file, t := x.internal, x.file, x.trail
	x.internal, x.file, x.trail = queue.Hold{}, fileHold{}, nil
	extras.Put(x)
	if file.isHeld() {
		err = file.release()
	}
	internal.Release()
	t.released()
	return err
}

// lock takes the lock with these settings: the way of every acquisition by name.
func lock(ctx context.Context, name string, s *settings) (Guard, error) {
	return lockBy(ctx, name, "", s)
}

// lockBy is lock on behalf of the function called by, which shows in log messages.
func lockBy(ctx context.Context, name, by string, s *settings) (Guard, error) {
	if err := s.check(); err != nil {
		return Guard{}, &AcquireError{Name: name, Err: err}
	}
	if err := usable(ctx); err != nil {
		return Guard{}, &AcquireError{Name: name, Err: err}
	}
	path, label := "", name
	if s.fileOnly || s.external && !noProcessLocking.Load() {
		var err error
		if path, label, err = s.filePath(name); err != nil {
			return Guard{}, &AcquireError{Name: name, Err: err}
		}
	}
	switch kin(ctx, path, name, s) {
	case deadlock:
		if !s.nonBlocking {
			return Guard{}, &AcquireError{Name: name, Path: path, Err: ErrDeadlock}
		}
	case sharer:
		joining := *s
		joining.joining = true
		s = &joining
	}
	t := newTrail(ctx, name, by, path, s)
	t.acquiring()
	hold, file, err := take(ctx, name, path, s)
	if err != nil {
		t.failed(err)
		return Guard{}, &AcquireError{Name: name, Path: path, Err: err}
	}
	if t != nil || file.isHeld() {
		if path == "" {
			label = labelSeparator + name
		}
		hold = newExtra(hold, file, t)
	}
	g := Guard{label, hold}
	t.acquired(g)
	return g, nil
}

// take applies the timeout, if there is one. What can be had at once is had, however short the timeout.
func take(ctx context.Context, name, path string, s *settings) (hold queue.Hold, file fileHold, err error) {
	if s.timed {
		atOnce := *s
		atOnce.nonBlocking = true
		hold, file, err = takeLayers(ctx, name, path, &atOnce)
		if !errors.Is(err, ErrLocked) {
			return hold, file, err
		}
		if s.timeout == 0 {
			return hold, file, context.DeadlineExceeded
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	return takeLayers(ctx, name, path, s)
}

// takeLayers takes the internal lock, unless there is nothing but the file, and then the lock file, if there is one.
func takeLayers(ctx context.Context, name, path string, s *settings) (hold queue.Hold, file fileHold, err error) {
	if !s.fileOnly {
		if hold, err = acquire(ctx, s.table(), s.key(name), s); err != nil {
			return hold, file, err
		}
	}
	if path != "" {
		if file, err = acquireFile(ctx, path, s); err != nil {
			hold.Release()
			return queue.Hold{}, file, err
		}
	}
	return hold, file, nil
}

// acquire takes the lock of a key as the settings say.
func acquire(ctx context.Context, t *queue.Table, key queue.Key, s *settings) (queue.Hold, error) {
	if s.nonBlocking {
		h, ok := t.TryAcquire(key, s.mode(), s.order())
		if !ok {
			return h, ErrLocked
		}
		return h, nil
	}
	h, err := t.Acquire(ctx, key, s.mode(), s.order())
	if err != nil {
		return h, ended(ctx)
	}
	return h, nil
}

// internalLocks is the container of all locks that are given no other.
var internalLocks = queue.NewTable(1024, 1)

func (s *settings) table() *queue.Table {
	if s.semaphores != nil {
		return s.semaphores.locks()
	}
	return internalLocks
}

// key returns what a lock is known by in its container; the two spellings of a prefix are made one.
func (s *settings) key(name string) queue.Key {
	return queue.Key{Scope: strings.TrimSuffix(s.prefix, "-"), Name: name}
}

func (s *settings) mode() queue.Mode {
	if s.shared {
		return queue.Shared
	}
	return queue.Exclusive
}

func (s *settings) order() queue.Order {
	switch {
	case s.joining:
		return queue.Joining
	case s.fair:
		return queue.Fair
	}
	return queue.Overtaking
}
