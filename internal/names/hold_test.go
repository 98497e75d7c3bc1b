package names

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/lockutils/lockutils/internal/queue"
)

func TestAcquireFastTakesWhatIsFree(t *testing.T) {
	table := NewTable(1, 1)
	if table.Permits() != 1 {
		t.Errorf("%d permits", table.Permits())
	}
	for _, name := range []string{"one", "one", "other", "one"} {
		k := Key{"", name}
		if h, ok := table.AcquireFast(k, k.Hash(), queue.Barging); !ok || !h.ReleaseFast() || h.ReleaseFast() {
			t.Errorf("%q: had %v, or not released once", name, ok)
		}
	}
	h, ok := table.AcquireFast(Key{"", "name"}, Key{"", "name"}.Hash(), queue.Barging)
	if !ok {
		t.Fatal("a free lock was not acquired")
	}
	for _, other := range []string{"name", "other", longName} {
		if _, ok := table.AcquireFast(Key{"", other}, Key{"", other}.Hash(), queue.Barging); ok {
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
	inSlot := mustHold(t, table, Key{"", "first"}, queue.Exclusive)
	mustRelease(t, mustHold(t, table, Key{"", "second"}, queue.Exclusive)) // the slot has overflowed
	k := Key{"scope", "beside"}
	h, ok := table.AcquireFast(k, k.Hash(), queue.Fair)
	if !ok || !h.Held() || slot.entries != 1 || table.Len() != 2 {
		t.Fatalf("acquired: %v, with %d entries", ok, slot.entries)
	}
	if _, ok := table.AcquireFast(k, k.Hash(), queue.Barging); ok {
		t.Error("acquired twice")
	}
	if _, ok := table.TryAcquire(k, queue.Exclusive, queue.Barging); ok {
		t.Error("acquired twice by TryAcquire")
	}
	if h.ReleaseFast() {
		t.Error("released without its entry")
	}
	mustRelease(t, h)
	if h.Release() || slot.entries != 0 {
		t.Errorf("released twice, or %d entries left", slot.entries)
	}

	if _, ok := table.AcquireFast(k, k.Hash(), queue.Fair); !ok ||
		!table.Release(k, k.Hash(), queue.Exclusive) || slot.entries != 0 {
		t.Errorf("not acquired and released by name, or %d entries left", slot.entries)
	}
	first := Key{"", "first"}
	if _, ok := table.AcquireFast(first, first.Hash(), queue.Barging); ok || slot.entries != 0 {
		t.Errorf("the slot's own lock acquired twice, or with %d entries", slot.entries)
	}
	mustRelease(t, inSlot)
	if _, ok := table.AcquireFast(k, k.Hash(), queue.Barging); ok || slot.entries != 0 {
		t.Errorf("acquired beside a slot that is not in use, or %d entries left", slot.entries)
	}
	table.checkIdle(t)
}

// A request that fails must leave the entry to those who use it.
func TestAcquireFastDoesNotPassAFairWaiterBesideASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable(1, 1)
		inSlot := mustHold(t, table, Key{"", "first"}, queue.Exclusive)
		k := Key{"", "beside"}
		h := mustHold(t, table, k, queue.Exclusive)
		next := make(chan queue.Hold)
		go func() {
			h, err := table.Acquire(background, k, queue.Exclusive, queue.Fair)
			if err != nil {
				t.Error(err)
			}
			next <- h
		}()
		synctest.Wait()
		if _, ok := table.AcquireFast(k, k.Hash(), queue.Barging); ok {
			t.Error("passed a fair waiter")
		}
		mustRelease(t, h)
		mustRelease(t, <-next)

		// The moment in which a waiter that has been woken is about to take the free lock.
		mustHold(t, table, k, queue.Exclusive)
		go func() {
			h, _ := table.Acquire(background, k, queue.Exclusive, queue.Barging)
			next <- h
		}()
		synctest.Wait()
		s, bits := table.slot(k.Hash())
		e := s.find(k, bits)
		e.Mu.Lock()
		e.ReleaseLocked(e.LockState(), queue.Exclusive)
		if _, ok := table.AcquireFast(k, k.Hash(), queue.Fair); ok {
			t.Error("a fair request has passed a waiter")
		}
		e.Mu.Unlock()
		s.drop(e)
		mustRelease(t, <-next)
		mustRelease(t, inSlot)
		table.checkIdle(t)
	})
}

// What such a hold stands for has to be given up as well.
func TestHoldOfARecordOrAnEntryIsNotReleasedFast(t *testing.T) {
	table := NewTable(1, 1)
	var record queue.Record
	for _, h := range []queue.Hold{
		mustHold(t, table, Key{"", "shared"}, queue.Shared),
		mustHold(t, table, Key{"", "crowded out"}, queue.Exclusive),
		record.Issue("something"),
	} {
		if h.ReleaseFast() {
			t.Error("released in a single step")
		}
		mustRelease(t, h)
	}
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
		acquire := func(k Key) queue.Hold {
			h, ok := table.TryAcquire(k, queue.Exclusive, queue.Barging)
			if !ok {
				t.Fatalf("%v is not free", k)
			}
			return h
		}
		var stale []queue.Hold
		for _, k := range keys("stale") {
			stale = append(stale, acquire(k))
			if released := table.Release(k, k.Hash(), queue.Exclusive); released != (permits == 1) {
				t.Errorf("%d permits: released by name: %v", permits, released)
			}
		}
		var others []queue.Hold
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
			if _, ok := table.TryAcquire(k, queue.Exclusive, queue.Barging); ok {
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
