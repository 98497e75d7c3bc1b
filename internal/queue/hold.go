package queue

import "sync"

// A Hold is one acquisition of a lock of a [Table]. It may be copied; of all its copies only the first that is released
// counts. The zero Hold holds nothing.
//
// It is always an exclusive hold of some lock, whose generation tells whether it is stale: of the slot's own lock, if the
// hold excludes all others and the key has no entry, or else of a receipt or a ticket.
type Hold struct {
	lock *Lock
	word word // the lock's, as the acquisition left it; only its generation if the release takes more than one step
}

// Release gives the hold up and reports whether it was still held.
func (h Hold) Release() bool {
	if h.lock == nil {
		return false
	}
	if r := h.lock.receipt; r != nil {
		return r.redeem(h.word.generation())
	}
	return h.lock.ReleaseGeneration(h.word.generation())
}

// ReleaseAtOnce gives the hold up if that takes one atomic operation, and reports whether it did. It is tried before
// Release, and does for holds of AcquireAtOnce unless others wait or have come meanwhile.
func (h Hold) ReleaseAtOnce() bool {
	// Who has overtaken a waiter has to see to it that it is woken, even if the word is the same as before.
	w := h.word
	return w&(held|waiting) == held && h.lock.swap(w, w.released())
}

// Held reports whether the hold has not been released yet.
func (h Hold) Held() bool { return h.lock != nil && h.lock.Holds(h.word.generation()) }

// Forget makes the hold anonymous: it is for [Table.Release] to release it. The hold must not be used any more, and nothing
// can be done with it unless it excludes all others.
func (h Hold) Forget() {
	if h.lock == nil || h.lock.receipt == nil || !h.lock.renew(h.word.generation()) {
		return
	}
	r := h.lock.receipt
	switch l := r.lock(); {
	case r.standing:
		l.mu.Lock()
		l.unlockState(l.lockState()) // which counts it
		l.mu.Unlock()
	case r.mode == Exclusive && l.permits > 1:
		l.countAnonymous()
	}
	r.free()
}

// Attachment returns what was given to [Ticket.Issue], or nil for a hold that has been had otherwise. Once the hold has been
// released, the attachment may belong to another one.
func (h Hold) Attachment() any {
	if h.lock == nil || h.lock.receipt == nil {
		return nil
	}
	return h.lock.receipt.attachment
}

// A Ticket makes holds of nothing but itself, one after the other, which lead to an attachment. It is a part of what is
// attached, so that both can be pooled together. It must not be copied.
type Ticket struct{ receipt }

// Issue returns the next hold, when the one before has been released. The attachment is always the same.
func (t *Ticket) Issue(attachment any) Hold {
	if t.attachment == nil {
		t.attachment = attachment
		t.init()
	}
	return t.issue()
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

// hold returns the hold of mode m that has just been acquired of the slot's own lock, or of the entry, with that word or generation.
func (t *Table) hold(r *receipt, s *slot, e *entry, w word, m Mode) Hold {
	if r == nil {
		if e == nil {
			return Hold{&s.Lock, w}
		}
		r = receipts.Get().(*receipt)
	}
	r.mode, r.generation, r.slot, r.entry = m, w.generation(), s, e
	return r.issue()
}

// A receipt stands for one of several holds of a lock, or for one of a lock that may go away. It is redeemed once, then
// it is used for another hold.
type receipt struct {
	Lock           // always held: by the hold that the receipt stands for, or will stand for next
	attachment any // of a ticket; never changed

	// Written before the hold is known to others, read by whoever has released it.
	mode       Mode
	standing   bool       // the shared hold is marked on the stand, unless it has been counted since
	reads      uint32     // shared holds released
	generation Generation // of the lock, for an exclusive hold
	slot       *slot
	entry      *entry // nil: the slot's own lock
	stand      *stand // for shared holds; a ticket has none
}

var receipts = sync.Pool{New: func() any {
	r := &receipt{stand: nextStand()}
	r.init()
	return r
}}

func (r *receipt) init() {
	r.Lock.receipt = r
	r.acquireFast(Exclusive, Barging)
}

func (r *receipt) issue() Hold {
	return Hold{&r.Lock, word(r.load().generation())}
}

// redeem releases what the receipt stands for, if that is still the hold g, and reports whether it is.
func (r *receipt) redeem(g Generation) bool {
	if !r.renew(g) {
		return false
	}
	if r.attachment != nil {
		return true
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
	switch {
	case r.mode == Shared:
		return r.part(l)
	case l.permits > 1:
		return l.Release(Exclusive)
	}
	return l.ReleaseGeneration(r.generation)
}

// join takes a shared hold of a slot's lock in one step, if the tag is as given. It looks first: a reader in vain at the
// lock of another name could make an attempt to take that one fail.
func (r *receipt) join(l *Lock, tag word) bool {
	w := l.load()
	if w&(barred|tagMask) != tag {
		return false
	}
	if r.standing = w&biased != 0 && r.stand.enter(l, tag); r.standing {
		return true
	}
	return l.join(tag)
}

// part releases a shared hold. Now and then it looks whether readers meet in the word, who had better stand.
func (r *receipt) part(l *Lock) bool {
	if r.standing {
		r.standing = false
		return r.stand.leave(l)
	}
	ok := l.releaseShared()
	if r.reads++; r.reads%biasInterval == 0 && r.entry == nil && l.load()&readersMask != 0 {
		r.stand = nextStand()
		l.favourReaders()
	}
	return ok
}

// biasInterval is how rare such looks are. To end a bias costs a writer as much as dozens of readers gain by it.
var biasInterval uint32 = 64

// lock returns the lock that the receipt stands for a hold of.
func (r *receipt) lock() *Lock {
	if r.entry != nil {
		return &r.entry.Lock
	}
	return &r.slot.Lock
}

// free lets the receipt be used again.
func (r *receipt) free() {
	r.slot, r.entry, r.standing = nil, nil, false
	receipts.Put(r)
}
