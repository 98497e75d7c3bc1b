package queue

import "sync"

// A slot is the part of a table where keys with equal hash bits meet. Its own lock serves one key; others that are in
// use at the same time have an entry in crowd. A key in use is in one of the two places, never in both:
//
//   - the slot takes a new name only while nobody uses its lock, and only a key that is not in crowd;
//   - a key gets an entry only while the slot's lock is in use under another name, or if its text is too long for a slot.
//
// An unused slot keeps its last name, so that a name that is used again and again costs no writing. It keeps a copy of
// the text, since a string could pin a larger one that it was cut from; a key too long to copy always has an entry.
type slot struct {
	// The name that the lock serves: the last bytes of text, of the scope first. It is written with busy set while nobody
	// uses the lock, and so may be read by a holder and by whoever has set busy. It stands before the word, and a short name
	// is in the same cache line: whoever claims the slot from another processor waits for one line only.
	text  [117]byte
	scope uint8 // its length
	size  uint8 // the length of both

	grown bool // crowd has become large and is not used again, since maps do not shrink; guarded by mu
	Lock
	crowd map[Key]*entry // guarded by mu; the bit crowded says whether it has entries
}

// manyEntries is the size from which on an empty crowd is not worth its memory.
const manyEntries = 8

// Crowds that have emptied are pooled: kept in their slots they would be the larger part of a table.
var crowds = sync.Pool{New: func() any { return make(map[Key]*entry) }}

// An entry is the lock of a key that found its slot in use by another.
type entry struct {
	Lock
	key  Key
	refs int // holders and requests; guarded by the slot's mu
}

// Entries are pooled. A stale hold cannot reach one in new use, since its receipt has ended.
var entries = sync.Pool{New: func() any { return new(entry) }}

// acquireFast takes the slot's lock for the key, by one atomic operation if the slot is the key's, and by two if it is
// free. A shared hold has a receipt.
func (s *slot) acquireFast(k Key, tag word, m Mode, o Order, r *receipt) (Generation, bool) {
	if m == Shared && r.join(&s.Lock, tag) {
		if s.named(k) {
			return 0, true
		}
		r.part(&s.Lock) // as below
		return 0, false
	}
	w := s.load()
	switch {
	case m == Exclusive && w&tagMask == tag && s.takable(w, o):
		taken := w.taken()
		if !s.swap(w, taken) {
			return 0, false
		}
		if s.named(k) {
			return taken.generation(), true
		}
		// It is the lock of another name with the same tag: one chance in 256 for two names that share a slot. Give it back as
		// any holder would, since somebody may have queued. Whoever tries that lock at this moment finds it taken.
		s.Release(Exclusive)
	case w&(busy|crowded) == 0 && w&tagMask != tag && !w.inUse() && k.short() && (m == Shared || s.permits <= 1):
		return s.claim(w, k, tag, m)
	}
	return 0, false
}

// claim makes the slot, unused as of w, the key's and takes its lock.
func (s *slot) claim(w word, k Key, tag word, m Mode) (Generation, bool) {
	named := w&^tagMask | tag
	if !s.swap(w, named|busy) {
		return 0, false
	}
	s.rename(k)
	taken := s.enter(named, m)
	s.Lock.add(taken - named - busy) // Nobody can have queued, so this is all of thaw.
	return taken.generation(), true
}

// locate finds or makes the lock of a key for the slow path. That is either an entry, with a reference for the caller,
// or else (nil) the slot's own lock, with mu held and its word, returned, frozen.
func (s *slot) locate(k Key, tag word) (*entry, word) {
	s.mu.Lock()
	w := s.freeze()
	if w.inUse() && s.named(k) {
		return nil, w
	}
	e := s.crowd[k]
	if e == nil && !w.inUse() && k.short() {
		s.rename(k)
		return nil, w&^tagMask | tag
	}
	if e == nil {
		e = s.add(k)
		w |= crowded
	}
	e.refs++
	s.thaw(w)
	s.mu.Unlock()
	return e, 0
}

// releaseFast gives up a hold of the slot's lock if that is the key's. If the caller holds the key's lock and the slot is
// not crowded, it holds the slot's, and so may read the name. If it does not, the generation keeps it from releasing what
// another key has come to hold meanwhile.
func (s *slot) releaseFast(k Key, tag word, m Mode) bool {
	w := s.load()
	if w&crowded != 0 || w&tagMask != tag || s.permits > 1 || !w.heldAs(m) || !s.named(k) {
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
	w := s.freeze()
	if w.inUse() && s.named(k) {
		return s.releaseAnonymous(w, m)
	}
	s.thaw(w)
	e := s.crowd[k]
	if e == nil {
		return false
	}
	e.mu.Lock()
	ok := e.releaseAnonymous(e.freeze(), m)
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
		w = s.freeze()
		s.thaw(w)
	}
	n := len(s.crowd)
	if w.inUse() {
		n++
	}
	return n
}

// add makes an entry; mu is held.
func (s *slot) add(k Key) *entry {
	if s.crowd == nil {
		s.crowd = crowds.Get().(map[Key]*entry)
	}
	e := entries.Get().(*entry)
	e.key, e.permits = k, s.permits
	s.crowd[k] = e
	s.grown = s.grown || len(s.crowd) > manyEntries
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
	delete(s.crowd, e.key)
	e.key = Key{}
	entries.Put(e)
	if len(s.crowd) > 0 {
		return
	}
	if !s.grown {
		crowds.Put(s.crowd)
	}
	s.crowd, s.grown = nil, false
	s.thaw(s.freeze() &^ crowded)
}

// named reports whether the slot's lock serves the key. Who does not hold the lock, and releases it by mistake, may read
// a name that is being written, and learns that it is another one.
func (s *slot) named(k Key) bool {
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
