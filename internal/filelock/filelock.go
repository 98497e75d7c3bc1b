// Package filelock locks files between processes: it is the engine below the named locks, and knows nothing of names,
// options or logs.
//
// A lock is held by the kernel for an open file, so a process that dies in any way loses it at once and nothing has to
// be repaired. A waiter sleeps in the kernel and wakes as soon as the lock is free, where the system and the file
// system can do that; a context ends any wait at once. Files are never written to nor truncated. A file may be removed
// while others use it, as long as it is Remove that does it: only a holder unlinks, and whoever acquires checks that
// the path still leads to the file that it locked.
//
// Safety does not depend on who calls: any goroutines may ask for any paths at the same time. Waiting is cheapest,
// though, if the goroutines of a process queue among themselves and only the first of them waits here.
package filelock

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

// Mode says whom a hold excludes.
type Mode uint8

const (
	// Exclusive excludes every other holder.
	Exclusive Mode = iota
	// Shared excludes exclusive holders only.
	Shared
)

// ErrLocked says that the lock is held elsewhere, or its file in use.
var ErrLocked = errors.New("held elsewhere")

// Request says which file to lock, and how.
type Request struct {
	// Path of the lock file. A missing file is created, and its directory too, with mode 0755 before the umask.
	Path string
	Mode Mode
	// Perm is the mode, before the umask, of a file that is created; 0 means 0600.
	Perm fs.FileMode
	// Delay is the longest interval between two tries where a wait has to poll; 0 means 10ms.
	Delay time.Duration
	// Fcntl also takes an fcntl record lock on the whole file, as programs do that know only this kind. Exclusive
	// needs permission to write to the file. Errors match errors.ErrUnsupported where the system cannot do it.
	Fcntl bool
	// Fair serves the processes that ask in this way in the order in which they came. It needs permission to write to
	// the queue file. Errors match errors.ErrUnsupported where the system cannot do it.
	Fair bool
}

func (r Request) withDefaults() Request {
	if r.Perm == 0 {
		r.Perm = 0o600
	}
	if r.Delay <= 0 {
		r.Delay = 10 * time.Millisecond
	}
	return r
}

// Hold is a lock that is held.
type Hold interface {
	// Unlock releases the lock. It must be called exactly once.
	Unlock() error
}

// Lock waits until it holds the lock. It returns ctx.Err() as it is when ctx ends first, and a *fs.PathError when the
// file cannot be locked; then nothing stays held or open.
func Lock(ctx context.Context, r Request) (Hold, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return acquire(r, func(p *pathState, r Request) (*hold, error) { return p.lock(ctx, r) })
}

// TryLock returns ErrLocked at once if the lock is held elsewhere; other errors are those of Lock.
func TryLock(r Request) (Hold, error) {
	return acquire(r, (*pathState).tryLock)
}

func acquire(r Request, how func(*pathState, Request) (*hold, error)) (Hold, error) {
	r = r.withDefaults()
	for {
		p := paths.enter(r.Path)
		h, err := how(p, r)
		if err == nil {
			h.markUsed()
			return h, nil
		}
		paths.leave(p)
		// The descriptors kept for later must not be the ones missing now.
		if !outOfDescriptors(err) || paths.closeIdle() == 0 {
			return nil, err
		}
	}
}

// CloseIdle closes the descriptors that are kept open between acquisitions. They are few and close by themselves about a
// second after their last use, so only tests that count descriptors need it.
func CloseIdle() { paths.closeIdle() }
