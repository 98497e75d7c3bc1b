package queue

import "sync"

// A Hold is one acquisition of a lock of a [Table]. It may be copied; of all its copies only the first that is released
// counts. The zero Hold holds nothing.
//
// It is always an exclusive hold of some lock, whose generation tells whether it is stale: of the key's own lock, if the
// hold excludes all others, or else of a receipt.
type Hold struct {
	lock       *Lock
	generation Generation
}

// Release gives the hold up and reports whether it was still held.
func (h Hold) Release() bool {
	if h.lock == nil {
		return false
	}
	if r := h.lock.receipt; r != nil {
		return r.redeem(h.generation)
	}
	return h.lock.ReleaseGeneration(h.generation)
}

// Held reports whether the hold has not been released yet.
func (h Hold) Held() bool { return h.lock != nil && h.lock.Holds(h.generation) }

// Forget makes the hold anonymous: it can only be released by [Table.Release] from now on.
func (h Hold) Forget() {
	if h.lock == nil || h.lock.receipt == nil || !h.lock.renew(h.generation) {
		return
	}
	r := h.lock.receipt
	if l := r.lock(); r.mode == Exclusive && l.permits > 1 {
		l.countAnonymous()
	}
	r.free()
}

// receipt returns one for a hold of mode m, or nil if that can probably do without. The sooner it is there the better:
// while readers are in, they had better do nothing that takes time, so that they are out before another processor wants
// the word.
func (t *Table) receipt(m Mode) *receipt {
	if m == Exclusive && t.permits <= 1 {
		return nil
	}
	return receipts.Get().(*receipt)
}

// hold returns the hold of mode m that has just been acquired of the slot's own lock, or of the entry.
func (t *Table) hold(r *receipt, s *slot, e *entry, g Generation, m Mode) Hold {
	if r == nil {
		if e == nil {
			return Hold{&s.Lock, g}
		}
		r = receipts.Get().(*receipt)
	}
	r.mode, r.generation, r.slot, r.entry = m, g, s, e
	return r.issue()
}

// A receipt stands for one of several holds of a lock, or for one of a lock that may go away. It is redeemed once, then
// it is used for another hold.
type receipt struct {
	Lock // always held: by the hold that the receipt stands for, or will stand for next

	// Written before the hold is known to others, read by whoever has released it.
	mode       Mode
	generation Generation // of the lock, for an exclusive hold
	slot       *slot
	entry      *entry // nil: the slot's own lock
}

var receipts = sync.Pool{New: func() any { return newReceipt() }}

func newReceipt() *receipt {
	r := new(receipt)
	r.Lock.receipt = r
	r.acquireFast(Exclusive, Overtaking)
	return r
}

func (r *receipt) issue() Hold {
	return Hold{&r.Lock, r.load().generation()}
}

// redeem releases what the receipt stands for, if that is still the hold g, and reports whether it is.
func (r *receipt) redeem(g Generation) bool {
	if !r.renew(g) {
		return false
	}
	if r.release() && r.entry != nil {
		r.slot.drop(r.entry)
	}
	r.free()
	return true
}

// release releases the lock, unless that has been done by name already, which would have been wrong.
func (r *receipt) release() bool {
	l := r.lock()
	if r.mode == Shared || l.permits > 1 {
		return l.Release(r.mode)
	}
	return l.ReleaseGeneration(r.generation)
}

// lock returns the lock that the receipt stands for a hold of.
func (r *receipt) lock() *Lock {
	if r.entry != nil {
		return &r.entry.Lock
	}
	return &r.slot.Lock
}

// free lets the receipt be used again.
func (r *receipt) free() {
	r.slot, r.entry = nil, nil
	receipts.Put(r)
}
