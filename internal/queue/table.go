package queue

import "context"

// A Table gives each key a [Lock] while it is held or waited for. Nothing of a key is kept beyond
// that: a table takes the same memory after a million one-off keys as before them. All methods
// may be called concurrently.
//
// It is an array of slots. A slot has room for one key. While that is in use, other keys of the
// slot have entries in a hash table beside it. So a key costs two atomic operations while there
// are more slots than keys in use, and a few more beyond.
type Table struct {
	slots   []slot // a power of two of them
	permits int64  // 0 means 1
	cut     Hash   // bits of hashes to be left out, so that collisions are the rule; only tests set it
}

// Default is the table of the process, with one permit for each key. It takes no memory before it
// is used, since static memory that is all zeros is not there until it is written to.
var Default = &Table{slots: defaultSlots[:]}

var defaultSlots [1024]slot

// NewTable returns a table with that many slots, rounded up to a power of two, each of whose
// locks has that many permits.
func NewTable(slots int, permits int64) *Table {
	n := 1
	for n < slots {
		n *= 2
	}
	t := &Table{slots: make([]slot, n), permits: permits}
	for i := range t.slots {
		t.slots[i].permits = int32(min(permits, maxHolders))
	}
	return t
}

// Permits returns how many exclusive holders a key may have at once.
func (t *Table) Permits() int64 { return max(t.permits, 1) }

// AcquireFast acquires the key's lock exclusively if that takes a single step, in a table with
// one permit for each key: if the name of its slot is the key's and the word admits the request,
// or if the slot is not in use. Beside a slot that another key uses it takes a few more. It is what
// the other methods try first. h is the hash of the key.
func (t *Table) AcquireFast(k Key, h Hash, o Order) (Hold, bool) {
	s, h := t.slot(h)
	w := s.load()
	switch {
	case !s.identifies(h) && w&overflowed != 0:
		return s.acquireBeside(k, h, o)
	case !s.identifies(h):
		w, ok := s.claim(w, k, h)
		return Hold{&s.Lock, w}, ok
	case !s.take(w, o):
		return Hold{}, false
	}
	w = w.next()
	return Hold{&s.Lock, w}, s.confirm(k, w)
}

// ShareFast is AcquireFast for a shared hold, in a table whose shared holds are not released by
// name.
func (t *Table) ShareFast(k Key, h Hash) (Hold, bool) {
	s, h := t.slot(h)
	if w := s.load(); s.identifies(h) && s.share(w) {
		w = w.nextSharing()
		return Hold{&s.Lock, w}, s.confirm(k, w)
	}
	if !s.acquireFast(k, h, Shared, Fair) {
		return Hold{}, false
	}
	return place{slot: s}.hold(Shared), true
}

// AcquirePermitFast is AcquireFast in a table with several permits, for callers that release by
// name.
func (t *Table) AcquirePermitFast(k Key, h Hash, o Order) bool {
	s, h := t.slot(h)
	ok := s.acquireFast(k, h, Exclusive, o)
	if ok {
		s.countNamed(Exclusive)
	}
	return ok
}

// ShareNamedFast is ShareFast for callers that release by name.
func (t *Table) ShareNamedFast(k Key, h Hash) bool {
	s, h := t.slot(h)
	return s.acquireFast(k, h, Shared, Fair)
}

// acquireFast is AcquireFast for any request.
func (t *Table) acquireFast(k Key, h Hash, m Mode, o Order) (place, bool) {
	s, cut := t.slot(h)
	if m != Exclusive || t.permits > 1 {
		return place{slot: s}, s.acquireFast(k, cut, m, o)
	}
	hold, ok := t.AcquireFast(k, h, o)
	if !ok {
		return place{}, false
	}
	e, _ := hold.lock.owner.(*entry)
	return place{s, e, hold.word}, true
}

// TryAcquire acquires the key's lock if that takes no waiting.
func (t *Table) TryAcquire(k Key, m Mode, o Order) (Hold, bool) {
	p, ok := t.tryAcquire(k, k.Hash(), m, o)
	if !ok {
		return Hold{}, false
	}
	return p.hold(m), true
}

// AcquireFrom acquires the key's lock, waiting for it if necessary. If ctx ends first it returns
// ctx.Err(), and it is as if the lock had not been requested. The observer is told of the origin
// of the request.
func (t *Table) AcquireFrom(ctx context.Context, k Key, m Mode, o Order, from Origin) (Hold, error) {
	p, err := t.acquire(ctx, k, k.Hash(), m, o, from)
	if err != nil {
		return Hold{}, err
	}
	return p.hold(m), nil
}

// TryAcquireNamed is TryAcquire for callers that release by name and know the hash of the key.
func (t *Table) TryAcquireNamed(k Key, h Hash, m Mode, o Order) bool {
	p, ok := t.tryAcquire(k, h, m, o)
	if ok {
		p.lock().countNamed(m)
	}
	return ok
}

// AcquireNamed is AcquireFrom for callers that release by name and know the hash of the key.
func (t *Table) AcquireNamed(ctx context.Context, k Key, h Hash, m Mode, o Order) error {
	p, err := t.acquire(ctx, k, h, m, o, Origin{})
	if err == nil {
		p.lock().countNamed(m)
	}
	return err
}

// Release releases a hold of mode m of the key's lock, whoever holds it, and reports whether
// there was one. With several permits there must be one that has been acquired by name.
func (t *Table) Release(k Key, h Hash, m Mode) bool {
	if t.ReleaseFast(k, h, m) {
		return true
	}
	s, h := t.slot(h)
	return s.release(k, h, m)
}

// ReleaseFast is Release for a hold of the slot's lock, if that is the key's. It is tried first.
//
// If the caller holds the key's lock and the slot has not overflowed, that is the slot's, and so the
// caller may read the name. If it does not hold it, the generation keeps it from ending the
// exclusive hold of another key that has come meanwhile. Shared holds have no generation: such a
// mistake can end one of those.
func (t *Table) ReleaseFast(k Key, h Hash, m Mode) bool {
	s, h := t.slot(h)
	w := s.load()
	switch {
	case m == Exclusive && w&^generationMask == held: // nearly always
		return s.identifies(h) && s.serves(k) && s.swap(w, w.released())
	case w&overflowed != 0 || !w.heldAs(m) || !s.identifies(h) || !s.complete(w) || !s.serves(k):
		return false
	case t.permits > 1:
		return s.uncountNamed(m) && s.Release(m)
	case m == Exclusive:
		return s.ReleaseGeneration(w.generation())
	}
	w = s.Lock.add(minusHolder)
	return w&(waiting|negative) == 0 || s.follow(w)
}

// Len returns how many keys are in use: held or waited for.
func (t *Table) Len() int {
	n := 0
	for i := range t.slots {
		n += t.slots[i].len()
	}
	return n
}

// Downgrade is [Lock.Downgrade] for the key's lock.
func (t *Table) Downgrade(k Key, h Hash) (ok bool) {
	s, h := t.slot(h)
	s.visit(k, h, func(l *Lock, w word) word {
		w, ok = l.downgrade(w)
		return w
	})
	return ok
}

// State is [Lock.State] for the key's lock.
func (t *Table) State(k Key, h Hash) (state State) {
	s, h := t.slot(h)
	s.visit(k, h, func(l *Lock, w word) word {
		state = l.look(w)
		return w
	})
	return state
}

// slot returns the slot of keys with that hash, and the hash without the bits that are cut.
func (t *Table) slot(h Hash) (*slot, Hash) {
	h &^= t.cut
	return &t.slots[h>>(generationShift+1)&Hash(len(t.slots)-1)], h
}

// A place is where a key's lock has been acquired.
type place struct {
	slot  *slot
	entry *entry // nil: the slot's own lock
	word  word   // of the acquisition; the generation only if its release takes more than one step
}

func (p place) lock() *Lock {
	if p.entry != nil {
		return &p.entry.Lock
	}
	return &p.slot.Lock
}

func (t *Table) tryAcquire(k Key, h Hash, m Mode, o Order) (place, bool) {
	s, h := t.slot(h)
	p, ok := t.acquireFast(k, h, m, o)
	if ok {
		return p, true
	}
	var g Generation
	e, w := s.locate(k, h)
	if e == nil {
		g, ok = s.tryLocked(w, m, o)
	} else if g, ok = e.TryAcquire(m, o); !ok {
		s.drop(e)
	}
	return place{s, e, word(g)}, ok
}

func (t *Table) acquire(
	ctx context.Context, k Key, h Hash, m Mode, o Order, from Origin,
) (place, error) {
	s, h := t.slot(h)
	p, ok := t.acquireFast(k, h, m, o)
	for i := 0; !ok && i < spins && s.identifies(h) && s.spin(); i++ {
		p, ok = t.acquireFast(k, h, m, o)
	}
	if ok {
		return p, nil
	}
	var g Generation
	var err error
	about := Subject{In: t, Key: k, Origin: from}
	e, w := s.locate(k, h)
	if e == nil {
		g, err = s.acquireLocked(ctx, w, m, o, about)
	} else {
		g, err = e.acquire(ctx, m, o, about)
	}
	return place{s, e, word(g)}, err
}
