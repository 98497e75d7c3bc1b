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
	// A word. While busy is clear anybody changes it by compare-and-swap. The goroutine that has
	// set busy decides alone, except that shared holders come and go by addition, or leave by a
	// swap together with the bit sharing.
	state atomic.Uint64

	// Set before first use.
	owner   owner // what a hold of the lock is part of; nil if nothing
	permits int32 // how many exclusive holders at once; 0 means 1

	// Waiters that no request may pass; guarded by busy. The bit handoff says whether there are any.
	handoff int32

	// The permits that are released by name, where there are several. Each is counted after it
	// has been acquired and until just before it is released.
	named atomic.Int32

	// Serialises the slow path: busy is set and cleared with mu held, so that goroutines sleep
	// rather than spin for it.
	mu sync.Mutex

	// Guarded by busy:
	locked word // the state as lockState has returned it
	queue  waitlist
}

// An owner has a lock for a part and does what is left to do when a hold of it ends.
type owner interface {
	// release ends the exclusive hold g of the lock and reports whether it was still held.
	release(g Generation) bool
}

// A Generation identifies one exclusive hold of a lock with one permit.
type Generation uint64

// TryAcquire acquires the lock if that takes no waiting, and no barging where the order forbids it.
func (l *Lock) TryAcquire(m Mode, o Order) (Generation, bool) {
	if w, ok := l.acquireFast(m, o); ok {
		return w.generation(), true
	}
	l.mu.Lock()
	return l.tryLocked(l.lockState(), m, o)
}

// Acquire acquires the lock, waiting for it if necessary. If ctx ends first it returns ctx.Err(),
// and the lock is as if it had not been requested.
func (l *Lock) Acquire(ctx context.Context, m Mode, o Order) (Generation, error) {
	return l.AcquireFor(ctx, m, o, Subject{})
}

// AcquireFor is Acquire with what the observer is told if the request has to wait.
func (l *Lock) AcquireFor(ctx context.Context, m Mode, o Order, about Subject) (Generation, error) {
	w, ok := l.acquireFast(m, o)
	for i := 0; !ok && i < spins && l.spin(); i++ {
		w, ok = l.acquireFast(m, o)
	}
	if ok {
		return w.generation(), nil
	}
	l.mu.Lock()
	return l.acquireLocked(ctx, l.lockState(), m, o, about)
}

// Release releases a hold of mode m and reports whether there was one.
func (l *Lock) Release(m Mode) bool {
	if m == Exclusive {
		return l.releaseExclusive(0, 0)
	}
	return l.releaseShared()
}

// ReleaseGeneration releases the exclusive hold g of a lock with one permit and reports whether
// it was still held.
func (l *Lock) ReleaseGeneration(g Generation) bool {
	return l.releaseExclusive(generationMask, word(g))
}

// countNamed notes a hold of mode m that is released by name.
func (l *Lock) countNamed(m Mode) {
	if m == Exclusive && l.permits > 1 {
		l.named.Add(1)
	}
}

// uncountNamed notes the end of a hold that is released by name and reports whether there is one,
// as far as that is known.
func (l *Lock) uncountNamed(m Mode) bool {
	if m == Shared || l.permits <= 1 {
		return true
	}
	for n := l.named.Load(); n > 0; n = l.named.Load() {
		if l.named.CompareAndSwap(n, n-1) {
			return true
		}
	}
	return false
}

// Downgrade turns the exclusive hold into a shared one and admits the readers at the front of the
// queue. It reports whether there was an exclusive hold.
func (l *Lock) Downgrade() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	w, ok := l.downgrade(l.lockState())
	l.unlockState(w)
	return ok
}

// downgrade is Downgrade with busy set. It returns the new state.
func (l *Lock) downgrade(w word) (word, bool) {
	if !w.heldAs(Exclusive) {
		return w, false
	}
	return l.grantNext(l.leave(w, Exclusive) + oneHolder), true
}

// Holder reports whether the lock is held, and how.
func (l *Lock) Holder() (m Mode, held bool) { return l.load().holder() }

// holder is Holder for a word.
func (w word) holder() (m Mode, held bool) {
	if w.heldAs(Shared) {
		return Shared, true
	}
	return Exclusive, w.heldAs(Exclusive)
}

// Holds reports whether the hold g is still held.
func (l *Lock) Holds(g Generation) bool {
	w := l.load()
	return w&(held|sharing) != 0 && w.generation() == g
}

// The fast path: one atomic operation.

func (l *Lock) load() word            { return word(l.state.Load()) }
func (l *Lock) swap(old, w word) bool { return l.state.CompareAndSwap(uint64(old), uint64(w)) }
func (l *Lock) add(w word) word       { return word(l.state.Add(uint64(w))) }

// acquireFast acquires the lock if the word admits the request and no other goroutine intervenes.
// It returns the word of an exclusive hold.
func (l *Lock) acquireFast(m Mode, o Order) (word, bool) {
	w := l.load()
	if m == Shared {
		return 0, w&barred == 0 && l.permits <= 1 && l.join()
	}
	taken := l.taken(w)
	return taken, l.takable(w, o) && l.swap(w, taken)
}

// takable reports whether an exclusive request may take the lock by a swap of w.
func (l *Lock) takable(w word, o Order) bool {
	return w&(busy|handoff) == 0 && (w&waiting == 0 || o == Barging) && l.room(w, Exclusive)
}

// taken returns the word with one more exclusive holder.
func (l *Lock) taken(w word) word {
	if l.permits > 1 {
		w += oneHolder
	}
	return w.next()
}

// join adds a shared holder to a lock with one permit and reports whether it may stay. To add
// first and check then is what lets readers come by an addition, which is several times faster
// than compare-and-swap when they are many. A reader that may not stay does no harm, except that
// an exclusive attempt may take it for a holder at this moment and fail.
func (l *Lock) join() bool {
	w := l.add(oneHolder) - oneHolder
	return w&barred == 0 || l.leaveAgain(w)
}

// leaveAgain takes back a join that found the word w. It returns false.
func (l *Lock) leaveAgain(w word) bool {
	if w&negative == 0 {
		l.releaseShared()
	} else {
		l.add(minusHolder) // The caller that has made the count negative mends it: once is enough.
	}
	return false
}

// spins is how often a request tries again before it queues. With an empty critical section the
// holder is gone before a queue could be built, but spinning longer takes the processor from the
// holder.
var spins = min(8*(runtime.GOMAXPROCS(0)-1), 8)

// spin passes a few nanoseconds and reports whether it makes sense to try again.
//
//go:noinline
func (l *Lock) spin() bool {
	for range 20 {
	}
	return l.load()&handoff == 0
}

// releaseShared removes a shared holder and reports whether there was one.
func (l *Lock) releaseShared() bool {
	if l.permits > 1 {
		l.mu.Lock()
		ok := l.releaseLocked(l.lockState(), Shared, 0, 0)
		l.mu.Unlock()
		return ok
	}
	w := l.add(minusHolder)
	return w&(waiting|negative) == 0 || l.follow(w)
}

// releaseSharing removes the shared holder g and reports whether it was still there. As all
// shared holders, it may leave while busy is set: the generation stays until then, since there is
// no exclusive holder before.
func (l *Lock) releaseSharing(g Generation) bool {
	for {
		w := l.load()
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
// for one of too many. While busy is set, the former is for the goroutine that clears it. It
// reports whether there was a holder.
func (l *Lock) follow(w word) bool {
	ok := w&negative == 0
	if !ok {
		w = l.add(oneHolder)
	}
	if l.needsGrant(w) || w&waiting != 0 && w&countMask == lastHolder {
		l.mu.Lock()
		l.unlockState(l.grantNext(l.lockState()))
		l.mu.Unlock()
	}
	return ok
}

// releaseExclusive releases an exclusive hold, if there is one and the word reads want under mask.
func (l *Lock) releaseExclusive(mask, want word) bool {
	for {
		w := l.load()
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
	l.mu.Lock()
	ok := l.releaseLocked(l.lockState(), Exclusive, mask, want)
	l.mu.Unlock()
	return ok
}

// The slow path: with mu held and busy set.

// lockState sets busy and returns the word without it. The caller holds mu, so busy is clear, and
// a swap that comes too late fails.
func (l *Lock) lockState() word {
	l.locked = l.add(busy) - busy
	return l.locked
}

// unlockState publishes what has become of the word that lockState returned, and clears busy.
// Shared holders may have left meanwhile: the last one, or one of too many, for which waiters had
// to wait.
func (l *Lock) unlockState(w word) {
	for {
		now := l.add(w - l.locked - busy)
		if l.permits > 1 || !l.needsGrant(now) && (w&margins == 0 || now&(busy|held|waiting|margins) != waiting) {
			return
		}
		w = l.grantNext(l.lockState())
	}
}

// publish shows what has become of the word so far, and keeps busy.
func (l *Lock) publish(w word) {
	l.add(w - l.locked)
	l.locked = w
}

// tryLocked ends a TryAcquire: it calls unlockState and unlocks mu.
func (l *Lock) tryLocked(w word, m Mode, o Order) (Generation, bool) {
	defer l.mu.Unlock()
	ok := l.admits(w, m, o)
	if ok {
		w = l.enter(w, m)
	}
	l.unlockState(w)
	return w.generation(), ok
}

// acquireLocked ends an Acquire: it calls unlockState and unlocks mu.
func (l *Lock) acquireLocked(
	ctx context.Context, w word, m Mode, o Order, about Subject,
) (Generation, error) {
	if l.admits(w, m, o) {
		w = l.enter(w, m)
		l.unlockState(w)
		l.mu.Unlock()
		return w.generation(), nil
	}
	me := newWaiter(ctx, l, m, o, about)
	me.front = me.Since
	l.queue.push(me)
	if me.handoff {
		l.handoff++
		w |= handoff
	}
	l.unlockState(w | waiting)
	l.mu.Unlock()
	return l.await(ctx, me)
}

// releaseLocked releases a hold of mode m, if there is one and the word reads want under mask,
// and calls unlockState.
func (l *Lock) releaseLocked(w word, m Mode, mask, want word) bool {
	ok := w.heldAs(m) && w&mask == want
	if ok {
		w = l.grantNext(l.leave(w, m))
	}
	l.unlockState(w)
	return ok
}

// await sleeps until the waiter has become a holder or ctx has ended.
func (l *Lock) await(ctx context.Context, me *waiter) (Generation, error) {
	if me.Since < 0 {
		me.traceNow() // nobody outside the bubble may wake the goroutine for it
	}
	if me.observed() {
		l.begin(me)
	}
	stop := me.wakeWhenDone(ctx)
	for {
		g, granted := me.park()
		var err error
		var m met
		if !granted || ctx.Err() != nil {
			g, granted, m, err = l.retry(ctx, me)
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
			return g, err
		}
	}
}

// begin tells the observer of a waiter, which leaves if the observer panics or ends the goroutine.
func (l *Lock) begin(me *waiter) {
	begun := false
	defer func() {
		if !begun {
			l.abandon(me)
		}
	}()
	observer.Begin(&me.Wait)
	begun = true
}

// abandon takes a waiter out of the queue, or takes back what it has been granted.
func (l *Lock) abandon(me *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.lockState()
	if me.granted {
		w = l.leave(w, me.Mode)
	} else {
		w = l.withdraw(w, me)
	}
	l.unlockState(l.grantNext(w))
}

// retry is called by a waiter that has been woken: it acquires the lock, or sleeps again in its
// place, or leaves because ctx has ended. Whatever it leaves behind is passed on to the next
// waiters.
func (l *Lock) retry(ctx context.Context, me *waiter) (g Generation, granted bool, m met, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.lockState()
	switch err = me.ended(ctx); {
	case err != nil && me.granted:
		w = l.grantNext(l.leave(w, me.Mode))
	case err != nil:
		w = l.grantNext(l.withdraw(w, me))
	case me.granted:
		g, granted = me.generation, true
	case me == l.queue.head && l.room(w, me.Mode):
		w = l.enter(l.withdraw(w, me), me.Mode)
		g, granted = w.generation(), true
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
	l.unlockState(w)
	return g, granted, m, err
}

// starvation is how long a waiter may be passed. With half of that, a crowd spends twice as much
// of its time on handing over, and its longest waits are hardly shorter.
const starvation = 2 * time.Millisecond

// demandHandoff marks the waiters that have been passed for too long: the first one, and those
// that queued soon after it, each of which would have to be woken for nothing otherwise. It
// returns the bit handoff if there are any.
func (l *Lock) demandHandoff(first *waiter, now time.Duration) word {
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
func (l *Lock) grantNext(w word) word {
	first := l.queue.head
	if first == nil || !l.room(w, first.Mode) {
		return w
	}
	now := Clock()
	if !w.heldAs(Shared) {
		held := Shared
		if l.locked.heldAs(Exclusive) {
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
		l.publish(w) // A holder that knows of its hold may end it before unlockState.
		first.grant(w.generation())
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
func (l *Lock) withdraw(w word, q *waiter) word {
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
func (l *Lock) needsGrant(w word) bool {
	return w&(busy|waiting|woken) == waiting && l.room(w, Exclusive)
}

// admits reports whether a new request may acquire the lock now.
func (l *Lock) admits(w word, m Mode, o Order) bool {
	barges := m == Exclusive && o == Barging && w&handoff == 0 || o == Reentrant
	return (w&waiting == 0 || barges) && l.room(w, m)
}

// room reports whether the holders leave room for one more of mode m.
func (l *Lock) room(w word, m Mode) bool {
	if m == Shared {
		return w&(held|margins) == 0
	}
	// Shared holders beside an exclusive one are about to leave.
	return !w.occupied() || l.permits > 1 && w&held != 0 && w.count() < int64(l.permits)
}

// enter adds a holder.
func (l *Lock) enter(w word, m Mode) word {
	if m == Shared {
		return w + oneHolder
	}
	return l.taken(w)
}

// leave removes a holder.
func (l *Lock) leave(w word, m Mode) word {
	if m == Shared {
		return w - oneHolder
	}
	if l.permits > 1 {
		if w -= oneHolder; w&countMask != 0 {
			return w
		}
	}
	return w.released()
}
