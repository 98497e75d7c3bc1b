package names

import (
	"context"
	"sync/atomic"

	"github.com/lockutils/lockutils/internal/queue"
)

// A Table gives each key a [queue.Lock] while it is held or waited for. Nothing of a key is kept
// beyond that: a table takes the same memory after a million one-off keys as before them. All
// methods may be called concurrently.
//
// It is an array of slots. A slot has room for one key. While that is in use, other keys of the
// slot have entries in a hash table beside it. So a key costs two atomic operations while there
// are more slots than keys in use, and a few more beyond.
type Table struct {
	slots   []slot // a power of two of them
	permits int64  // 0 means 1
	bits    Hash   // the bits of hashes that count: all, but for tests that want collisions

	// Holds may be released by name, also by mistake. Such a mistake may end the hold of a request that
	// is about to see that the slot has another name. If others then bring the slot the very name that
	// the request wants, only a look at the word tells that its hold is gone. That look takes a tenth of
	// an uncontended Lock and Unlock. Without byName neither Release nor Downgrade may be called.
	byName bool
}

// Default is the table of the process, with one permit for each key. No hold of it is released by
// name. It takes no memory before it is used, since static memory that is all zeros is not there
// until it is written to.
var Default = &Table{slots: defaultSlots[:], bits: allBits}

var defaultSlots [1024]slot

const allBits = ^Hash(queue.Overflowed) // of which the identity has no room for a hash

// NewTable returns a table with that many slots, rounded up to a power of two, each of whose
// locks has that many permits. Its holds may be released by name.
func NewTable(slots int, permits int64) *Table {
	n := 1
	for n < slots {
		n *= 2
	}
	t := &Table{slots: make([]slot, n), permits: permits, bits: allBits, byName: true}
	for i := range t.slots {
		t.slots[i].Permits = int32(min(permits, queue.MaxPermits))
	}
	return t
}

// Permits returns how many exclusive holders a key may have at once.
func (t *Table) Permits() int64 { return max(t.permits, 1) }

// AcquireFast acquires the key's lock exclusively if that takes a single step, in a table with
// one permit for each key: if the name of its slot is the key's and the word admits the request,
// or if the slot is not in use. Beside a slot that another key uses it takes a few more. It is what
// the other methods try first. h is the hash of the key.
func (t *Table) AcquireFast(k Key, h Hash, o queue.Order) (queue.Hold, bool) {
	s, h := t.slot(h)
	w := s.Load()
	if !s.identifies(h) {
		if w&queue.Overflowed != 0 {
			return s.acquireBeside(k, h, o)
		}
		return s.claim(w, k, h)
	}
	if taken, ok := s.Take(w, o); ok {
		return s.HoldIn(taken), t.confirm(s, k, taken)
	}
	return queue.Hold{}, false
}

// ShareFast is AcquireFast for a shared hold, in a table whose shared holds are not released by
// name.
func (t *Table) ShareFast(k Key, h Hash) (queue.Hold, bool) {
	s, h := t.slot(h)
	if w := s.Load(); s.identifies(h) {
		if shared, ok := s.Share(w); ok {
			return s.HoldIn(shared), t.confirm(s, k, shared)
		}
	}
	if !s.acquireFast(k, h, queue.Shared, queue.Fair) {
		return queue.Hold{}, false
	}
	return s.Record(queue.Shared), true
}

// confirm reports whether a hold of the slot's lock that was acquired by the name in brief is of the
// key's lock, which it nearly always is: a holder can tell. If it is not, confirm gives it back.
func (t *Table) confirm(s *slot, k Key, taken queue.Word) bool {
	return s.serves(k) && (!t.byName || s.HoldIn(taken).Held()) || s.giveBack(taken)
}

// AcquirePermitFast is AcquireFast in a table with several permits, for callers that release by
// name.
func (t *Table) AcquirePermitFast(k Key, h Hash, o queue.Order) bool {
	s, h := t.slot(h)
	ok := s.acquireFast(k, h, queue.Exclusive, o)
	if ok {
		s.named.Add(1)
	}
	return ok
}

// ShareNamedFast is ShareFast for callers that release by name, and for a key without a scope.
func (t *Table) ShareNamedFast(name string, h Hash) bool {
	s, h := t.slot(h)
	if t.permits > 1 || !s.identifies(h) {
		return false
	}
	// A look at the word first would move its cache line while readers on other processors come and go.
	found, ok := s.Join()
	return (ok || s.LeaveAgain(found)) && (s.serves(Key{Name: name}) || s.reject(queue.Shared))
}

// acquireFast is AcquireFast for any request.
func (t *Table) acquireFast(k Key, h Hash, m queue.Mode, o queue.Order) (place, bool) {
	s, bits := t.slot(h)
	if m != queue.Exclusive || t.permits > 1 {
		return place{lock: &s.lock}, s.acquireFast(k, bits, m, o)
	}
	hold, ok := t.AcquireFast(k, h, o)
	return place{own: hold}, ok
}

// TryAcquire acquires the key's lock if that takes no waiting.
func (t *Table) TryAcquire(k Key, m queue.Mode, o queue.Order) (queue.Hold, bool) {
	p, ok := t.tryAcquire(k, k.Hash(), m, o)
	if !ok {
		return queue.Hold{}, false
	}
	return p.hold(m), true
}

// AcquireFrom acquires the key's lock, waiting for it if necessary. If ctx ends first it returns
// ctx.Err(), and it is as if the lock had not been requested. The observer is told of the origin
// of the request.
func (t *Table) AcquireFrom(
	ctx context.Context, k Key, m queue.Mode, o queue.Order, from queue.Origin,
) (queue.Hold, error) {
	p, err := t.acquire(ctx, k, k.Hash(), m, o, from)
	if err != nil {
		return queue.Hold{}, err
	}
	return p.hold(m), nil
}

// TryAcquireNamed is TryAcquire for callers that release by name and know the hash of the key.
func (t *Table) TryAcquireNamed(k Key, h Hash, m queue.Mode, o queue.Order) bool {
	p, ok := t.tryAcquire(k, h, m, o)
	if ok {
		p.countNamed(m)
	}
	return ok
}

// AcquireNamed is AcquireFrom for callers that release by name and know the hash of the key.
func (t *Table) AcquireNamed(
	ctx context.Context, k Key, h Hash, m queue.Mode, o queue.Order,
) error {
	p, err := t.acquire(ctx, k, h, m, o, queue.Origin{})
	if err == nil {
		p.countNamed(m)
	}
	return err
}

// Release releases a hold of mode m of the key's lock, whoever holds it, and reports whether
// there was one. With several permits there must be one that has been acquired by name.
func (t *Table) Release(k Key, h Hash, m queue.Mode) bool {
	if m == queue.Exclusive && t.ReleaseFast(h) || m == queue.Shared && t.LeaveFast(h) {
		return true
	}
	s, h := t.slot(h)
	return s.release(k, h, m)
}

// ReleaseFast is Release for an exclusive hold of the slot's lock, if that is the lock of the key with
// that hash. It is tried first.
//
// If the caller holds the key's lock and the slot has not overflowed, that is the slot's, and so the
// caller may read what was written with the name. If it does not hold it, the whole hash keeps it from
// ending the hold of a key that has the same name in brief, and the generation that of another key
// that has come meanwhile. Holds of several permits have no generation: such a mistake can end one.
func (t *Table) ReleaseFast(h Hash) bool {
	s, h := t.slot(h)
	w := s.Load()
	if w.Sole() { // nearly always
		return s.identifies(h) && s.hash == h && s.HoldIn(w).ReleaseFast()
	}
	if !s.identifiesAlone(h) || !s.complete(w) || s.hash != h {
		return false
	}
	if t.permits > 1 {
		return s.uncountNamed(queue.Exclusive) && s.Release(queue.Exclusive)
	}
	return s.HoldIn(w).Release()
}

// LeaveFast is ReleaseFast for a shared hold, in a table with one permit. It does not look at the
// word, for the same reason as ShareNamedFast. Shared holds have no generation: a caller that has none
// can end the one of another key that has come meanwhile.
func (t *Table) LeaveFast(h Hash) bool {
	s, h := t.slot(h)
	return t.permits <= 1 && s.identifiesAlone(h) && s.hash == h && s.Leave()
}

// Len returns how many keys are in use: held or waited for.
func (t *Table) Len() int {
	n := 0
	for i := range t.slots {
		n += t.slots[i].len()
	}
	return n
}

// Downgrade is [queue.Lock.Downgrade] for the key's lock.
func (t *Table) Downgrade(k Key, h Hash) (ok bool) {
	s, h := t.slot(h)
	s.visit(k, h, func(l *queue.Lock, w queue.Word) queue.Word {
		w, ok = l.DowngradeLocked(w)
		return w
	})
	return ok
}

// State is [queue.Lock.State] for the key's lock.
func (t *Table) State(k Key, h Hash) (state queue.State) {
	s, h := t.slot(h)
	s.visit(k, h, func(l *queue.Lock, w queue.Word) queue.Word {
		state = l.StateLocked(w)
		return w
	})
	return state
}

// slot returns the slot of keys with that hash, and the bits of the hash that count.
func (t *Table) slot(h Hash) (*slot, Hash) {
	h &= t.bits
	return &t.slots[h>>slotShift&Hash(len(t.slots)-1)], h
}

// slotShift is where the bits of a hash begin that choose the slot: among those of the generation, of
// which the identity has no room for a hash.
const slotShift = 9

// A lock is one that is released by name, too.
type lock struct {
	// The permits that are released by name, where there are several. Each is counted after it
	// has been acquired and until just before it is released.
	named atomic.Int32
	queue.Lock
}

// uncountNamed notes the end of a hold that is released by name and reports whether there is one,
// as far as that is known.
func (l *lock) uncountNamed(m queue.Mode) bool {
	if m == queue.Shared || l.Permits <= 1 {
		return true
	}
	for n := l.named.Load(); n > 0; n = l.named.Load() {
		if l.named.CompareAndSwap(n, n-1) {
			return true
		}
	}
	return false
}

// A place is where a key's lock has been acquired.
type place struct {
	own  queue.Hold // if the hold has an identity of its own
	lock *lock      // else
}

// hold returns the hold of mode m that has just been acquired.
func (p place) hold(m queue.Mode) queue.Hold {
	if p.own == (queue.Hold{}) {
		return p.lock.Record(m)
	}
	return p.own
}

// countNamed notes a hold of mode m that is released by name.
func (p place) countNamed(m queue.Mode) {
	if p.own == (queue.Hold{}) && m == queue.Exclusive {
		p.lock.named.Add(1)
	}
}

func (t *Table) tryAcquire(k Key, h Hash, m queue.Mode, o queue.Order) (place, bool) {
	s, h := t.slot(h)
	p, ok := t.acquireFast(k, h, m, o)
	if ok {
		return p, true
	}
	e, w := s.locate(k, h)
	if e == nil {
		own, ok := s.TryLocked(w, m, o)
		return place{own, &s.lock}, ok
	}
	own, ok := e.TryAcquire(m, o)
	if !ok {
		s.drop(e)
	}
	return place{own, &e.lock}, ok
}

func (t *Table) acquire(
	ctx context.Context, k Key, h Hash, m queue.Mode, o queue.Order, from queue.Origin,
) (place, error) {
	s, h := t.slot(h)
	p, ok := t.acquireFast(k, h, m, o)
	for i := 0; !ok && s.identifies(h) && s.Spin(i); i++ {
		p, ok = t.acquireFast(k, h, m, o)
	}
	if ok {
		return p, nil
	}
	about := queue.Subject{In: t, Scope: k.Scope, Name: k.Name, Origin: from}
	e, w := s.locate(k, h)
	if e == nil {
		own, err := s.AcquireLocked(ctx, w, m, o, about)
		return place{own, &s.lock}, err
	}
	own, err := e.acquire(ctx, m, o, about)
	return place{own, &e.lock}, err
}
