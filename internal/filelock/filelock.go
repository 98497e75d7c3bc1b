// Package filelock locks files between processes: it is the engine below the named locks, and
// knows nothing of names, options or logs.
//
// A lock is held by the kernel for an open file, so a process that dies in any way loses it at
// once and nothing has to be repaired. A waiter sleeps in the kernel and wakes as soon as the
// lock is free, where the system and the file system can do that; a context ends any wait at
// once. Files are never written to nor truncated. A file may be removed while others use it, as
// long as it is Remove that does it: only a holder unlinks, and whoever acquires checks that the
// path still leads to the file that it locked.
//
// The goroutines of a process take turns at each path: only the one whose turn it is, or all
// readers together, asks the kernel. All functions may be called concurrently, for any paths.
package filelock

import (
	"context"
	"io/fs"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/internal/queue"
)

// Mode says whom a hold excludes.
type Mode = queue.Mode

const (
	// Exclusive excludes every other holder.
	Exclusive = queue.Exclusive
	// Shared excludes exclusive holders only.
	Shared = queue.Shared
)

// ErrLocked says that the lock is held elsewhere, or its file in use.
var ErrLocked = driver.ErrLocked

// Request says which file to lock, and how.
type Request struct {
	// Path of the lock file. A missing file is created, and its directory too, with mode 0755
	// before the umask.
	Path string
	Mode Mode
	// Perm is the mode, before the umask, of a file that is created; 0 means 0600.
	Perm fs.FileMode
	// Delay is the longest interval between two tries where a wait has to poll; 0 means 10ms.
	Delay time.Duration
	// Fcntl also takes an fcntl record lock on the whole file, as programs do that know only this
	// kind. Exclusive needs permission to write to the file. Errors match errors.ErrUnsupported
	// where the system cannot do it.
	Fcntl bool
	// Fair serves fair requests in order of arrival, those of other processes included. It needs
	// permission to write to the queue file. Errors match errors.ErrUnsupported where the system
	// cannot do it.
	Fair bool
	// Subject is what an observer of waits is told.
	Subject queue.Subject
	// Reentrant marks a shared request on behalf of a holder of a share. It passes all that wait,
	// because they wait for that share, and so takes precedence over Fair.
	Reentrant bool
}

func (r Request) withDefaults() Request {
	if r.Perm == 0 {
		r.Perm = 0o600
	}
	if r.Delay <= 0 {
		r.Delay = 10 * time.Millisecond
	}
	r.Fair = r.Fair && !r.Reentrant
	return r
}

// order returns whom the request may pass among those of this process.
func (r Request) order() queue.Order {
	switch {
	case r.Reentrant:
		return queue.Reentrant
	case r.Fair:
		return queue.Fair
	}
	return queue.Barging
}

// Lock waits until it holds the lock. It returns ctx.Err() as it is when ctx ends first, and a
// *fs.PathError when the file cannot be locked; then nothing stays held or open.
func Lock(ctx context.Context, r Request) (*Hold, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return acquire(r, func(p *pathState, r Request) (*Hold, error) { return p.lock(ctx, r) })
}

// TryLock returns ErrLocked at once if the lock is held elsewhere; other errors are those of Lock.
func TryLock(r Request) (*Hold, error) {
	return acquire(r, (*pathState).tryLock)
}

func acquire(r Request, how func(*pathState, Request) (*Hold, error)) (*Hold, error) {
	r = r.withDefaults()
	p := paths.enter(r.Path)
	returned := false
	defer func() {
		if !returned { // An observer has panicked.
			paths.leave(p)
		}
	}()
	h, err := how(p, r)
	returned = true
	if err != nil {
		paths.leave(p)
		if outOfDescriptors(err) {
			paths.closeIdle() // so that the next use of the path does not keep one either
		}
		return nil, err
	}
	now := h.markUsed()
	if r.Mode == Exclusive {
		h.taken = now
	}
	return h, nil
}

// CloseIdle closes the descriptors that are kept open between acquisitions. They are few and
// close by themselves about a second after their last use, so only tests that count descriptors
// need it.
func CloseIdle() { paths.closeIdle() }

// Visit calls f with each path that is in use, and its lock among the goroutines of this process,
// as it is at one instant. f must not use the package.
func Visit(f func(path string, turn *queue.Lock, v queue.View)) {
	for _, p := range paths.inUse() {
		if v := p.turn.View(); v.Held || len(v.Waits) > 0 {
			f(p.path, &p.turn, v)
		}
	}
}

// Trace makes the goroutines that wait for their turn keep their stacks, see [queue.Lock.Trace].
func Trace() (traced bool) {
	for _, p := range paths.inUse() {
		traced = p.turn.Trace() || traced
	}
	return traced
}
