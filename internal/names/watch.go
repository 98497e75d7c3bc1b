package names

import "github.com/lockutils/lockutils/internal/queue"

// Visit calls f with each lock of the table that is in use, as it is at one instant, and its key.
// f must not use the table.
func (t *Table) Visit(f func(k Key, l *queue.Lock, v queue.View)) {
	for i := range t.slots {
		if s := &t.slots[i]; s.Load().InUse() || s.Load()&queue.Overflowed != 0 {
			s.inspect(f)
		}
	}
}

func (s *slot) inspect(f func(k Key, l *queue.Lock, v queue.View)) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	w := s.lockName()
	if w.InUse() {
		f(s.key(), &s.Lock, s.ViewLocked(w))
	}
	s.UnlockState(w)
	for _, e := range s.chains {
		for ; e != nil; e = e.next {
			e.Section(func(w queue.Word) queue.Word {
				if w.InUse() {
					f(e.key, &e.Lock, e.ViewLocked(w))
				}
				return w
			})
		}
	}
}

// key returns a copy of the key that the slot's lock serves. Nobody may be writing it.
func (s *slot) key() Key {
	text := s.text[:s.size]
	return Key{Scope: string(text[:s.scope]), Name: string(text[s.scope:])}
}

// Serving returns the lock that serves the key now, or nil if the key is not in use.
func (t *Table) Serving(k Key) (serving *queue.Lock) {
	s, h := t.slot(k.Hash())
	s.visit(k, h, func(l *queue.Lock, w queue.Word) queue.Word {
		serving = l
		return w
	})
	return serving
}

// KeyOf returns the key that a hold of the table is of, unless the hold has been released. It searches the
// slots for the lock, and so is not for fast paths. It locks Mu of the hold's lock: the caller must not hold
// that of any, as it does in Visit. The hold must have no attachment.
func (t *Table) KeyOf(h queue.Hold) (k Key, held bool) {
	held = h.WhileHeld(func() {
		l, _ := h.Of()
		if e, ok := l.Owner.(*entry); ok {
			k = e.key
			return
		}
		for i := range t.slots {
			if s := &t.slots[i]; &s.Lock == l {
				k = s.key()
				return
			}
		}
	})
	return k, held
}

// Trace is [queue.Lock.Trace] for all locks of the table.
func (t *Table) Trace() (traced bool) {
	t.Visit(func(_ Key, _ *queue.Lock, v queue.View) {
		traced = v.Trace() || traced
	})
	return traced
}
