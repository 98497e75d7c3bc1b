package lockutils

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"

	"github.com/lockutils/lockutils/internal/names"
	"github.com/lockutils/lockutils/internal/queue"
)

// Semaphores is a container of named semaphores. The zero value is ready for use, and has one
// permit for each name. Semaphores of different containers are different semaphores.
//
// A name costs memory only while a permit of it is held or waited for. A Semaphores must not be
// copied after first use.
type Semaphores struct {
	// Name tells the container from others in errors and log messages, see [AcquireError]. It has
	// no other meaning. It must not change after first use.
	Name string

	permits int64 // 0 means 1
	table   container
	spec    atomic.Pointer[optionSpec] // made when it is first needed
}

// NewSemaphores returns a container whose semaphores have that many permits each. It panics if
// permits is less than one.
func NewSemaphores(permits int64) *Semaphores {
	if permits < 1 {
		panic(fmt.Sprintf("lockutils: NewSemaphores(%d): at least one permit is needed", permits))
	}
	return &Semaphores{permits: permits}
}

// Get returns the handle of the semaphore of that name. It allocates nothing, and the handle keeps
// nothing alive. Handles of equal names of one container are equal.
func (s *Semaphores) Get(name string) Semaphore {
	return Semaphore{s, name, noScope.Of(name)}
}

// Len returns how many names are in use now: held or waited for.
func (s *Semaphores) Len() int { return s.table.len() }

func (s *Semaphores) locks() (t *names.Table) {
	if t = s.table.Load(); t == nil {
		t = s.makeTable()
	}
	return t
}

// optionSpec returns that of WithSemaphores, which does not allocate it at each call.
func (s *Semaphores) optionSpec() *optionSpec {
	if s.spec.Load() == nil {
		s.spec.CompareAndSwap(nil, &optionSpec{kind: optSemaphores, semaphores: s})
	}
	return s.spec.Load()
}

//go:noinline // so that locks is inlined
func (s *Semaphores) makeTable() *names.Table { return s.table.make(max(s.permits, 1), s) }

func (s *Semaphores) scope() string { return cmp.Or(s.Name, "semaphores") }

// A Semaphore is the handle of a named semaphore, see [Semaphores.Get]. A lock that is acquired
// with [WithSemaphores] and without a prefix holds a permit of the semaphore of its name. The
// methods of a Semaphore write no log messages. The zero Semaphore belongs to no container:
// to acquire or release a permit of it panics with a nil dereference.
type Semaphore struct {
	owner *Semaphores
	name  string
	hash  names.Hash // of the name
}

// Acquire acquires a permit and waits for one if necessary. If ctx ends first, it returns an
// [*AcquireError] that matches ctx.Err(). If ctx comes from [Do] and holds all the permits itself,
// the error matches [ErrDeadlock]. A nil ctx gives an error that matches [ErrOptions].
func (s Semaphore) Acquire(ctx context.Context) error {
	if canWait(ctx) && !observed.Load() {
		t := s.owner.locks()
		if s.owner.permits > 1 {
			if t.AcquirePermitFast(s.key(), s.hash, queue.Barging) {
				return nil
			}
		} else if _, ok := t.AcquireFast(s.key(), s.hash, queue.Barging); ok {
			return nil
		}
	}
	return s.acquireSlow(ctx)
}

// acquireSlow is Acquire for all but a free permit.
func (s Semaphore) acquireSlow(ctx context.Context) error {
	if checkHeld(ctx, "", s.Name(), &settings{semaphores: s.owner}) == wouldDeadlock {
		return s.failed(ErrDeadlock)
	}
	return s.failed(acquireNamed(ctx, s.owner.locks(), s.key(), s.hash, queue.Exclusive, queue.Barging))
}

// TryAcquire acquires a permit if one is free, and reports whether it did.
func (s Semaphore) TryAcquire() bool {
	return tryAcquireNamed(s.owner.locks(), s.key(), s.hash, queue.Exclusive, queue.Barging)
}

// Release releases a permit that Acquire or TryAcquire has acquired. It panics if none is held. A
// permit that [Lock] has acquired is released by its guard.
func (s Semaphore) Release() {
	if !releaseNamedFast(s.owner.locks(), s.hash) {
		s.releaseSlow()
	}
}

// releaseSlow is Release for permits that releaseNamedFast does not release.
func (s Semaphore) releaseSlow() {
	if !releaseNamed(s.owner.locks(), s.key(), s.hash, queue.Exclusive) {
		panic(fmt.Sprintf("lockutils: Release of %s, which nobody holds", title(s.owner.scope(), s.Name())))
	}
}

func (s Semaphore) key() names.Key { return names.Key{Name: s.name} }

// Name returns the semaphore's name.
func (s Semaphore) Name() string { return s.name }

// failed returns the error of a call, whose reason is err.
func (s Semaphore) failed(err error) error {
	if err == nil {
		return nil
	}
	return &AcquireError{Scope: s.owner.scope(), Name: s.Name(), Err: err}
}

// A container is a table of named locks that is made when it is first needed.
type container struct{ atomic.Pointer[names.Table] }

// containerSlots makes an empty container 27 KiB. With more names in use at a time it gets
// slower, not wrong.
const containerSlots = 128

// scoped is what tells the locks of a container from others in errors, messages and snapshots.
type scoped interface{ scope() string }

// make makes the table, unless another goroutine has, and returns it. Its locks have that many permits.
func (c *container) make(permits int64, owner scoped) *names.Table {
	if t := names.NewTable(containerSlots, permits); c.CompareAndSwap(nil, t) {
		remember(t, owner.scope())
	}
	return c.Load()
}

func (c *container) len() int {
	if t := c.Load(); t != nil {
		return t.Len()
	}
	return 0
}

// The three steps of a handle, which releases by name.

func acquireNamed(
	ctx context.Context, t *names.Table, k names.Key, h names.Hash, m queue.Mode, o queue.Order,
) error {
	if err := usable(ctx); err != nil {
		return err
	}
	if err := t.AcquireNamed(ctx, k, h, m, o); err != nil {
		return waitError(ctx, err)
	}
	if observed.Load() {
		observeNamed(ctx, t, k, h, m)
	}
	return nil
}

// observeNamed is observeHold for handles.
func observeNamed(ctx context.Context, t *names.Table, k names.Key, h names.Hash, m queue.Mode) {
	seen := false
	defer func() {
		if !seen {
			releaseNamed(t, k, h, m)
		}
	}()
	if tracked() {
		trackNamed(t, k, m)
	}
	watchOrder(ctx, k, m)
	seen = true
}

func tryAcquireNamed(t *names.Table, k names.Key, h names.Hash, m queue.Mode, o queue.Order) bool {
	ok := t.TryAcquireNamed(k, h, m, o)
	if ok && tracked() {
		trackNamed(t, k, m)
	}
	return ok
}

// releaseNamedFast is releaseNamed for most exclusive holds, and is tried first.
func releaseNamedFast(t *names.Table, h names.Hash) bool {
	return namedCount.Load() == 0 && t.ReleaseFast(h)
}

func releaseNamed(t *names.Table, k names.Key, h names.Hash, m queue.Mode) bool {
	if namedCount.Load() > 0 {
		untrackNamed(t, k, m)
	}
	return t.Release(k, h, m)
}
