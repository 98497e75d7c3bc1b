package queue

import (
	"context"
	"math"
)

// A Table gives each key a [Lock] for as long as somebody holds it or waits for it. Nothing of a key is kept beyond that: a
// table takes the same memory after a million one-off keys as before them. All methods may be called concurrently.
//
// It is an array of slots. A slot has room for one key; while that one is in use, other keys of the slot have entries in
// a map beside it. So a key costs two atomic operations as long as there are more slots than keys in use at a time, and a
// map access beyond.
type Table struct {
	slots   []slot // a power of two of them
	permits int64
	hasher  hasher
	mask    uint64 // of the hash bits in use; tests cut it down, so that collisions are the rule
}

// A Key names a lock in a table: equal keys mean one lock.
type Key struct{ Scope, Name string }

// NewTable returns a table with that many slots, rounded up to a power of two, each of whose locks has that many permits.
func NewTable(slots int, permits int64) *Table {
	n := 1
	for n < slots {
		n *= 2
	}
	t := &Table{slots: make([]slot, n), permits: permits, hasher: newHasher(), mask: ^uint64(0)}
	for i := range t.slots {
		t.slots[i].permits = int32(min(permits, math.MaxInt32))
	}
	return t
}

// Permits returns how many exclusive holders a key may have at once.
func (t *Table) Permits() int64 { return t.permits }

// TryAcquire takes the key's lock if that needs no waiting.
func (t *Table) TryAcquire(k Key, m Mode, o Order) (Hold, bool) {
	s, tag := t.slot(k)
	r := t.receipt(m)
	if taken, ok := s.acquireFast(k, tag, m, o, r); ok {
		return t.hold(r, s, nil, taken, m), true
	}
	var g Generation
	var ok bool
	e, w := s.locate(k, tag)
	if e == nil {
		g, ok = s.tryLocked(w, m, o)
	} else if g, ok = e.TryAcquire(m, o); !ok {
		s.drop(e)
	}
	if !ok {
		if r != nil {
			r.free()
		}
		return Hold{}, false
	}
	return t.hold(r, s, e, word(g), m), true
}

// Acquire takes the key's lock, waiting for it if it must. When ctx ends first it returns ctx.Err(), and it is as if
// the lock had never been asked for.
func (t *Table) Acquire(ctx context.Context, k Key, m Mode, o Order) (Hold, error) {
	return t.AcquireBy(ctx, k, m, o, "")
}

// AcquireBy is Acquire with the name of the function that makes the request, for the observer.
func (t *Table) AcquireBy(ctx context.Context, k Key, m Mode, o Order, by string) (Hold, error) {
	s, tag := t.slot(k)
	r := t.receipt(m)
	taken, ok := s.acquireFast(k, tag, m, o, r)
	for i := 0; !ok && i < spins; i++ {
		pause()
		w := s.load()
		if w&(handoff|biased) != 0 || w&tagMask != tag {
			break // Spinning changes nothing.
		}
		if s.lets(w, m, o) {
			taken, ok = s.acquireFast(k, tag, m, o, r)
		}
	}
	if ok {
		return t.hold(r, s, nil, taken, m), nil
	}
	var g Generation
	var err error
	e, w := s.locate(k, tag)
	if e == nil {
		g, err = s.acquireLocked(ctx, w, m, o, Subject{In: t, Key: k, By: by})
	} else if g, err = e.AcquireFor(ctx, m, o, Subject{In: t, Key: k, By: by}); err != nil {
		s.drop(e)
	}
	if err != nil {
		if r != nil {
			r.free()
		}
		return Hold{}, err
	}
	return t.hold(r, s, e, word(g), m), nil
}

// Release gives up a hold of mode m of the key's lock, whoever holds it, and reports whether there was one.
func (t *Table) Release(k Key, m Mode) bool {
	s, tag := t.slot(k)
	return s.releaseFast(k, tag, m) || s.releaseNamed(k, m)
}

// Len returns how many keys are in use: held or waited for.
func (t *Table) Len() int {
	n := 0
	for i := range t.slots {
		n += t.slots[i].len()
	}
	return n
}

// slot returns the key's slot and its tag there.
func (t *Table) slot(k Key) (*slot, word) {
	seed := t.hasher.start
	if k.Scope != "" {
		seed = t.hasher.sum(seed, k.Scope)
	}
	return t.at(t.hasher.sum(seed, k.Name))
}

// at returns the slot of keys with that hash, and their tag there.
func (t *Table) at(hash uint64) (*slot, word) {
	h := hash & t.mask
	return &t.slots[h&uint64(len(t.slots)-1)], word(h>>32<<tagShift) & tagMask
}

// AcquireAtOnce takes the lock of a name without a scope exclusively, if it can be had without the slow path. It is the
// front half of Acquire, for callers in a hurry.
func (t *Table) AcquireAtOnce(name string) (Hold, bool) {
	s, tag := t.at(t.hasher.sum(t.hasher.start, name))
	prefetchForWrite(&s.state)
	w := s.take(Key{Name: name}, tag, Barging)
	return Hold{&s.Lock, w}, w != 0
}
