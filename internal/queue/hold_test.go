package queue

import (
	"runtime"
	"testing"
	"testing/synctest"
)

func TestZeroHoldHoldsNothing(t *testing.T) {
	var h Hold
	if h.Held() || h.Release() || h.Attachment() != nil {
		t.Error("the zero Hold holds something")
	}
}

func mustRelease(t *testing.T, h Hold) {
	t.Helper()
	if !h.Held() || !h.Release() {
		t.Fatal("a hold is not held")
	}
}

func TestRecordHoldsNothingButItself(t *testing.T) {
	type attached struct {
		record Record
		text   string
	}
	x := &attached{text: "attached"}
	var stale []Hold
	for range 3 {
		h := x.record.Issue(x)
		if !h.Held() || h.Attachment() != x {
			t.Errorf("a new hold is held: %t, with %v", h.Held(), h.Attachment())
		}
		for _, s := range stale {
			if s.Held() || s.Release() {
				t.Error("an earlier hold was released again")
			}
		}
		if !h.Release() || h.Held() || h.Release() {
			t.Error("a hold was not released just once")
		}
		stale = append(stale, h)
	}
	// What served for it must not serve for a hold of something.
	l := Lock{Permits: 3}
	for range 10 {
		mustAcquire(t, &l, Shared)
		h := l.Record(Shared)
		if h.Attachment() != nil {
			t.Error("an ordinary hold has an attachment")
		}
		mustRelease(t, h)
	}
	l.checkIdle(t)
}

// An owner counts the holds of its lock that have ended.
type owner struct {
	Lock
	ended int
}

func (o *owner) Drop() { o.ended++ }

func TestOwnerLearnsOfTheEndOfEachHold(t *testing.T) {
	o := new(owner)
	o.Owner = o
	for i := range 3 {
		h := mustAcquire(t, &o.Lock, Exclusive)
		if h.ReleaseFast() {
			t.Error("a hold was released without its owner")
		}
		mustRelease(t, h)
		mustAcquire(t, &o.Lock, Shared)
		shared := o.Record(Shared)
		if shared.ReleaseFast() {
			t.Error("a hold of a record was released without its owner")
		}
		mustRelease(t, shared)
		if h.Release() || shared.Release() || o.ended != 2*(i+1) {
			t.Fatalf("%d holds have ended, want %d", o.ended, 2*(i+1))
		}
	}
	o.checkIdle(t)
}

// One shared holder at a time has the generation.
func TestOneSharedHolderHasTheGeneration(t *testing.T) {
	var l Lock
	h := mustShare(t, &l)
	if _, ok := l.Share(l.Load()); ok {
		t.Error("two shared holders have the generation")
	}
	mustRelease(t, h)
	next := mustShare(t, &l)
	if h.Held() || h.ReleaseFast() || h.Release() {
		t.Error("the generation does not tell the next shared holder")
	}
	mustRelease(t, next)
	l.checkIdle(t)
}

func mustShare(t *testing.T, l *Lock) Hold {
	t.Helper()
	w, ok := l.Share(l.Load())
	if !ok {
		t.Fatal("a free lock was not shared")
	}
	return l.HoldIn(w)
}

// The last shared holder admits those that wait, whatever its identity, also while another
// goroutine decides.
func TestSharedHolderWithGenerationAdmitsWaiters(t *testing.T) {
	for _, deciding := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var l Lock
			h := mustShare(t, &l)
			granted := make(chan Hold, 1)
			go func() {
				h, _ := l.Acquire(background, Exclusive, Fair, Subject{})
				granted <- h
			}()
			synctest.Wait()
			if deciding {
				l.Mu.Lock()
				w := l.LockState()
				if !h.Release() {
					t.Error("a shared hold was not released while busy was set")
				}
				l.UnlockState(w)
				l.Mu.Unlock()
			} else if h.ReleaseFast() || !h.Release() {
				t.Error("a hold that somebody waits for was released in one step, or not at all")
			}
			synctest.Wait()
			if len(granted) == 0 {
				t.Fatal("the waiter was not admitted")
			}
			mustRelease(t, <-granted)
			l.checkIdle(t)
		})
	}
}

// A request may overtake between a reader's going and the reader's look at those who wait, which
// finds the lock held then and wakes nobody. So it is the one that has overtaken who has to wake
// them.
func TestWhoOvertakesASleeperWakesIt(t *testing.T) {
	var l Lock
	mustAcquire(t, &l, Shared)
	woken := make(chan Hold)
	go func() {
		h, err := l.Acquire(background, Exclusive, Barging, Subject{})
		if err != nil {
			t.Error(err)
		}
		woken <- h
	}()
	l.waitFor(1, Exclusive)
	word := l.add(minusHolder)
	if _, ok := l.Claim(l.Load()); ok {
		t.Error("a lock that somebody waits for was claimed")
	}
	if _, ok := l.Take(l.Load(), Fair); ok {
		t.Error("a fair request has passed a waiter")
	}
	taken, ok := l.Take(l.Load(), Barging)
	if !ok {
		t.Fatal("a free lock was not acquired")
	}
	h := l.HoldIn(taken)
	l.follow(word)
	if h.ReleaseFast() {
		t.Error("the lock was released without a look at those who wait")
	}
	mustRelease(t, h)
	mustRelease(t, <-woken)
	l.checkIdle(t)
}

func TestClaimIsForLocksThatAreNotInUse(t *testing.T) {
	var l Lock
	for _, w := range []Word{held, oneHolder, waiting, Overflowed, busy} {
		l.state.Store(uint64(w))
		if _, ok := l.Claim(w); ok {
			t.Errorf("a lock with the word %#x was claimed", w)
		}
	}
	l.state.Store(0)
	w, ok := l.Claim(0)
	if !ok || l.Load()&Fresh == 0 || l.Load().Sole() {
		t.Errorf("claimed: %t, with the word %#x", ok, l.Load())
	}
	if !l.HoldIn(w).ReleaseFast() || l.Load()&Fresh != 0 {
		t.Error("the word stays fresh without a holder")
	}
	l.checkIdle(t)
}

func TestNoHoldEndsWhileItIsExamined(t *testing.T) {
	for _, m := range []Mode{Exclusive, Shared} {
		var l Lock
		h := mustAcquire(t, &l, m)
		if m == Shared {
			h = l.Record(m)
		}
		released := make(chan bool)
		examined := h.WhileHeld(func() {
			go func() { released <- h.ReleaseFast() || h.Release() }()
			for range 100 {
				runtime.Gosched()
			}
			if !h.Held() {
				t.Errorf("mode %v: the hold has ended while it was examined", m)
			}
		})
		if !examined || !<-released {
			t.Errorf("mode %v: the hold should be examined, and then be released", m)
		}
		if h.WhileHeld(func() { t.Errorf("mode %v: a hold that has ended is examined", m) }) {
			t.Errorf("mode %v: a hold that has ended counts as held", m)
		}
		l.checkIdle(t)
	}
}
