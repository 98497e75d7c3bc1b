package names

import (
	"runtime"
	"sync/atomic"

	"github.com/lockutils/lockutils/internal/queue"
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
	// The name in brief, which anybody may load: in the bits of the generation, that of the
	// holder that has written the name, and bits of the name's hash in all others but one. It is
	// stored after the text. While the word is fresh and has another generation, its holder is
	// still writing. The bit Overflowed is the word's, for those who leave without a look at that.
	identity atomic.Uint64

	// The name that the lock serves: text begins with the scope, and then the name. It is written by
	// a new exclusive holder that has found the lock unused, or with busy set while the lock is
	// not in use. So a holder may read it, and the goroutine that has called lockName.
	scope uint8 // its length
	size  uint8 // the length of both
	text  [70]byte
	// The hash of the text, written with it, which a release compares in its place. A caller that
	// releases by mistake may read it while it is being written: the generation protects the exclusive
	// holder, whatever comes of that.
	hash Hash

	overflow // guarded by Mu; the bit Overflowed is set if it has entries, and may be if it had

	// The word, with which the Lock in it begins, shares no cache line with the first bytes of the name,
	// nor with those of the next slot: readers that come and go change the word all the time, and read
	// the name. The identity's line has 46 bytes of the name if the table begins at a multiple of 64, 22
	// if it begins 32 bytes after one, and 38 if 8 bytes: the linker aligns Default to 32, and the
	// allocator may put a header of 8 bytes before a table.
	lock
}

// acquireFast acquires the slot's lock for the key, by one atomic operation, if the name is the
// key's and the word admits the request: one that is shared, or for one of several permits.
func (s *slot) acquireFast(k Key, h Hash, m queue.Mode, o queue.Order) bool {
	if !s.identifies(h) {
		return false
	}
	if _, ok := s.AcquireFast(m, o); !ok {
		return false
	}
	return s.serves(k) || s.reject(m)
}

// reject releases a hold of a lock that has turned out to be another key's, and returns false.
func (s *slot) reject(m queue.Mode) bool {
	s.Release(m)
	return false
}

// giveBack releases a hold that was not confirmed, unless it has ended, and returns false.
func (s *slot) giveBack(taken queue.Word) bool {
	s.HoldIn(taken).Release()
	return false
}

// claim acquires the unused lock exclusively for a key that it has not served last. The word is
// Fresh until the release, and incomplete until the holder has written the name.
func (s *slot) claim(w queue.Word, k Key, h Hash) (queue.Hold, bool) {
	if !k.fits() {
		return queue.Hold{}, false
	}
	taken, ok := s.Claim(w)
	if ok {
		s.rename(k, h, taken)
	}
	return s.HoldIn(taken), ok
}

// acquireBeside acquires the free lock of a key exclusively beside a slot that has overflowed, as
// AcquireFast does.
func (s *slot) acquireBeside(k Key, h Hash, o queue.Order) (queue.Hold, bool) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if !s.servesOther(h) {
		return queue.Hold{}, false
	}
	e := s.entry(k, h)
	hold, ok := e.AcquireFast(queue.Exclusive, o)
	if !ok {
		s.unref(e)
		return queue.Hold{}, false
	}
	return hold, true
}

// servesOther reports whether the slot has overflowed and serves another key. Its name cannot
// change then, as long as the caller holds Mu.
func (s *slot) servesOther(h Hash) bool {
	w := s.Load()
	return w&queue.Overflowed != 0 && w.InUse() && !s.identifies(h)
}

// lockName is LockState for those who want to know the name: it waits for a holder that is still
// writing it.
func (s *slot) lockName() queue.Word {
	w := s.LockState()
	for !s.complete(w) {
		runtime.Gosched()
	}
	return w
}

// complete reports whether the holder, if there is one, has written the name that it may have
// brought.
func (s *slot) complete(w queue.Word) bool {
	return w&queue.Fresh == 0 || (queue.Word(s.identity.Load())^w)&queue.GenerationBits == 0
}

// locate finds or makes the lock of a key for the slow path. It is either an entry, with a
// reference for the caller, or (nil) the slot's own lock, with Mu held, busy set, and the word
// returned.
func (s *slot) locate(k Key, h Hash) (*entry, queue.Word) {
	s.Mu.Lock()
	if s.servesOther(h) {
		e := s.entry(k, h)
		s.Mu.Unlock()
		return e, 0
	}
	w := s.lockName()
	if w.InUse() && s.serves(k) {
		return nil, w
	}
	if !w.InUse() && k.fits() && s.find(k, h) == nil {
		if s.entries == 0 {
			w &^= queue.Overflowed
		}
		s.rename(k, h, w)
		return nil, w
	}
	e := s.entry(k, h)
	s.identity.Store(s.identity.Load() | uint64(queue.Overflowed))
	s.UnlockState(w | queue.Overflowed)
	s.Mu.Unlock()
	return e, 0
}

// release releases a hold of the key's lock, wherever that is, and reports whether there was one.
func (s *slot) release(k Key, h Hash, m queue.Mode) bool {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	w := s.lockName()
	if w.InUse() && s.serves(k) {
		if s.uncountNamed(m) {
			return s.ReleaseLocked(w, m)
		}
		s.UnlockState(w)
		return false
	}
	s.UnlockState(w)
	e := s.find(k, h)
	if e == nil || !e.uncountNamed(m) || !e.Release(m) {
		return false
	}
	s.unref(e)
	return true
}

// visit calls f with the key's lock and its state, with busy set, unless the key is not in use. f
// returns the new state.
func (s *slot) visit(k Key, h Hash, f func(*queue.Lock, queue.Word) queue.Word) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	w := s.lockName()
	if w.InUse() && s.serves(k) {
		s.UnlockState(f(&s.Lock, w))
		return
	}
	s.UnlockState(w)
	if e := s.find(k, h); e != nil {
		e.Section(func(w queue.Word) queue.Word { return f(&e.Lock, w) })
	}
}

func (s *slot) len() int {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if s.Load().InUse() {
		return s.entries + 1
	}
	return s.entries
}

// entry finds or makes the entry of a key, with a reference for the caller; Mu is held.
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
	s.Mu.Lock()
	s.unref(e)
	s.Mu.Unlock()
}

// unref is drop with Mu held.
func (s *slot) unref(e *entry) {
	if e.refs--; e.refs > 0 {
		return
	}
	s.remove(e)
}

// identifies reports whether the lock's name is likely to be the key's.
func (s *slot) identifies(h Hash) bool {
	return (queue.Word(s.identity.Load())^queue.Word(h))&^(queue.GenerationBits|queue.Overflowed) == 0
}

// identifiesAlone reports the same, and that no key has an entry.
func (s *slot) identifiesAlone(h Hash) bool {
	return (queue.Word(s.identity.Load())^queue.Word(h))&^queue.GenerationBits == 0
}

// serves reports whether the lock's name is the key's. The caller holds the lock, or has called
// lockName.
func (s *slot) serves(k Key) bool {
	scope, size := len(k.Scope), len(k.Scope)+len(k.Name)
	return int(s.scope) == scope && int(s.size) == size && size <= len(s.text) &&
		(scope == 0 || string(s.text[:scope]) == k.Scope) && string(s.text[scope:size]) == k.Name
}

// rename makes the slot's lock serve the key, on behalf of the goroutine whose word is w.
func (s *slot) rename(k Key, h Hash, w queue.Word) {
	s.scope, s.size, s.hash = uint8(len(k.Scope)), uint8(len(k.Scope)+len(k.Name)), h
	if k.Scope == "" { // nearly always
		copy(s.text[:], k.Name)
	} else {
		copy(s.text[copy(s.text[:], k.Scope):], k.Name)
	}
	s.identity.Store(uint64(queue.Word(h)&^queue.GenerationBits | w&(queue.GenerationBits|queue.Overflowed)))
}

// fits reports whether a slot has room for the key's text.
func (k Key) fits() bool { return len(k.Scope)+len(k.Name) <= len(slot{}.text) }
