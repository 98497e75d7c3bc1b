package queue

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
)

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
	table := NewTable(1, 3)
	for range 10 {
		h := mustHold(t, table, Key{"", "name"}, Shared)
		if h.Attachment() != nil {
			t.Error("an ordinary hold has an attachment")
		}
		mustRelease(t, h)
	}
	table.checkIdle(t)
	if (Hold{}).Attachment() != nil {
		t.Error("the zero Hold has an attachment")
	}
}

func TestAcquireFastTakesWhatIsFree(t *testing.T) {
	table := NewTable(1, 1)
	if table.Permits() != 1 {
		t.Errorf("%d permits", table.Permits())
	}
	for _, name := range []string{"one", "one", "other", "one"} {
		k := Key{"", name}
		if h, ok := table.AcquireFast(k, k.Hash(), Barging); !ok || !h.ReleaseFast() || h.ReleaseFast() {
			t.Errorf("%q: had %v, or not released once", name, ok)
		}
	}
	h, ok := table.AcquireFast(Key{"", "name"}, Key{"", "name"}.Hash(), Barging)
	if !ok {
		t.Fatal("a free lock was not acquired")
	}
	for _, other := range []string{"name", "other", longName} {
		if _, ok := table.AcquireFast(Key{"", other}, Key{"", other}.Hash(), Barging); ok {
			t.Errorf("%q was had although that takes more than one step", other)
		}
	}
	mustRelease(t, h)
	table.checkIdle(t)
}

// The slot has to keep an entry for as long as there is a hold of it, and no longer.
func TestAcquireFastTakesWhatIsFreeBesideAnOverflowedSlot(t *testing.T) {
	table := NewTable(1, 1)
	slot := &table.slots[0]
	inSlot := mustHold(t, table, Key{"", "first"}, Exclusive)
	mustRelease(t, mustHold(t, table, Key{"", "second"}, Exclusive)) // the slot has overflowed
	k := Key{"scope", "beside"}
	h, ok := table.AcquireFast(k, k.Hash(), Fair)
	if !ok || !h.Held() || slot.entries != 1 || table.Len() != 2 {
		t.Fatalf("acquired: %v, with %d entries", ok, slot.entries)
	}
	if _, ok := table.AcquireFast(k, k.Hash(), Barging); ok {
		t.Error("acquired twice")
	}
	if _, ok := table.TryAcquire(k, Exclusive, Barging); ok {
		t.Error("acquired twice by TryAcquire")
	}
	if h.ReleaseFast() {
		t.Error("released without its entry")
	}
	mustRelease(t, h)
	if h.Release() || slot.entries != 0 {
		t.Errorf("released twice, or %d entries left", slot.entries)
	}

	if _, ok := table.AcquireFast(k, k.Hash(), Fair); !ok || !table.Release(k, k.Hash(), Exclusive) ||
		slot.entries != 0 {
		t.Errorf("not acquired and released by name, or %d entries left", slot.entries)
	}
	first := Key{"", "first"}
	if _, ok := table.AcquireFast(first, first.Hash(), Barging); ok || slot.entries != 0 {
		t.Errorf("the slot's own lock acquired twice, or with %d entries", slot.entries)
	}
	mustRelease(t, inSlot)
	if _, ok := table.AcquireFast(k, k.Hash(), Barging); ok || slot.entries != 0 {
		t.Errorf("acquired beside a slot that is not in use, or %d entries left", slot.entries)
	}
	table.checkIdle(t)
}

// A request that fails must leave the entry to those who use it.
func TestAcquireFastDoesNotPassAFairWaiterBesideASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable(1, 1)
		inSlot := mustHold(t, table, Key{"", "first"}, Exclusive)
		k := Key{"", "beside"}
		h := mustHold(t, table, k, Exclusive)
		next := make(chan Hold)
		go func() {
			h, err := table.Acquire(background, k, Exclusive, Fair)
			if err != nil {
				t.Error(err)
			}
			next <- h
		}()
		synctest.Wait()
		if _, ok := table.AcquireFast(k, k.Hash(), Barging); ok {
			t.Error("passed a fair waiter")
		}
		mustRelease(t, h)
		mustRelease(t, <-next)

		e := table.slots[0].entry(k, k.Hash())
		e.add(waiting) // as while a waiter is about to take the free lock
		if _, ok := table.AcquireFast(k, k.Hash(), Fair); ok {
			t.Error("a fair request has passed a waiter")
		}
		e.add(^waiting + 1)
		table.slots[0].drop(e)
		mustRelease(t, inSlot)
		table.checkIdle(t)
	})
}

// What such a hold stands for has to be given up as well.
func TestHoldOfARecordOrAnEntryIsNotReleasedFast(t *testing.T) {
	table := NewTable(1, 1)
	var record Record
	for _, h := range []Hold{
		mustHold(t, table, Key{"", "shared"}, Shared),
		mustHold(t, table, Key{"", "crowded out"}, Exclusive),
		record.Issue("something"),
	} {
		if h.ReleaseFast() {
			t.Error("released in a single step")
		}
		mustRelease(t, h)
	}
	table.checkIdle(t)
}

// A request may overtake between a reader's going and the reader's look at those who wait, which
// finds the lock held then and wakes nobody. So it is the one that has overtaken who has to wake
// them.
func TestWhoOvertakesASleeperWakesIt(t *testing.T) {
	table := NewTable(1, 1)
	k := Key{"", "name"}
	mustHoldNamed(t, table, k, Shared)
	lock := &table.slots[0].Lock
	woken := make(chan Hold)
	go func() {
		h, err := table.Acquire(background, k, Exclusive, Barging)
		if err != nil {
			t.Error(err)
		}
		woken <- h
	}()
	lock.waitFor(1, Exclusive)
	word := lock.add(minusHolder)
	if _, ok := table.AcquireFast(Key{"", "other"}, Key{"", "other"}.Hash(), Barging); ok {
		t.Error("a lock that somebody waits for was given to another name")
	}
	h, ok := table.AcquireFast(k, k.Hash(), Barging)
	if !ok {
		t.Fatal("a free lock was not acquired")
	}
	lock.follow(word)
	if h.ReleaseFast() {
		t.Error("the lock was released without a look at those who wait")
	}
	mustRelease(t, h)
	mustRelease(t, <-woken)
	table.checkIdle(t)
}

// TestHoldReleasedByNameNeverReleasesAnother mixes the two ways to release, which is wrong: the
// hold that was taken must not become one of other keys, nor of other holders of the same key.
func TestHoldReleasedByNameNeverReleasesAnother(t *testing.T) {
	for _, permits := range []int64{1, 3} {
		table := NewTable(1, permits)
		keys := func(from string) []Key {
			var keys []Key
			for i := range 50 {
				keys = append(keys, Key{"", fmt.Sprint(from, i)})
			}
			return keys
		}
		acquire := func(k Key) Hold {
			h, ok := table.TryAcquire(k, Exclusive, Barging)
			if !ok {
				t.Fatalf("%v is not free", k)
			}
			return h
		}
		var stale []Hold
		for _, k := range keys("stale") {
			stale = append(stale, acquire(k))
			if released := table.Release(k, k.Hash(), Exclusive); released != (permits == 1) {
				t.Errorf("%d permits: released by name: %v", permits, released)
			}
		}
		var others []Hold
		for _, k := range keys("other") {
			for range permits {
				others = append(others, acquire(k))
			}
		}
		for _, h := range stale {
			h.Release()
		}
		for _, h := range others {
			if !h.Held() {
				t.Fatalf("%d permits: another hold was released", permits)
			}
		}
		for _, k := range keys("other") {
			if _, ok := table.TryAcquire(k, Exclusive, Barging); ok {
				t.Fatalf("%d permits: %v was taken once too often", permits, k)
			}
		}
		for _, h := range others {
			h.Release()
		}
		if n := table.Len(); n != 0 {
			t.Errorf("%d permits: %d keys left", permits, n)
		}
	}
}

func TestNoHoldEndsWhileItIsExamined(t *testing.T) {
	for _, m := range []Mode{Exclusive, Shared} {
		table := NewTable(1, 1)
		h, _ := table.TryAcquire(Key{Name: "x"}, m, Barging)
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
		if n := table.Len(); n > 0 {
			t.Errorf("mode %v: %d keys in use", m, n)
		}
	}
}
