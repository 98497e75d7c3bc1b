package queue

import (
	"runtime"
	"sync/atomic"
)

// A slot is the part of a table where keys with equal hash bits meet. Its own lock serves one
// key. Others that are in use at the same time have an entry in overflow. A key in use is in one
// of the two places, never in both:
//
//   - the slot takes a new name only while its lock is not in use, and only a key without an entry;
//   - a key gets an entry only while the slot's lock is in use under another name, or if its text
//     is too long for a slot.
//
// An unused slot keeps its last name, so that a name that is used again and again costs no
// writing. It keeps a copy of the text, since a string could pin a larger one that it was cut
// from.
type slot struct {
	// The name that the lock serves: the last bytes of text, of the scope first. It is written by
	// a new exclusive holder that has found the lock unused, or with busy set while the lock is
	// not in use. So a holder may read it, and the goroutine that has called lockName.
	//
	// The last 14 bytes of text, the lengths, the identity and the word share a cache line: they are
	// 32 bytes at a multiple of 32, and a table begins at such a multiple, or 8 bytes after one of 64.
	// So a processor that claims the slot for a short name from another one waits for one line only.
	text  [78]byte
	scope uint8 // its length
	size  uint8 // the length of both

	// The name in brief, which anybody may load: in the bits of the generation, that of the
	// holder that has written the name, and bits of the name's hash in all others. It is stored
	// after the text. While the word is fresh and has another generation, its holder is still
	// writing.
	identity atomic.Uint64
	Lock

	overflow // guarded by mu; the bit overflowed is set if it has entries
}

// acquireFast acquires the slot's lock for the key, by one atomic operation, if the name is the
// key's and the word admits the request: one that is shared, or for one of several permits.
func (s *slot) acquireFast(k Key, h Hash, m Mode, o Order) bool {
	if !s.identifies(h) {
		return false
	}
	if _, ok := s.Lock.acquireFast(m, o); !ok {
		return false
	}
	return s.serves(k) || s.reject(m)
}

// reject releases a hold of a lock that has turned out to be another key's, and returns false.
func (s *slot) reject(m Mode) bool {
	s.Release(m)
	return false
}

// take acquires a lock with one permit exclusively, by a swap of the word w, if that admits the
// request.
func (s *slot) take(w word, o Order) bool {
	return w&(busy|held|handoff|countMask) == 0 && (w&waiting == 0 || o == Barging) && s.swap(w, w.next())
}

// share acquires a lock with one permit shared, by a swap of the word w, if that admits the
// request and no other shared holder has the generation.
func (s *slot) share(w word) bool {
	return w&(barred|sharing) == 0 && s.swap(w, w.nextSharing())
}

// confirm reports whether a hold that was acquired by the name in brief is of the key's lock, which
// it nearly always is: a holder can tell. The holder of another name may have lost its hold to a
// mistaken release by name, and the slot to others.
func (s *slot) confirm(k Key, taken word) bool {
	return s.serves(k) && s.Holds(taken.generation()) || s.giveBack(taken)
}

// giveBack releases a hold that was not confirmed, unless it has ended, and returns false.
func (s *slot) giveBack(taken word) bool {
	Hold{&s.Lock, taken}.Release()
	return false
}

// claim acquires the unused lock exclusively for a key that it has not served last. The word is
// fresh until the holder has written the name.
func (s *slot) claim(w word, k Key, h Hash) (word, bool) {
	taken := w.next() | fresh
	if w&^generationMask != 0 || !k.fits() || !s.swap(w, taken) {
		return 0, false
	}
	s.rename(k, h, taken)
	return taken, true
}

// acquireBeside acquires the free lock of a key exclusively beside a slot that has overflowed, as
// AcquireFast does.
func (s *slot) acquireBeside(k Key, h Hash, o Order) (Hold, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.servesOther(h) {
		return Hold{}, false
	}
	e := s.entry(k, h)
	w, ok := e.acquireFast(Exclusive, o)
	if !ok {
		s.unref(e)
		return Hold{}, false
	}
	return Hold{&e.Lock, word(w.generation())}, true
}

// servesOther reports whether the slot has overflowed and serves another key. Its name cannot
// change then, as long as the caller holds mu.
func (s *slot) servesOther(h Hash) bool {
	w := s.load()
	return w&overflowed != 0 && w.inUse() && !s.identifies(h)
}

// lockName is lockState for those who want to know the name: it waits for a holder that is still
// writing it.
func (s *slot) lockName() word {
	w := s.lockState()
	for !s.complete(w) {
		runtime.Gosched()
	}
	return w
}

// complete reports whether the holder, if there is one, has written the name that it may have
// brought.
func (s *slot) complete(w word) bool {
	return w&fresh == 0 || word(s.identity.Load()).generation() == w.generation()
}

// locate finds or makes the lock of a key for the slow path. It is either an entry, with a
// reference for the caller, or (nil) the slot's own lock, with mu held, busy set, and the word
// returned.
func (s *slot) locate(k Key, h Hash) (*entry, word) {
	s.mu.Lock()
	if s.servesOther(h) {
		e := s.entry(k, h)
		s.mu.Unlock()
		return e, 0
	}
	w := s.lockName()
	if w.inUse() && s.serves(k) {
		return nil, w
	}
	if !w.inUse() && k.fits() && s.find(k, h) == nil {
		s.rename(k, h, w)
		if s.entries == 0 {
			w &^= overflowed
		}
		return nil, w
	}
	e := s.entry(k, h)
	s.unlockState(w | overflowed)
	s.mu.Unlock()
	return e, 0
}

// release releases a hold of the key's lock, wherever that is, and reports whether there was one.
func (s *slot) release(k Key, h Hash, m Mode) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.lockName()
	if w.inUse() && s.serves(k) {
		if s.uncountNamed(m) {
			return s.releaseLocked(w, m, 0, 0)
		}
		s.unlockState(w)
		return false
	}
	s.unlockState(w)
	e := s.find(k, h)
	if e == nil || !e.uncountNamed(m) || !e.Release(m) {
		return false
	}
	s.unref(e)
	return true
}

// visit calls f with the key's lock and its state, with busy set, unless the key is not in use. f
// returns the new state.
func (s *slot) visit(k Key, h Hash, f func(*Lock, word) word) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.lockName()
	if w.inUse() && s.serves(k) {
		s.unlockState(f(&s.Lock, w))
		return
	}
	s.unlockState(w)
	if e := s.find(k, h); e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.unlockState(f(&e.Lock, e.lockState()))
	}
}

func (s *slot) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.load().inUse() {
		return s.entries + 1
	}
	return s.entries
}

// entry finds or makes the entry of a key, with a reference for the caller; mu is held.
func (s *slot) entry(k Key, h Hash) *entry {
	e := s.find(k, h)
	if e == nil {
		e = s.overflow.add(k, h, s)
	}
	e.refs++
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
	s.remove(e)
}

// identifies reports whether the lock's name is likely to be the key's.
func (s *slot) identifies(h Hash) bool {
	return (word(s.identity.Load())^word(h))&^generationMask == 0
}

// serves reports whether the lock's name is the key's. A caller that does not hold the lock, and
// releases it by mistake, may read a name that is being written: the generation protects its
// holder, whatever comes of that.
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

// rename makes the slot's lock serve the key, on behalf of the goroutine whose word is w.
func (s *slot) rename(k Key, h Hash, w word) {
	s.scope = uint8(len(k.Scope))
	s.size = s.scope + uint8(len(k.Name))
	text := s.text[len(s.text)-int(s.size):]
	copy(text[copy(text, k.Scope):], k.Name)
	s.identity.Store(uint64(word(h)&^generationMask | word(w.generation())))
}

// fits reports whether a slot has room for the key's text.
func (k Key) fits() bool { return len(k.Scope)+len(k.Name) <= len(slot{}.text) }
