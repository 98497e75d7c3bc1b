package queue

import (
	"runtime"
	"sync"
)

// A Hold is one acquisition of a lock. It may be copied; of all its copies only the first that is
// released counts. The zero Hold holds nothing.
//
// It is always a hold with a generation, which tells whether it is stale: of the lock itself, or
// of a [Record]. One holder of a lock at a time has the generation: an exclusive one where there
// is one permit, or one of the shared ones.
type Hold struct {
	lock *Lock
	// The lock's word, as the acquisition left it. It is only the generation if the release takes
	// more than one step.
	word Word
}

// Release releases the hold and reports whether it was still held.
func (h Hold) Release() (held bool) {
	if h.lock == nil {
		return false
	}
	g := h.word.generation()
	r, isRecord := h.lock.Owner.(*Record)
	switch {
	case isRecord:
		held = r.end(g)
	case h.word&sharing != 0:
		held = h.lock.releaseSharing(g)
	default:
		held = h.lock.releaseExclusive(GenerationBits, g)
	}
	if held && h.lock.Owner != nil {
		h.lock.Owner.Drop()
	}
	return held
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
func (h Hold) Held() bool {
	if h.lock == nil {
		return false
	}
	w := h.lock.Load()
	return w&(held|sharing) != 0 && w.generation() == h.word.generation()
}

// Attachment returns what was given to [Record.Issue], or nil for a hold of something else. Once
// the hold has been released, the attachment may belong to another one.
func (h Hold) Attachment() any {
	if h.lock == nil {
		return nil
	}
	if r, ok := h.lock.Owner.(*Record); ok {
		return r.attachment
	}
	return nil
}

// hold returns the hold of mode m that has left the word w, if it has an identity.
func (l *Lock) hold(w Word, m Mode) Hold {
	if m == Exclusive && l.Permits <= 1 {
		return Hold{l, w.generation()}
	}
	return Hold{}
}

// Record returns a hold of mode m that has just been acquired and has no identity of its own.
func (l *Lock) Record(m Mode) Hold {
	r := records.Get().(*Record)
	r.of, r.mode = l, m
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
	of   *Lock
	mode Mode
}

var records = sync.Pool{New: func() any { return new(Record) }}

// Issue returns the next hold, when the one before has been released. The attachment is always
// the same.
func (r *Record) Issue(attachment any) Hold {
	if r.attachment == nil {
		r.attachment = attachment
	}
	return r.issue()
}

func (r *Record) issue() Hold {
	if r.Owner == nil { // for the first time
		r.Owner = r
		r.AcquireFast(Exclusive, Barging)
	}
	return Hold{&r.Lock, r.Load().generation()}
}

// Drop implements [Owner]. It releases what the record stands for, unless that has been released
// otherwise already, which would have been a mistake.
func (r *Record) Drop() {
	if r.attachment != nil {
		return
	}
	if l := r.of; l.Release(r.mode) && l.Owner != nil {
		l.Owner.Drop()
	}
	r.of = nil
	records.Put(r)
}

// end ends the hold g, by the beginning of the next generation, and reports whether it was still
// held.
func (r *Record) end(g Word) bool {
	for {
		w := r.Load()
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
func (h Hold) WhileHeld(f func()) (held bool) {
	if !h.Held() {
		return false
	}
	h.lock.Section(func(w Word) Word {
		if held = h.Held(); held {
			f()
		}
		return w
	})
	return held
}

// Of returns the lock that the hold is of, and its mode. It returns nil for a hold that has an
// attachment. The hold must not be released meanwhile.
func (h Hold) Of() (*Lock, Mode) {
	if h.lock == nil {
		return nil, Exclusive
	}
	if h.word&sharing != 0 {
		return h.lock, Shared
	}
	if r, ok := h.lock.Owner.(*Record); ok {
		return r.of, r.mode // Those with an attachment have neither.
	}
	return h.lock, Exclusive
}
