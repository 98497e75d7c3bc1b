package queue

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// starvation is how long a waiter lets others pass. With half of that, a crowd at a lock spends twice as much of its time on
// handing over, and its longest waits are hardly shorter.
const starvation = 2 * time.Millisecond

// A Lock is one lock with its queue. The zero value is free and has one permit. It must not be copied after first use.
//
// All methods may be called concurrently. An acquisition is not tied to its goroutine: any goroutine may release it.
type Lock struct {
	// Set before first use. They stand beside state, in the same cache line, because they are read with it.
	receipt *receipt // what the lock is part of, if it identifies a hold
	permits int32    // how many exclusive holders at once; 0 means 1

	handoff int32 // waiters that must not be passed; the bit handoff says whether there are any; guarded by busy

	// A word. While busy is clear anybody changes it by compare-and-swap; whoever has set busy decides alone, but readers
	// come and go by addition even then.
	state atomic.Uint64

	// Serialises the slow path: whoever sets busy holds it. So goroutines sleep rather than spin for busy.
	mu sync.Mutex

	// Guarded by busy:
	locked word // the state as lockState has returned it
	queue  waitlist

	// Where permits > 1:
	taken     int32 // exclusive holders; the bit held says whether there are any
	anonymous int32 // those of them that no Hold stands for, see Hold.Forget
}

// A Generation identifies one exclusive hold of a lock with one permit.
type Generation uint64

// TryAcquire takes the lock if that needs no waiting, and no barging where that is not allowed.
func (l *Lock) TryAcquire(m Mode, o Order) (Generation, bool) {
	if l.lets(l.load(), m, o) {
		if g, ok := l.acquireFast(m, o); ok {
			return g, true
		}
	}
	l.mu.Lock()
	return l.tryLocked(l.lockState(), m, o)
}

// Acquire takes the lock, waiting for it if it must. When ctx ends first it returns ctx.Err() and the lock is as if it had
// never been asked for.
func (l *Lock) Acquire(ctx context.Context, m Mode, o Order) (Generation, error) {
	return l.AcquireFor(ctx, m, o, Subject{})
}

// AcquireFor is Acquire with what the observer is told if the request has to wait.
func (l *Lock) AcquireFor(ctx context.Context, m Mode, o Order, about Subject) (Generation, error) {
	if g, ok := l.acquireSpinning(m, o); ok {
		return g, nil
	}
	l.mu.Lock()
	return l.acquireLocked(ctx, l.lockState(), m, o, about)
}

// Release gives up a hold of mode m and reports whether there was one.
func (l *Lock) Release(m Mode) bool {
	if m == Exclusive {
		return l.releaseExclusive(0, 0)
	}
	return l.releaseShared()
}

// ReleaseGeneration gives up the exclusive hold g of a lock with one permit and reports whether it was still held.
func (l *Lock) ReleaseGeneration(g Generation) bool {
	return l.releaseExclusive(genMask, word(g))
}

// renew ends the exclusive hold g by beginning another, and reports whether it was still held.
func (l *Lock) renew(g Generation) bool {
	w := l.load()
	return w.generation() == g && l.swap(w, w.taken())
}

// Downgrade turns the exclusive hold into a shared one, letting in the readers at the front of the queue. It reports
// whether there was an exclusive hold.
func (l *Lock) Downgrade() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.lockState()
	ok := w.heldAs(Exclusive)
	if ok {
		w = l.grantNext(l.leave(w, Exclusive) + oneReader)
	}
	l.unlockState(w)
	return ok
}

// Holder reports whether anybody holds the lock, and how.
func (l *Lock) Holder() (m Mode, held bool) {
	switch w := l.load(); {
	case w.heldAs(Exclusive):
		return Exclusive, true
	case w.heldAs(Shared):
		return Shared, true
	}
	return Exclusive, false
}

// Holds reports whether the exclusive hold g is still held.
func (l *Lock) Holds(g Generation) bool {
	w := l.load()
	return w.heldAs(Exclusive) && w.generation() == g
}

// Waiting returns how many requests of mode m are queued.
func (l *Lock) Waiting(m Mode) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.lockState()
	n := 0
	for q := l.queue.head; q != nil; q = q.next {
		if q.Mode == m {
			n++
		}
	}
	l.unlockState(w)
	return n
}

// The fast path: one atomic operation.

func (l *Lock) load() word            { return word(l.state.Load()) }
func (l *Lock) swap(old, w word) bool { return l.state.CompareAndSwap(uint64(old), uint64(w)) }
func (l *Lock) add(w word) word       { return word(l.state.Add(uint64(w))) }

// acquireFast takes the lock if the word lets it and no other goroutine comes between.
func (l *Lock) acquireFast(m Mode, o Order) (Generation, bool) {
	if m == Shared {
		return 0, l.join(0)
	}
	w := l.load()
	if !l.takable(w, o) || !l.swap(w, w.taken()) {
		return 0, false
	}
	return w.taken().generation(), true
}

// lets reports whether it is worth trying acquireFast on that word. To look first costs the other processors the cache
// line once; not to look can make a reader count itself in vain.
func (l *Lock) lets(w word, m Mode, o Order) bool {
	if m == Shared {
		return w&barred == 0
	}
	return l.takable(w, o)
}

// takable reports whether an exclusive request may take the lock by a swap of w.
func (l *Lock) takable(w word, o Order) bool {
	return w&(busy|handoff|held|readersMask|biased) == 0 && (w&waiting == 0 || o == Barging) && l.permits <= 1
}

// join adds a reader and reports whether it may stay: it must not have been barred, and the tag must be as given. Adding
// first and looking then is what lets readers come by an addition, which is several times faster than compare-and-swap
// when they are many. One that may not stay is no harm, but for an exclusive attempt that takes it for a holder at this
// moment and fails.
func (l *Lock) join(tag word) bool {
	w := l.add(oneReader) - oneReader
	return w&(barred|tagMask) == tag && w&(biased|manyStand) != biased|manyStand || l.unjoin(w)
}

// unjoin takes back a join that found the word w. It returns false.
func (l *Lock) unjoin(w word) bool {
	if w&negative == 0 {
		l.releaseShared()
	} else {
		l.add(minusReader) // Whoever has made the count negative mends it: once is enough.
	}
	return false
}

// spins is how often acquireSpinning looks again before it queues: with an empty critical section the holder is gone
// before a queue could be built, but spinning longer takes the processor from the holder.
var spins = min(8*(runtime.GOMAXPROCS(0)-1), 8)

func (l *Lock) acquireSpinning(m Mode, o Order) (Generation, bool) {
	g, ok := l.acquireFast(m, o)
	for i := 0; !ok && i < spins; i++ {
		pause()
		w := l.load()
		if w&handoff != 0 {
			break
		}
		if l.lets(w, m, o) {
			g, ok = l.acquireFast(m, o)
		}
	}
	return g, ok
}

// pause passes a few nanoseconds.
//
//go:noinline
func pause() {
	for range 20 {
	}
}

// releaseShared removes a reader and reports whether there was one.
func (l *Lock) releaseShared() bool {
	w := l.add(minusReader)
	return w&(waiting|negative) == 0 || l.follow(w)
}

// follow does what is left to do when a reader has gone and has left the word w: it mends the count if there was none,
// and lets in those who had to wait for the last reader, or for one of too many. With busy set, the former is for
// whoever clears it. It reports whether there was a reader.
func (l *Lock) follow(w word) bool {
	ok := w&negative == 0
	if !ok {
		w = l.add(oneReader)
	}
	if w.needsGrant() || w&waiting != 0 && w&readersMask == maxReaders {
		l.mu.Lock()
		l.unlockState(l.grantNext(l.lockState()))
		l.mu.Unlock()
	}
	return ok
}

// releaseExclusive gives up an exclusive hold, if there is one and the word reads want under mask.
func (l *Lock) releaseExclusive(mask, want word) bool {
	for {
		w := l.load()
		if w&busy != 0 || l.permits > 1 {
			break
		}
		if w&held == 0 || w&mask != want {
			return false
		}
		if w.released().needsGrant() {
			break
		}
		if l.swap(w, w.released()) {
			return true
		}
	}
	l.mu.Lock()
	ok := l.releaseLocked(l.lockState(), Exclusive, mask, want)
	l.mu.Unlock()
	return ok
}

// The slow path: under mu, with busy set.

// lockState sets busy, ends a bias, so that the word counts all readers, and returns it without busy. The caller holds mu, so
// busy is clear, and a swap that comes too late fails.
func (l *Lock) lockState() word {
	w := l.add(busy) - busy
	if w&biased != 0 {
		l.add(minusBiased)
		w = l.countStanding(w &^ biased)
	}
	l.locked = w
	return w
}

// unlockState publishes what has become of the word that lockState returned, and clears busy. Readers may have left meanwhile,
// whom those that wait had to wait for, the last one or one of too many.
func (l *Lock) unlockState(w word) {
	for {
		now := l.add(w - l.locked - busy)
		if !now.needsGrant() && (w&margins == 0 || !now.hasRoom()) {
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
	me := newWaiter(l, m, o, about)
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

// releaseLocked gives up a hold of mode m, if there is one and the word reads want under mask, and calls unlockState.
func (l *Lock) releaseLocked(w word, m Mode, mask, want word) bool {
	ok := w.heldAs(m) && w&mask == want
	if ok {
		w = l.grantNext(l.leave(w, m))
	}
	l.unlockState(w)
	return ok
}

// releaseAnonymous is releaseLocked for a hold that no Hold stands for.
func (l *Lock) releaseAnonymous(w word, m Mode) bool {
	if m == Exclusive && l.permits > 1 {
		if l.anonymous == 0 {
			l.unlockState(w)
			return false
		}
		l.anonymous--
	}
	return l.releaseLocked(w, m, 0, 0)
}

// countAnonymous notes that no Hold stands for one of the exclusive holds any more.
func (l *Lock) countAnonymous() {
	l.mu.Lock()
	w := l.lockState()
	l.anonymous++
	l.unlockState(w)
	l.mu.Unlock()
}

// await sleeps until the waiter has become a holder or ctx has ended.
func (l *Lock) await(ctx context.Context, me *waiter) (Generation, error) {
	if me.observed() {
		observer.Begin(ctx, &me.Wait)
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

// retry is what a waiter does that has been woken: it takes the lock, or goes to sleep again where it stood, or leaves
// because ctx has ended. Whatever it leaves behind is passed on to those who wait.
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
		// Asleep again before the word is published: the next release finds the bit woken clear and wakes it anew.
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

// demandHandoff demands the hand-off for those who have been passed for too long: the one given and whoever queued up behind it soon after, as
// otherwise each would have to be woken in vain first. It returns the bit handoff if there are any such.
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

// grantNext lets in whom the word lets in: the first waiter and, among readers or with several permits, its successors. It
// is called whenever a holder or a waiter has left.
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
			// Whoever comes by before it is up may barge in.
			if !first.awake {
				first.awake = true
				first.wake()
			}
			return w | woken
		}
		w = l.enter(l.withdraw(w, first), first.Mode)
		l.faces(now)
		l.publish(w) // A reader who knows that it is in may be gone again before the word is published.
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

// admits reports whether a new request may take the lock now.
func (l *Lock) admits(w word, m Mode, o Order) bool {
	barges := m == Exclusive && o == Barging && w&handoff == 0 || o == Reentrant
	return (w&waiting == 0 || barges) && l.room(w, m)
}

// room reports whether the holders leave room for one more of mode m.
func (l *Lock) room(w word, m Mode) bool {
	if m == Shared {
		return w&(held|margins) == 0
	}
	// Readers beside an exclusive holder have come in vain and are about to go.
	return !w.occupied() || w&held != 0 && l.permits > 1 && l.taken < l.permits
}

// enter adds a holder.
func (l *Lock) enter(w word, m Mode) word {
	if m == Shared {
		return w + oneReader
	}
	if l.permits > 1 {
		l.taken++
	}
	return w.taken()
}

// leave removes a holder.
func (l *Lock) leave(w word, m Mode) word {
	if m == Shared {
		return w - oneReader
	}
	if l.permits > 1 {
		if l.taken--; l.taken > 0 {
			return w
		}
	}
	return w.released()
}
