package queue

import (
	"runtime"
	"sync"
)

// A Hold is one acquisition of a lock of a [Table]. It may be copied; of all its copies only the
// first that is released counts. The zero Hold holds nothing.
//
// It is always a hold with a generation, which tells whether it is stale: of the key's own lock,
// or of a [Record]. One holder of a lock at a time has the generation: an exclusive one where
// there is one permit, or one of the shared ones.
type Hold struct {
	lock *Lock
	// The lock's word, as the acquisition left it. It is only the generation if the release takes
	// more than one step.
	word word
}

// Release releases the hold and reports whether it was still held.
func (h Hold) Release() bool {
	switch {
	case h.lock == nil:
		return false
	case h.lock.owner != nil:
		return h.lock.owner.release(h.word.generation())
	case h.word&sharing != 0:
		return h.lock.releaseSharing(h.word.generation())
	}
	return h.lock.ReleaseGeneration(h.word.generation())
}

// ReleaseFast releases the hold if that takes a single step, and reports whether it did. It is
// tried before Release.
func (h Hold) ReleaseFast() bool {
	// A holder that has passed a waiter has to see to it that it is woken, even if the word is
	// the same as before.
	w := h.word
	if w&sharing != 0 {
		return h.lock.swap(w, w-sharing-oneHolder)
	}
	return w&(held|waiting) == held && h.lock.swap(w, w.released())
}

// Held reports whether the hold has not been released yet.
func (h Hold) Held() bool { return h.lock != nil && h.lock.Holds(h.word.generation()) }

// Attachment returns what was given to [Record.Issue], or nil for a hold of something else. Once
// the hold has been released, the attachment may belong to another one.
func (h Hold) Attachment() any {
	if h.lock == nil {
		return nil
	}
	if r, ok := h.lock.owner.(*Record); ok {
		return r.attachment
	}
	return nil
}

// hold returns the hold of mode m that has just been acquired.
func (p place) hold(m Mode) Hold {
	l := p.lock()
	if m == Exclusive && l.permits <= 1 {
		return Hold{l, p.word}
	}
	r := records.Get().(*Record)
	r.place, r.mode = p, m
	return r.issue()
}

// A Record gives an identity to holds that have none: to one of several holds of a lock, or to
// whatever the package above attaches to it. It issues one hold after the other, and is pooled.
// It must not be copied.
type Record struct {
	Lock           // always held: by the hold that the record stands for, or will stand for next
	attachment any // never changed

	// What a hold without an attachment is of. Written before the hold is known to others, read
	// by the goroutine that has ended it.
	place place
	mode  Mode
}

var records = sync.Pool{New: func() any {
	r := new(Record)
	r.init()
	return r
}}

func (r *Record) init() {
	r.owner = r
	r.acquireFast(Exclusive, Barging)
}

// Issue returns the next hold, when the one before has been released. The attachment is always
// the same.
func (r *Record) Issue(attachment any) Hold {
	if r.attachment == nil {
		r.attachment = attachment
		r.init()
	}
	return r.issue()
}

func (r *Record) issue() Hold { return Hold{&r.Lock, word(r.load().generation())} }

// release implements owner. The hold g ends by the beginning of the next generation, and with it
// what the record stands for, unless that has been released by name already, which would have
// been a mistake.
func (r *Record) release(g Generation) bool {
	if !r.end(g) {
		return false
	}
	if r.attachment != nil {
		return true
	}
	if p := r.place; p.lock().Release(r.mode) && p.entry != nil {
		p.slot.drop(p.entry)
	}
	r.place = place{}
	records.Put(r)
	return true
}

// end ends the hold g and reports whether it was still held.
func (r *Record) end(g Generation) bool {
	for {
		w := r.load()
		switch {
		case w.generation() != g:
			return false
		case w&busy != 0:
			runtime.Gosched() // WhileHeld is at work, which takes no time.
		case r.swap(w, w.next()):
			return true
		}
	}
}

// WhileHeld calls f unless the hold has been released, keeps it from being released meanwhile,
// and reports whether it did. f must be quick and must not use the lock. The shared holder that
// has the generation may leave all the same, since it has nothing that another hold would write.
func (h Hold) WhileHeld(f func()) bool {
	if !h.Held() {
		return false
	}
	l := h.lock
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.unlockState(l.lockState())
	held := h.Held()
	if held {
		f()
	}
	return held
}

// Of returns the lock that the hold is of, and its mode. It returns nil for a hold that has an
// attachment. The hold must not be released meanwhile.
func (h Hold) Of() (*Lock, Mode) {
	if h.lock == nil {
		return nil, Exclusive
	}
	r, ok := h.lock.owner.(*Record)
	switch {
	case h.word&sharing != 0:
		return h.lock, Shared
	case !ok:
		return h.lock, Exclusive
	case r.attachment != nil:
		return nil, Exclusive
	}
	return r.place.lock(), r.mode
}
