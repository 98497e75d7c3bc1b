package queue

import (
	"sync"
	"sync/atomic"
)

// A Hold is one acquisition of a lock of a [Table]. It may be copied; of all its copies only the first that is released
// counts. The zero Hold holds nothing.
type Hold struct {
	slot       *slot
	receipt    *receipt   // nil: an exclusive hold of the slot's own lock, which has one permit
	generation Generation // of the lock, or else the serial number of the receipt
}

// Release gives the hold up and reports whether it was still held.
func (h Hold) Release() bool {
	if h.receipt != nil {
		return h.redeem()
	}
	return h.slot != nil && h.slot.ReleaseGeneration(h.generation)
}

// Held reports whether the hold has not been released yet.
func (h Hold) Held() bool {
	switch {
	case h.slot == nil:
		return false
	case h.receipt == nil:
		return h.slot.Holds(h.generation)
	default:
		return h.receipt.serial.Load() == uint64(h.generation)
	}
}

// Forget makes the hold anonymous: it can only be released by [Table.Release] from now on.
func (h Hold) Forget() {
	if h.receipt != nil {
		h.receipt.end(h.generation)
	}
}

// redeem releases a hold that has a receipt.
func (h Hold) redeem() bool {
	m, e, ok := h.receipt.end(h.generation)
	if !ok {
		return false
	}
	l := &h.slot.Lock
	if e != nil {
		l = &e.Lock
	}
	if m == Shared {
		l.releaseShared()
	} else {
		l.Release(m)
	}
	if e != nil {
		h.slot.drop(e)
	}
	return true
}

// hold returns the hold of mode m that has just been acquired of the slot's own lock, or of the entry. Its generation identifies a single
// exclusive holder of the slot. Where there can be more of them, or the lock can go away, the hold gets a receipt.
func (t *Table) hold(s *slot, e *entry, g Generation, m Mode) Hold {
	if m == Exclusive && e == nil && t.permits <= 1 {
		return Hold{slot: s, generation: g}
	}
	r := receipts.Get().(*receipt)
	r.mode, r.entry = m, e
	return Hold{slot: s, receipt: r, generation: Generation(r.serial.Load())}
}

// A receipt stands for one hold. It ends once, then it is used for another hold.
type receipt struct {
	serial atomic.Uint64 // of the hold that it stands for, or will stand for next

	// Written before the hold is known to others, read by whoever has ended it.
	mode  Mode
	entry *entry // nil: the slot's own lock
}

var receipts = sync.Pool{New: func() any { return new(receipt) }}

// end takes the receipt from the hold with that serial number, and tells what it was for.
func (r *receipt) end(serial Generation) (Mode, *entry, bool) {
	if !r.serial.CompareAndSwap(uint64(serial), uint64(serial)+1) {
		return 0, nil, false
	}
	m, e := r.mode, r.entry
	r.entry = nil
	receipts.Put(r)
	return m, e, true
}
