package queue

// A lock may be part of something else, as it is in internal/names. The two share Mu, which may
// guard fields of both, and two bits of the Word, which mean nothing to the lock. Overflowed is
// changed in sections only, and the lock keeps it. Fresh is set by Claim, and goes with the
// exclusive holder.
//
// A section decides about the lock. It begins with LockState, with Mu held, and ends with
// UnlockState and the new word, or with a method that calls it. In a section nobody else acquires
// the lock, so a lock that is not in use stays so. Only shared holders may leave.
//
// Outside of sections, Take, Share and Claim try one swap of the word w, which Load has returned.
// They are for locks with one permit and without an Owner, as HoldIn is.

// An Owner has a lock for a part of it.
type Owner interface {
	// Drop is called when a [Hold] of the lock has been released. It may be the last use of the lock.
	Drop()
}

// Take acquires the lock exclusively, if the word admits the request. It returns the new word.
func (l *Lock) Take(w Word, o Order) (Word, bool) {
	// As w.next, since there is no holder: the mask drops the carry of the last generation.
	taken := (w + oneGeneration + held) &^ countMask
	return taken, w&(busy|held|handoff|countMask) == 0 && (w&waiting == 0 || o == Barging) &&
		l.swap(w, taken)
}

// Share acquires the lock shared, if the word admits the request and no other shared holder has the
// generation. It returns the new word.
func (l *Lock) Share(w Word) (Word, bool) {
	shared := w.next() - held + sharing + oneHolder // as there is no exclusive holder
	return shared, w&(barred|sharing) == 0 && l.swap(w, shared)
}

// Claim acquires the lock exclusively, if the word has nothing but a generation: if it is not in
// use, and not Overflowed. It returns the new word, which is Fresh until the release.
func (l *Lock) Claim(w Word) (Word, bool) {
	taken := w.next() | Fresh
	return taken, w&^GenerationBits == 0 && l.swap(w, taken)
}

// Sole reports whether the word has nothing but an exclusive holder.
func (w Word) Sole() bool { return w&^GenerationBits == held }

// HoldIn returns the hold that has the generation of the word.
func (l *Lock) HoldIn(w Word) Hold { return Hold{l, w} }
