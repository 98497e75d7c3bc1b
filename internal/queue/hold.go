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
	if h.lock == nil || !h.lock.ReleaseGeneration(h.generation) {
		return false
	}
	if r := h.lock.receipt; r != nil {
		r.redeem()
	}
	return true
}

// Held reports whether the hold has not been released yet.
func (h Hold) Held() bool { return h.lock != nil && h.lock.Holds(h.generation) }

// Forget makes the hold anonymous: it can only be released by [Table.Release] from now on.
func (h Hold) Forget() {
	if h.lock != nil && h.lock.receipt != nil && h.lock.ReleaseGeneration(h.generation) {
		h.lock.receipt.free()
	}
}

// Attachment returns what was given to [Attach], or nil for a hold that has been had otherwise.
func (h Hold) Attachment() any {
	if h.lock == nil || h.lock.receipt == nil {
		return nil
	}
	return h.lock.receipt.attachment
}

// Attach returns a hold of nothing but itself: it can be released once, and keeps the attachment.
func Attach(attachment any) Hold {
	r := newReceipt()
	r.attachment = attachment
	return r.issue()
}

// hold returns the hold of mode m that has just been acquired of the slot's own lock, or of the entry.
func (t *Table) hold(s *slot, e *entry, g Generation, m Mode) Hold {
	if m == Exclusive && e == nil && t.permits <= 1 {
		return Hold{&s.Lock, g}
	}
	r := receipts.Get().(*receipt)
	r.mode, r.slot, r.entry = m, s, e
	return r.issue()
}

// A receipt stands for one of several holds of a lock, or for one of a lock that may go away. It is redeemed once, then it is
// used for another hold.
type receipt struct {
	Lock           // held as long as the hold that the receipt stands for
	attachment any // never changed

	// Written before the hold is known to others, read by whoever has released it.
	mode  Mode
	slot  *slot
	entry *entry // nil: the slot's own lock
}

var receipts = sync.Pool{New: func() any { return newReceipt() }}

func newReceipt() *receipt {
	r := new(receipt)
	r.Lock.receipt = r
	return r
}

func (r *receipt) issue() Hold {
	g, _ := r.acquireFast(Exclusive, Overtaking)
	return Hold{&r.Lock, g}
}

// redeem releases what the receipt stands for.
func (r *receipt) redeem() {
	if r.attachment != nil {
		return
	}
	m, s, e := r.mode, r.slot, r.entry
	r.free()
	l := &s.Lock
	if e != nil {
		l = &e.Lock
	}
	l.Release(m)
	if e != nil {
		s.drop(e)
	}
}

func (r *receipt) free() {
	r.slot, r.entry = nil, nil
	receipts.Put(r)
}
