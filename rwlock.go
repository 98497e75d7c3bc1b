package lockutils

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"github.com/lockutils/lockutils/internal/names"
	"github.com/lockutils/lockutils/internal/queue"
)

// A Mode says how a lock is held. The words are those of fasteners and oslo.concurrency.
type Mode int

const (
	ModeNone   Mode = iota // not held
	ModeReader             // held by one or more readers
	ModeWriter             // held by a writer, which excludes all others
)

// String returns "none", "reader" or "writer".
func (m Mode) String() string {
	switch m {
	case ModeReader:
		return "reader"
	case ModeWriter:
		return "writer"
	}
	return "none"
}

func modeOf(m queue.Mode, held bool) Mode {
	switch {
	case !held:
		return ModeNone
	case m == queue.Shared:
		return ModeReader
	}
	return ModeWriter
}

// A ReaderWriterLock is held by any number of readers or by one writer. Requests are served in
// order of arrival, neighbouring readers together, so neither side starves. The zero value is free.
// A ReaderWriterLock must not be copied after first use.
//
// Like a [sync.RWMutex] it belongs to no goroutine, and is not reentrant: a reader that requests it
// again while a writer waits may wait for ever. Its methods write no log messages.
type ReaderWriterLock struct{ lock queue.Lock }

// Lock acquires the lock for writing and waits for it if necessary.
func (l *ReaderWriterLock) Lock() { mustAcquire(l.LockContext(context.Background())) }

// LockContext is Lock with a wait that ends with ctx. It then returns an [*AcquireError] that
// matches ctx.Err(). A nil ctx gives an error that matches [ErrOptions].
func (l *ReaderWriterLock) LockContext(ctx context.Context) error {
	return l.acquire(ctx, queue.Exclusive)
}

// TryLock acquires the lock for writing if it is free, and reports whether it did.
func (l *ReaderWriterLock) TryLock() bool { return l.try(queue.Exclusive) }

// Unlock releases a writer's hold. It panics if there is no writer.
func (l *ReaderWriterLock) Unlock() {
	if !l.lock.Release(queue.Exclusive) {
		panic("lockutils: Unlock of a ReaderWriterLock without a writer")
	}
}

// RLock acquires the lock for reading and waits for it if necessary.
func (l *ReaderWriterLock) RLock() {
	if found, ok := l.lock.Join(); !ok {
		l.lock.LeaveAgain(found)
		mustAcquire(l.RLockContext(context.Background()))
	}
}

// RLockContext is RLock with a wait that ends with ctx, see LockContext.
func (l *ReaderWriterLock) RLockContext(ctx context.Context) error {
	return l.acquire(ctx, queue.Shared)
}

// TryRLock acquires the lock for reading and reports whether it did. It does not if a writer holds
// the lock, nor if another request waits for it.
func (l *ReaderWriterLock) TryRLock() bool { return l.try(queue.Shared) }

// RUnlock releases one reader's hold. It panics if there is no reader.
func (l *ReaderWriterLock) RUnlock() {
	if !l.lock.Leave() {
		panic("lockutils: RUnlock of a ReaderWriterLock without a reader")
	}
}

// RLocker returns a [sync.Locker] whose Lock and Unlock are RLock and RUnlock.
func (l *ReaderWriterLock) RLocker() sync.Locker { return (*readLocker)(l) }

// Downgrade turns the writer's hold into a reader's, without letting a writer in between. Readers
// at the front of the queue are admitted with it. It panics if there is no writer.
func (l *ReaderWriterLock) Downgrade() {
	if !l.lock.Downgrade() {
		panic("lockutils: Downgrade of a ReaderWriterLock without a writer")
	}
}

// Owner returns how the lock is held now.
func (l *ReaderWriterLock) Owner() Mode { return modeOf(l.lock.Load().Holder()) }

// HasPendingWriters reports whether a writer waits for the lock now.
func (l *ReaderWriterLock) HasPendingWriters() bool { return l.lock.State().FirstExclusive > 0 }

func (l *ReaderWriterLock) acquire(ctx context.Context, m queue.Mode) error {
	if err := usable(ctx); err != nil {
		return &AcquireError{Err: err}
	}
	if _, err := l.lock.Acquire(ctx, m, queue.Fair, queue.Subject{}); err != nil {
		return &AcquireError{Err: ended(ctx)}
	}
	return nil
}

func (l *ReaderWriterLock) try(m queue.Mode) bool {
	_, ok := l.lock.TryAcquire(m, queue.Fair)
	return ok
}

// mustAcquire is for waits that end with the acquisition only.
func mustAcquire(err error) {
	if err != nil {
		panic(err)
	}
}

type readLocker ReaderWriterLock

func (r *readLocker) Lock()   { (*ReaderWriterLock)(r).RLock() }
func (r *readLocker) Unlock() { (*ReaderWriterLock)(r).RUnlock() }

// ReaderWriterLocks is a container of named reader-writer locks. The zero value is ready for use.
// Locks of different containers are different locks.
//
// A name costs memory only while its lock is held or waited for. A ReaderWriterLocks must not be
// copied after first use.
type ReaderWriterLocks struct {
	// Name tells the container from others in errors and log messages, see [AcquireError]. It has no
	// other meaning. It must not change after first use.
	Name string

	table container
}

// Get returns the handle of the lock of that name. It allocates nothing, and the handle keeps
// nothing alive. Handles of equal names of one container are equal.
func (c *ReaderWriterLocks) Get(name string) NamedReaderWriterLock {
	return NamedReaderWriterLock{c, name, noScope.Of(name)}
}

// Len returns how many names are in use now: held or waited for.
func (c *ReaderWriterLocks) Len() int { return c.table.len() }

func (c *ReaderWriterLocks) locks() (t *names.Table) {
	if t = c.table.Load(); t == nil {
		t = c.makeTable()
	}
	return t
}

//go:noinline // so that locks is inlined
func (c *ReaderWriterLocks) makeTable() *names.Table { return c.table.make(1, c) }

func (c *ReaderWriterLocks) scope() string { return cmp.Or(c.Name, "reader-writer locks") }

// A NamedReaderWriterLock is the handle of a named [ReaderWriterLock], see [ReaderWriterLocks.Get].
// Its methods write no log messages. The zero value belongs to no container:
// to acquire or release it panics with a nil dereference.
type NamedReaderWriterLock struct {
	owner *ReaderWriterLocks
	name  string
	hash  names.Hash // of the name
}

// Lock acquires the lock for writing and waits for it if necessary.
func (l NamedReaderWriterLock) Lock() { mustAcquire(l.LockContext(context.Background())) }

// LockContext is Lock with a wait that ends with ctx. It then returns an [*AcquireError] that
// matches ctx.Err(). A nil ctx gives an error that matches [ErrOptions].
func (l NamedReaderWriterLock) LockContext(ctx context.Context) error {
	if canWait(ctx) && !observed.Load() {
		if _, ok := l.owner.locks().AcquireFast(l.key(), l.hash, queue.Fair); ok {
			return nil
		}
	}
	return l.acquire(ctx, queue.Exclusive)
}

// TryLock acquires the lock for writing if it is free, and reports whether it did.
func (l NamedReaderWriterLock) TryLock() bool {
	return tryAcquireNamed(l.owner.locks(), l.key(), l.hash, queue.Exclusive, queue.Fair)
}

// Unlock releases a writer's hold. It panics if there is no writer.
func (l NamedReaderWriterLock) Unlock() {
	if !releaseNamedFast(l.owner.locks(), l.hash) {
		l.unlockSlow(queue.Exclusive, "Unlock")
	}
}

// RLock acquires the lock for reading and waits for it if necessary.
func (l NamedReaderWriterLock) RLock() {
	if observed.Load() || !l.owner.locks().ShareNamedFast(l.name, l.hash) {
		mustAcquire(l.acquire(context.Background(), queue.Shared))
	}
}

// RLockContext is RLock with a wait that ends with ctx, see LockContext.
func (l NamedReaderWriterLock) RLockContext(ctx context.Context) error {
	if canWait(ctx) && !observed.Load() && l.owner.locks().ShareNamedFast(l.name, l.hash) {
		return nil
	}
	return l.acquire(ctx, queue.Shared)
}

// TryRLock acquires the lock for reading and reports whether it did. It does not if a writer holds
// the lock, nor if another request waits for it.
func (l NamedReaderWriterLock) TryRLock() bool {
	return tryAcquireNamed(l.owner.locks(), l.key(), l.hash, queue.Shared, queue.Fair)
}

// RUnlock releases one reader's hold. It panics if there is no reader.
func (l NamedReaderWriterLock) RUnlock() {
	if namedCount.Load() > 0 || !l.owner.locks().LeaveFast(l.hash) {
		l.unlockSlow(queue.Shared, "RUnlock")
	}
}

// unlockSlow is Unlock or RUnlock, as call says, for holds that take more than one step.
func (l NamedReaderWriterLock) unlockSlow(m queue.Mode, call string) {
	if !releaseNamed(l.owner.locks(), l.key(), l.hash, m) {
		panic(fmt.Sprintf("lockutils: %s of %s, which no %s holds",
			call, title(l.owner.scope(), l.Name()), modeOf(m, true)))
	}
}

// RLocker returns a [sync.Locker] whose Lock and Unlock are RLock and RUnlock.
func (l NamedReaderWriterLock) RLocker() sync.Locker { return namedReadLocker(l) }

// Downgrade turns the writer's hold into a reader's, as [ReaderWriterLock.Downgrade] does. It
// panics if there is no writer.
func (l NamedReaderWriterLock) Downgrade() {
	if namedCount.Load() > 0 {
		downgradeNamed(l.owner.locks(), l.key())
	}
	if !l.owner.locks().Downgrade(l.key(), l.hash) {
		panic(fmt.Sprintf("lockutils: Downgrade of %s, which no writer holds", title(l.owner.scope(), l.Name())))
	}
}

// Owner returns how the lock is held now.
func (l NamedReaderWriterLock) Owner() Mode {
	s := l.owner.locks().State(l.key(), l.hash)
	return modeOf(s.Mode, s.Held)
}

// HasPendingWriters reports whether a writer waits for the lock now.
func (l NamedReaderWriterLock) HasPendingWriters() bool {
	return l.owner.locks().State(l.key(), l.hash).FirstExclusive > 0
}

// Name returns the lock's name.
func (l NamedReaderWriterLock) Name() string { return l.name }

func (l NamedReaderWriterLock) key() names.Key { return names.Key{Name: l.name} }

// acquire is for all but a lock that a single step acquires.
func (l NamedReaderWriterLock) acquire(ctx context.Context, m queue.Mode) error {
	err := acquireNamed(ctx, l.owner.locks(), l.key(), l.hash, m, queue.Fair)
	if err != nil {
		return &AcquireError{Scope: l.owner.scope(), Name: l.Name(), Err: err}
	}
	return nil
}

type namedReadLocker NamedReaderWriterLock

func (r namedReadLocker) Lock()   { NamedReaderWriterLock(r).RLock() }
func (r namedReadLocker) Unlock() { NamedReaderWriterLock(r).RUnlock() }
