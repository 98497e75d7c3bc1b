package lockutils

import (
	"context"
	"fmt"

	"github.com/lockutils/lockutils/internal/queue"
)

// FairLocks is a container of named locks that are served strictly in order of arrival. The zero value is ready for use.
//
// A name costs memory only while its lock is held or waited for. A FairLocks must not be copied after first use.
type FairLocks struct{ table container }

// Get returns the lock of that name. It costs nothing: the handle keeps nothing alive, and handles of equal names of one
// container are equal.
func (f *FairLocks) Get(name string) FairLock { return FairLock{f, name} }

// Len returns how many names are in use now: held or waited for.
func (f *FairLocks) Len() int { return f.table.len() }

func (f *FairLocks) locks() *queue.Table { return f.table.get(1) }

// A FairLock is the handle of a named lock that is served in order of arrival; see [FairLocks.Get]. It is a [sync.Locker].
// The zero FairLock belongs to no container and cannot be used.
// Like a [sync.Mutex] it is not tied to a goroutine, and not reentrant.
type FairLock struct {
	owner *FairLocks
	name  string
}

// Lock takes the lock, waiting for its turn.
func (l FairLock) Lock() { mustAcquire(l.LockContext(context.Background())) }

// LockContext takes the lock, waiting for its turn until ctx ends; then it returns an [*AcquireError]. A nil ctx is an
// error that wraps [ErrOptions].
func (l FairLock) LockContext(ctx context.Context) error {
	return acquireNamed(ctx, l.owner.locks(), l.name, queue.Exclusive, queue.Fair)
}

// TryLock takes the lock if it is free, and reports whether it did.
func (l FairLock) TryLock() bool {
	return tryAcquireNamed(l.owner.locks(), l.name, queue.Exclusive, queue.Fair)
}

// Unlock releases the lock. It panics if the lock is not held.
func (l FairLock) Unlock() {
	if !releaseNamed(l.owner.locks(), l.name, queue.Exclusive) {
		panicNotHeld("FairLock", "Unlock", l.name)
	}
}

// Name returns the lock's name.
func (l FairLock) Name() string { return l.name }

// mustAcquire is for waits that nothing can end but success.
func mustAcquire(err error) {
	if err != nil {
		panic(err)
	}
}

func panicNotHeld(kind, call, name string) {
	panic(fmt.Sprintf("lockutils: %s of %s %q, which is not held so", call, kind, name))
}
