package queue

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// A slot is the part of a table where keys with equal hash bits meet. Its own lock serves one key; others that are in
// use at the same time have an entry in overflow. A key in use is in one of the two places, never in both:
//
//   - the slot takes a new name only while nobody uses its lock, and only a key that is not in overflow;
//   - a key gets an entry only while the slot's lock is in use under another name, or if its text is too long for a slot.
//
// An unused slot keeps its last name, so that a name that is used again and again costs no writing. It keeps a copy of
// the text, since a string could pin a larger one that it was cut from; a key too long to copy always has an entry.
type slot struct {
	// The name that the lock serves: the last bytes of text, of the scope first. It is written by a new holder, who has
	// found the lock unused, or with busy set while nobody uses the lock. So a holder may read it, and whoever has called
	// lockName. It stands before the word, and a short name is in the same cache line: whoever claims the slot from
	// another processor waits for one line only.
	text  [94]byte
	scope uint8 // its length
	size  uint8 // the length of both

	// The generation of the last holder that came by take, stored when it has seen to the name. While the word is fresh and
	// has another generation, its holder is still about it.
	named atomic.Uint64
	Lock

	// Guarded by mu:
	overflow map[Key]*entry // the bit overflowed says whether it has entries
	grown    bool           // overflow has become large and is not used again, since maps do not shrink

	_ [8]byte // slots begin with a cache line
}

// manyEntries is the size from which on an empty overflow is not worth its memory.
const manyEntries = 8

// Overflow maps that have emptied are pooled: kept in their slots they would be the larger part of a table.
var overflows = sync.Pool{New: func() any { return make(map[Key]*entry) }}

// An entry is the lock of a key that found its slot in use by another.
type entry struct {
	Lock
	key  Key
	refs int // holders and requests; guarded by the slot's mu
}

// Entries are pooled. A stale hold cannot reach one in new use, since its receipt has ended.
var entries = sync.Pool{New: func() any { return new(entry) }}

// acquireFast takes the slot's lock for the key, by one atomic operation, if the slot is the key's and the word lets it, or,
// for an exclusive hold, if nobody uses it. It returns the word of an exclusive hold. A shared hold has a receipt.
func (s *slot) acquireFast(k Key, tag word, m Mode, o Order, r *receipt) (word, bool) {
	if m == Exclusive {
		w := s.take(k, tag, o)
		return w, w != 0
	}
	if !r.join(&s.Lock, tag) {
		return 0, false
	}
	if s.serves(k) {
		return 0, true
	}
	r.part(&s.Lock) // as in retake
	return 0, false
}

// take is acquireFast for an exclusive hold. It returns the word, or 0. It takes the lock first and sees to the name then.
// Meanwhile the word is fresh, and nobody else wants to know the name.
//
// It has as few instructions as can be: a processor that waits for the cache line goes on with what comes next, as far ahead
// as its buffers reach.
func (s *slot) take(k Key, tag word, o Order) word {
	if !k.short() {
		return 0
	}
	w := s.load()
	if w&tagMask == tag {
		return s.retake(w, k, o)
	}
	if w&^(tagMask|genMask) != 0 || s.permits > 1 {
		return 0
	}
	taken := (w+oneGeneration)&genMask | tag | fresh | held
	if !s.swap(w, taken) {
		return 0
	}
	s.rename(k)
	storeRelease(&s.named, uint64(taken.generation()))
	return taken
}

// retake is take with the word w, whose tag says that the slot is probably the key's already.
func (s *slot) retake(w word, k Key, o Order) word {
	taken := (w | fresh).taken()
	if !s.takable(w, o) || !s.swap(w, taken) {
		return 0
	}
	ok := s.serves(k)
	if !ok && w&(waiting|overflowed) == 0 {
		s.rename(k)
		ok = true
	}
	storeRelease(&s.named, uint64(taken.generation()))
	if !ok {
		// It stays the lock of another name with the same tag: somebody waits for that, or the key may have an entry. Give it
		// back as any holder would, since somebody may have queued.
		s.ReleaseGeneration(taken.generation())
		return 0
	}
	return taken
}

// lockName is lockState for those who want to know the name: it waits for a holder who is still reading or writing it.
func (s *slot) lockName() word {
	w := s.lockState()
	for !s.complete(w) {
		runtime.Gosched()
	}
	return w
}

// complete reports whether the holder, if there is one, has seen to the name.
func (s *slot) complete(w word) bool {
	return w&fresh == 0 || s.named.Load() == uint64(w.generation())
}

// locate finds or makes the lock of a key for the slow path. That is either an entry, with a reference for the caller,
// or else (nil) the slot's own lock, with mu held and its word, returned, with busy set.
func (s *slot) locate(k Key, tag word) (*entry, word) {
	s.mu.Lock()
	w := s.lockName()
	if w.inUse() && s.serves(k) {
		return nil, w
	}
	e := s.overflow[k]
	if e == nil && !w.inUse() && k.short() {
		s.rename(k)
		return nil, w&^tagMask | tag
	}
	if e == nil {
		e = s.add(k)
		w |= overflowed
	}
	e.refs++
	s.unlockState(w)
	s.mu.Unlock()
	return e, 0
}

// releaseFast gives up a hold of the slot's lock if that is the key's. If the caller holds the key's lock and the slot is
// not overflowed, it holds the slot's, and so may read the name. If it does not, the generation keeps it from releasing the
// exclusive hold of another key that has come meanwhile. Readers have no generation: such a mistake can hit one of those.
func (s *slot) releaseFast(k Key, tag word, m Mode) bool {
	w := s.load()
	if w&overflowed != 0 || w&tagMask != tag || s.permits > 1 || !w.heldAs(m) || !s.complete(w) || !s.serves(k) {
		return false
	}
	if m == Shared {
		return s.releaseShared()
	}
	return s.ReleaseGeneration(w.generation())
}

// releaseNamed gives up a hold of the key's lock, wherever that is, and reports whether there was one.
func (s *slot) releaseNamed(k Key, m Mode) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.lockName()
	if w.inUse() && s.serves(k) {
		return s.releaseAnonymous(w, m)
	}
	s.unlockState(w)
	e := s.overflow[k]
	if e == nil {
		return false
	}
	e.mu.Lock()
	ok := e.releaseAnonymous(e.lockState(), m)
	e.mu.Unlock()
	if ok {
		s.unref(e)
	}
	return ok
}

func (s *slot) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.load()
	if w&biased != 0 {
		w = s.lockState()
		s.unlockState(w)
	}
	n := len(s.overflow)
	if w.inUse() {
		n++
	}
	return n
}

// add makes an entry; mu is held.
func (s *slot) add(k Key) *entry {
	if s.overflow == nil {
		s.overflow = overflows.Get().(map[Key]*entry)
	}
	e := entries.Get().(*entry)
	e.key, e.permits = k, s.permits
	s.overflow[k] = e
	s.grown = s.grown || len(s.overflow) > manyEntries
	return e
}

// drop gives up a reference to an entry.
func (s *slot) drop(e *entry) {
	s.mu.Lock()
	s.unref(e)
	s.mu.Unlock()
}

// unref is drop with mu held.
func (s *slot) unref(e *entry) {
	if e.refs--; e.refs > 0 {
		return
	}
	delete(s.overflow, e.key)
	e.key = Key{}
	entries.Put(e)
	if len(s.overflow) > 0 {
		return
	}
	if !s.grown {
		overflows.Put(s.overflow)
	}
	s.overflow, s.grown = nil, false
	s.unlockState(s.lockState() &^ overflowed)
}

// serves reports whether the slot's lock is the key's. Who does not hold the lock, and releases it by mistake, may read a
// name that is being written: the generation protects its holder, whatever comes of that.
func (s *slot) serves(k Key) bool {
	n := int(s.size)
	if n != len(k.Scope)+len(k.Name) || n > len(s.text) || int(s.scope) != len(k.Scope) {
		return false
	}
	text := s.text[len(s.text)-n:]
	if k.Scope == "" {
		return string(text) == k.Name
	}
	return string(text[:len(k.Scope)]) == k.Scope && string(text[len(k.Scope):]) == k.Name
}

// rename makes the slot's lock serve the key.
func (s *slot) rename(k Key) {
	s.scope = uint8(len(k.Scope))
	s.size = s.scope + uint8(len(k.Name))
	text := s.text[len(s.text)-int(s.size):]
	if k.Scope != "" {
		text = text[copy(text, k.Scope):]
	}
	copy(text, k.Name)
}

// short reports whether a slot has room for the key's text.
func (k Key) short() bool { return len(k.Scope)+len(k.Name) <= len(slot{}.text) }
