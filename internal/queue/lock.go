package queue

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A Lock is one lock with its queue. The zero value is free and has one permit. It must not be
// copied after first use.
//
// All methods may be called concurrently. A hold is not tied to a goroutine: any goroutine may
// release it.
type Lock struct {
	// A Word. While busy is clear anybody swaps it. The goroutine that has set busy decides alone,
	// except that shared requests come and go by addition, or leave by a swap with the bit sharing.
	state atomic.Uint64

	// Set before first use.
	Owner   Owner // what the lock is part of; nil if nothing
	Permits int32 // how many exclusive holders at once; 0 means 1

	// Waiters that no request may pass; guarded by busy. The bit handoff says whether there are any.
	handoff int32

	// Serialises the slow path: busy is set and cleared with Mu held, so that goroutines sleep
	// rather than spin for it.
	Mu sync.Mutex

	// Guarded by busy:
	locked Word // the state as LockState has returned it
	queue  waitlist
}

// TryAcquire acquires the lock if that takes no waiting, and no barging where the order forbids it.
// It returns the hold if it has an identity: if it is the only exclusive one that there can be.
// Others are the zero Hold, and are released by [Lock.Release], or see [Lock.Record].
func (l *Lock) TryAcquire(m Mode, o Order) (Hold, bool) {
	if h, ok := l.AcquireFast(m, o); ok {
		return h, true
	}
	l.Mu.Lock()
	return l.TryLocked(l.LockState(), m, o)
}

// Acquire acquires the lock, waiting for it if necessary. If ctx ends first it returns ctx.Err(),
// and the lock is as if it had not been requested. The observer is told what the request is about
// if it has to wait. The hold is as in [Lock.TryAcquire].
func (l *Lock) Acquire(ctx context.Context, m Mode, o Order, about Subject) (Hold, error) {
	h, ok := l.AcquireFast(m, o)
	for i := 0; !ok && l.Spin(i); i++ {
		h, ok = l.AcquireFast(m, o)
	}
	if ok {
		return h, nil
	}
	l.Mu.Lock()
	return l.AcquireLocked(ctx, l.LockState(), m, o, about)
}

// Release releases a hold of mode m and reports whether there was one.
func (l *Lock) Release(m Mode) bool {
	switch {
	case m == Exclusive:
		return l.releaseExclusive(0, 0)
	case l.Permits <= 1:
		return l.Leave()
	}
	l.Mu.Lock()
	defer l.Mu.Unlock()
	return l.ReleaseLocked(l.LockState(), Shared)
}

// Downgrade turns the exclusive hold into a shared one and admits the readers at the front of the
// queue. It reports whether there was an exclusive hold.
func (l *Lock) Downgrade() (ok bool) {
	l.Section(func(w Word) Word {
		w, ok = l.DowngradeLocked(w)
		return w
	})
	return ok
}

// DowngradeLocked is Downgrade with busy set. It returns the new state.
func (l *Lock) DowngradeLocked(w Word) (Word, bool) {
	if !w.HeldAs(Exclusive) {
		return w, false
	}
	return l.grantNext(l.leave(w, Exclusive) + oneHolder), true
}

// The fast path: one atomic operation.

// Load returns the state.
func (l *Lock) Load() Word { return Word(l.state.Load()) }

func (l *Lock) swap(old, w Word) bool { return l.state.CompareAndSwap(uint64(old), uint64(w)) }
func (l *Lock) add(w Word) Word       { return Word(l.state.Add(uint64(w))) }

// AcquireFast is TryAcquire by one atomic operation: it fails also if another goroutine intervenes.
func (l *Lock) AcquireFast(m Mode, o Order) (Hold, bool) {
	w := l.Load()
	if m == Shared {
		if w&barred != 0 || l.Permits > 1 { // Requests that spin repeat this, so it looks before it joins.
			return Hold{}, false
		}
		found, ok := l.Join()
		return Hold{}, ok || l.LeaveAgain(found)
	}
	taken := l.taken(w)
	takable := w&(busy|handoff) == 0 && (w&waiting == 0 || o == Barging) && l.room(w, Exclusive)
	return l.hold(taken, m), takable && l.swap(w, taken)
}

// taken returns the word with one more exclusive holder.
func (l *Lock) taken(w Word) Word {
	if l.Permits > 1 {
		w += oneHolder
	}
	return w.next()
}

// Join adds a shared holder to a lock with one permit, and returns the word that it found and whether it may
// stay. If not, LeaveAgain must follow, which is apart so that Join is inlined. A swap takes several times as
// long when readers are many. One that may not stay makes an exclusive attempt fail at worst.
func (l *Lock) Join() (found Word, ok bool) {
	found = l.add(oneHolder) - oneHolder
	return found, found&barred == 0
}

// LeaveAgain takes back a Join that may not stay. It returns false.
func (l *Lock) LeaveAgain(found Word) bool {
	if found&negative == 0 {
		l.Leave()
	} else {
		l.follow(found + oneHolder) // The addition has mended the count.
	}
	return false
}

// spins is how often a request tries again before it queues. With an empty critical section the
// holder is gone before a queue could be built, but longer spinning takes the holder's processor.
var spins = min(8*(runtime.GOMAXPROCS(0)-1), 8)

// Spin passes a few nanoseconds and reports whether it makes sense to try again, for the i-th time.
//
//go:noinline
func (l *Lock) Spin(i int) bool {
	if i >= spins {
		return false
	}
	for range 20 {
	}
	return l.Load()&handoff == 0
}

// Leave removes a shared holder of a lock with one permit and reports whether there was one.
func (l *Lock) Leave() bool {
	w := Word(l.state.Add(uint64(minusHolder)))
	return w&(held|waiting|negative) == 0 || l.follow(w)
}

// releaseSharing removes the shared holder of generation g and reports whether it was still there.
// As all shared holders, it may leave while busy is set: the generation stays until then, since
// there is no exclusive holder before.
func (l *Lock) releaseSharing(g Word) bool {
	for {
		w := l.Load()
		if w&sharing == 0 || w.generation() != g {
			return false
		}
		if left := w - sharing - oneHolder; l.swap(w, left) {
			return left&waiting == 0 || l.follow(left)
		}
	}
}

// follow does what is left to do when a shared holder has gone and has left the word w: it mends
// the count if there was none, and admits the waiters that had to wait for the last holder, or
// for one of too many. While busy is set, the latter is for the goroutine that clears it. It
// reports whether there was a holder.
func (l *Lock) follow(w Word) bool {
	ok := w&(held|negative) == 0
	if w = l.mend(w); l.needsGrant(w) || w&waiting != 0 && w&countMask == lastHolder {
		l.Section(l.grantNext)
	}
	return ok
}

// mend adds one to a count that a wrong release has left below zero in w, unless it no longer is: if
// another request has been admitted instead, the wrong release has ended its hold. It returns the word.
func (l *Lock) mend(w Word) Word {
	for ; w&negative != 0; w = l.Load() {
		if l.swap(w, w+oneHolder) {
			return w + oneHolder
		}
	}
	return w
}

// releaseExclusive releases an exclusive hold, if there is one and the word reads want under mask.
func (l *Lock) releaseExclusive(mask, want Word) bool {
	for {
		w := l.Load()
		if w&busy != 0 {
			break
		}
		if w&held == 0 || w&mask != want {
			return false
		}
		left := l.leave(w, Exclusive)
		if l.needsGrant(left) {
			break
		}
		if l.swap(w, left) {
			return true
		}
	}
	l.Mu.Lock()
	defer l.Mu.Unlock()
	w := l.LockState()
	if w&mask == want {
		return l.ReleaseLocked(w, Exclusive)
	}
	l.UnlockState(w)
	return false
}

// The slow path: with Mu held and busy set.

// Section calls f with busy set and the word without it. f returns the new word.
func (l *Lock) Section(f func(w Word) Word) {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	w := l.LockState()
	defer func() { l.UnlockState(w) }() // also if f panics
	w = f(w)
}

// LockState sets busy and returns the word without it. The caller holds Mu, so busy is clear, and
// a swap that comes too late fails.
func (l *Lock) LockState() Word {
	l.locked = l.add(busy) - busy
	return l.locked
}

// UnlockState publishes what has become of the word that LockState returned, and clears busy.
// Shared holders may have left meanwhile: the last one, or one of too many, for which waiters had
// to wait.
func (l *Lock) UnlockState(w Word) {
	for {
		now := l.mend(l.add(w - l.locked - busy)) // below zero if w releases a reader that has left meanwhile
		if l.Permits > 1 || !l.needsGrant(now) && (w&margins == 0 || now&(busy|held|waiting|margins) != waiting) {
			return
		}
		w = l.grantNext(l.LockState())
	}
}

// TryLocked ends a TryAcquire: it calls UnlockState and unlocks Mu.
func (l *Lock) TryLocked(w Word, m Mode, o Order) (Hold, bool) {
	defer l.Mu.Unlock()
	if !l.admits(w, m, o) {
		l.UnlockState(w)
		return Hold{}, false
	}
	w = l.enter(w, m)
	l.UnlockState(w)
	return l.hold(w, m), true
}

// AcquireLocked ends an Acquire: it calls UnlockState and unlocks Mu.
func (l *Lock) AcquireLocked(
	ctx context.Context, w Word, m Mode, o Order, about Subject,
) (Hold, error) {
	if l.admits(w, m, o) {
		h, _ := l.TryLocked(w, m, o)
		return h, nil
	}
	me := newWaiter(ctx, l, m, o, about)
	me.front = me.Since
	l.queue.push(me)
	if me.handoff {
		l.handoff++
		w |= handoff
	}
	l.UnlockState(w | waiting)
	l.Mu.Unlock()
	return l.await(ctx, me)
}

// ReleaseLocked ends a Release of a hold of mode m: it calls UnlockState.
func (l *Lock) ReleaseLocked(w Word, m Mode) bool {
	ok := w.HeldAs(m)
	if ok {
		w = l.grantNext(l.leave(w, m))
	}
	l.UnlockState(w)
	return ok
}

// await sleeps until the waiter has become a holder or ctx has ended.
func (l *Lock) await(ctx context.Context, me *waiter) (Hold, error) {
	if me.observed() {
		me.begin(func() {
			l.Section(func(w Word) Word { return l.dismiss(w, me) })
		})
	}
	stop := me.wakeWhenDone(ctx)
	for {
		h, granted := me.park()
		var err error
		var m met
		if !granted || ctx.Err() != nil {
			h, granted, m, err = l.retry(ctx, me)
		} else {
			m = me.met
		}
		me.tellMet(m)
		if granted || err != nil {
			if me.observed() {
				observer.End(&me.Wait, err)
			}
			if stop() {
				me.free()
			}
			return h, err
		}
	}
}

// dismiss takes a waiter out of the queue, or takes back what it has been granted.
func (l *Lock) dismiss(w Word, me *waiter) Word {
	if me.granted {
		return l.grantNext(l.leave(w, me.Mode))
	}
	return l.grantNext(l.withdraw(w, me))
}

// retry is called by a waiter that has been woken: it acquires the lock, or sleeps again in its
// place, or leaves because ctx has ended, and passes on what it leaves behind.
func (l *Lock) retry(ctx context.Context, me *waiter) (h Hold, granted bool, m met, err error) {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	w := l.LockState()
	switch err = me.ended(ctx); {
	case me.granted && (err == nil || !me.holds(w)):
		h, granted, err = me.hold, true, nil
	case err != nil:
		w = l.dismiss(w, me)
	case me == l.queue.head && l.room(w, me.Mode):
		w = l.enter(l.withdraw(w, me), me.Mode)
		h, granted = l.hold(w, me.Mode), true
		l.faces(Clock())
		w = l.grantNext(w)
	default:
		// Asleep again before the word is published: the next release finds the bit woken clear
		// and wakes it anew.
		me.awake = false
		w &^= woken
		now := Clock()
		if me == l.queue.head {
			me.front = now
		}
		w |= l.demandHandoff(me, now)
	}
	m, me.met = me.met, met{}
	l.UnlockState(w)
	return h, granted, m, err
}

// starvation is how long a waiter may be passed. With half of that, a crowd spends twice as much
// of its time on handing over, and its longest waits are hardly shorter.
const starvation = 2 * time.Millisecond

// demandHandoff marks the waiters that have been passed for too long: the first one, and those
// that queued soon after it, each of which would have to be woken for nothing otherwise. It
// returns the bit handoff if there are any.
func (l *Lock) demandHandoff(first *waiter, now time.Duration) Word {
	for q := first; q != nil && q.Since <= now-starvation; q = q.next {
		if !q.handoff {
			q.handoff = true
			l.handoff++
		}
	}
	if l.handoff == 0 {
		return 0
	}
	return handoff
}

// grantNext admits the first waiter if the word has room for it and, among readers or with
// several permits, its successors. It is called whenever a holder or a waiter has left.
func (l *Lock) grantNext(w Word) Word {
	first := l.queue.head
	if first == nil || !l.room(w, first.Mode) {
		return w
	}
	now := Clock()
	if !w.HeldAs(Shared) {
		held := Shared
		if l.locked.HeldAs(Exclusive) {
			held = Exclusive
		}
		first.meet(held, now)
	}
	for ; first != nil && l.room(w, first.Mode); first = l.queue.head {
		if w&handoff == 0 && first.Mode == Exclusive {
			// A request may barge in before it is up.
			if !first.awake {
				first.awake = true
				first.wake()
			}
			return w | woken
		}
		w = l.enter(l.withdraw(w, first), first.Mode)
		l.faces(now)
		l.add(w - l.locked) // A holder that knows of its hold may end it before UnlockState.
		l.locked = w
		first.grant(l.hold(w, first.Mode))
	}
	return w
}

// faces notes that the first of the queue, if there is one, waits for a hold that has begun now.
func (l *Lock) faces(now time.Duration) {
	if first := l.queue.head; first != nil {
		first.front = now
	}
}

// withdraw takes a waiter out of the queue.
func (l *Lock) withdraw(w Word, q *waiter) Word {
	if q == l.queue.head && q.next != nil {
		q.next.front = q.front
	}
	l.queue.remove(q)
	if l.queue.head == nil {
		w &^= waiting
	}
	if q.awake {
		w &^= woken
	}
	if q.handoff {
		if l.handoff--; l.handoff == 0 {
			w &^= handoff
		}
	}
	return w
}

// needsGrant reports whether the lock has room for an exclusive waiter, there are waiters, and no
// goroutine is about to admit them.
func (l *Lock) needsGrant(w Word) bool {
	return w&(busy|waiting|woken) == waiting && l.room(w, Exclusive)
}

// admits reports whether a new request may acquire the lock now.
func (l *Lock) admits(w Word, m Mode, o Order) bool {
	barges := m == Exclusive && o == Barging && w&handoff == 0 || o == Reentrant
	return (w&waiting == 0 || barges) && l.room(w, m)
}

// room reports whether the holders leave room for one more of mode m.
func (l *Lock) room(w Word, m Mode) bool {
	if m == Shared {
		return w&(held|margins) == 0
	}
	// Shared holders beside an exclusive one are about to leave.
	return w&(held|countMask) == 0 || l.Permits > 1 && w&held != 0 && w.count() < int64(l.Permits)
}

// enter adds a holder.
func (l *Lock) enter(w Word, m Mode) Word {
	if m == Shared {
		return w + oneHolder
	}
	return l.taken(w)
}

// leave removes a holder.
func (l *Lock) leave(w Word, m Mode) Word {
	if m == Shared {
		return w - oneHolder
	}
	if l.Permits > 1 {
		if w -= oneHolder; w&countMask != 0 {
			return w
		}
	}
	return w.released()
}
