package names

import (
	"context"
	"sync"

	"github.com/lockutils/lockutils/internal/queue"
)

// An entry is the lock of a key that has found its slot in use by another.
type entry struct {
	lock
	key  Key
	hash Hash
	slot *slot
	refs int    // holders and requests; guarded by the slot's Mu
	next *entry // in its chain; guarded by the slot's Mu
}

// Entries are pooled. Their generations go on growing, so that a stale hold cannot end one of
// another key. It may still read the number of permits, which is why that never changes where a
// hold may be one of an entry.
var (
	entriesOfOne  = sync.Pool{New: newEntry}
	entriesOfMany = sync.Pool{New: newEntry}
)

func newEntry() any {
	e := new(entry)
	e.Owner = e
	return e
}

// Drop implements [queue.Owner].
func (e *entry) Drop() { e.slot.drop(e) }

// acquire is Acquire for a reference, which it gives up if it does not return a hold.
func (e *entry) acquire(
	ctx context.Context, m queue.Mode, o queue.Order, about queue.Subject,
) (h queue.Hold, err error) {
	acquired := false
	defer func() {
		if !acquired { // also if the observer panics
			e.slot.drop(e)
		}
	}()
	h, err = e.Acquire(ctx, m, o, about)
	acquired = err == nil
	return h, err
}

// overflow is a hash table of entries. Unlike a map it costs little to enter and leave, and
// returns its memory.
type overflow struct {
	chains  []*entry // a power of two of them
	entries int
}

// fewChains is the size of a table that is kept when it is empty.
const fewChains = 4

func (o *overflow) chain(h Hash) **entry {
	return &o.chains[h>>32&Hash(len(o.chains)-1)]
}

// find returns the entry of a key, or nil.
func (o *overflow) find(k Key, h Hash) *entry {
	if o.entries == 0 {
		return nil
	}
	e := *o.chain(h)
	for e != nil && (e.hash != h || e.key != k) {
		e = e.next
	}
	return e
}

// add makes the entry of a key of that slot.
func (o *overflow) add(k Key, h Hash, s *slot) *entry {
	if o.entries >= 2*len(o.chains) {
		o.grow()
	}
	var e *entry
	if s.Permits > 1 {
		e = entriesOfMany.Get().(*entry)
		e.Permits = s.Permits
	} else {
		e = entriesOfOne.Get().(*entry)
	}
	e.key, e.hash, e.slot = k, h, s
	first := o.chain(h)
	e.next, *first = *first, e
	o.entries++
	return e
}

// remove gives an entry back.
func (o *overflow) remove(e *entry) {
	link := o.chain(e.hash)
	for *link != e {
		link = &(*link).next
	}
	*link = e.next
	e.key, e.next = Key{}, nil
	if e.Permits > 1 {
		entriesOfMany.Put(e)
	} else {
		entriesOfOne.Put(e)
	}
	if o.entries--; o.entries == 0 && len(o.chains) > fewChains {
		o.chains = nil
	}
}

func (o *overflow) grow() {
	old := o.chains
	o.chains = make([]*entry, max(fewChains, 4*len(old)))
	for _, e := range old {
		for e != nil {
			next, first := e.next, o.chain(e.hash)
			e.next, *first = *first, e
			e = next
		}
	}
}
