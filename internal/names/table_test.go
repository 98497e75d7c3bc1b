package names

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils/internal/queue"
	"github.com/lockutils/lockutils/internal/queuetest"
)

func mustHold(t *testing.T, table *Table, k Key, m queue.Mode) queue.Hold {
	t.Helper()
	h, ok := table.TryAcquire(k, m, queue.Barging)
	if !ok {
		t.Fatalf("the lock of %v was not acquired in mode %d", k, m)
	}
	return h
}

func mustHoldNamed(t *testing.T, table *Table, k Key, m queue.Mode) {
	t.Helper()
	if !table.TryAcquireNamed(k, k.Hash(), m, queue.Barging) {
		t.Fatalf("the lock of %v was not acquired in mode %d", k, m)
	}
}

func mustRelease(t *testing.T, h queue.Hold) {
	t.Helper()
	if !h.Held() || !h.Release() {
		t.Fatal("a hold is not held")
	}
}

var longName = strings.Repeat("a name too long for a slot, ", 10)

func TestEqualKeysMeanOneLock(t *testing.T) {
	for _, k := range []Key{
		{"", ""}, {"", "name"}, {"scope", "name"}, {"scope", ""}, {"", longName}, {longName, "name"},
	} {
		table := NewTable(8, 1)
		h := mustHold(t, table, k, queue.Exclusive)
		equal := Key{strings.Clone(k.Scope), strings.Clone(k.Name)}
		if _, ok := table.TryAcquire(equal, queue.Exclusive, queue.Barging); ok {
			t.Errorf("%v was locked twice", k)
		}
		mustRelease(t, h)
		mustRelease(t, mustHold(t, table, equal, queue.Exclusive))
		table.checkIdle(t)
	}
}

// A request that changed the word for another name could make a try for that name fail.
func TestRequestForAnotherNameLeavesTheWordAlone(t *testing.T) {
	for _, permits := range []int64{1, 3} {
		table := NewTable(1, permits)
		mustRelease(t, mustHold(t, table, Key{"", "last used"}, queue.Exclusive))
		before := table.slots[0].Load()
		for i := range 8 {
			k := Key{"", fmt.Sprint(i)}
			if permits > 1 {
				table.AcquirePermitFast(k, k.Hash(), queue.Barging)
			} else {
				table.ShareFast(k, k.Hash())
				table.ShareNamedFast(k.Name, k.Hash())
			}
			if now := table.slots[0].Load(); now != before {
				t.Fatalf("with %d permits, the word became %#x, and was %#x", permits, now, before)
			}
		}
	}
}

func TestDifferentKeysMeanDifferentLocks(t *testing.T) {
	keys := []Key{
		{"", "ab"}, {"a", "b"}, {"ab", ""}, {"b", "a"}, {"", "ba"}, {"", ""}, {"", "a\x00b"},
		{"", longName}, {longName, ""},
	}
	for i := range 200 {
		keys = append(keys, Key{"", fmt.Sprint(i)})
	}
	for _, table := range []*Table{
		NewTable(1024, 1), collisions(1, 8, 1), collisions(1, 1, 1), collisions(1, 0, 1),
	} {
		var holds []queue.Hold
		for i, k := range keys {
			holds = append(holds, mustHold(t, table, k, queue.Mode(i%2)))
		}
		if n := table.Len(); n != len(keys) {
			t.Errorf("%d keys in use, want %d", n, len(keys))
		}
		for _, k := range keys {
			if _, ok := table.TryAcquire(k, queue.Exclusive, queue.Barging); ok {
				t.Errorf("%v was locked twice", k)
			}
		}
		for _, h := range holds {
			mustRelease(t, h)
		}
		table.checkIdle(t)
	}
}

// The same for each pair of keys, one of which has the slot's own lock.
func TestKeyIsToldFromThatOfTheSlot(t *testing.T) {
	keys := []Key{{"a", "b"}, {"a", "c"}, {"c", "b"}, {"", "ab"}, {"ab", ""}, {"", "a"}, {"", ""}, {"abc", "b"}}
	for _, first := range keys {
		for _, second := range keys {
			table := collisions(1, 0, 1)
			h := mustHold(t, table, first, queue.Exclusive)
			other, ok := table.TryAcquire(second, queue.Exclusive, queue.Barging)
			if ok != (first != second) {
				t.Errorf("while %q is held, %q is acquired: %t", first, second, ok)
			}
			mustRelease(t, h)
			if ok {
				mustRelease(t, other)
			}
			table.checkIdle(t)

			mustRelease(t, mustHold(t, table, first, queue.Exclusive)) // the unused slot keeps its name
			other = mustHold(t, table, second, queue.Exclusive)
			if first != second && table.Release(first, first.Hash(), queue.Exclusive) {
				t.Errorf("the hold of %q was released as that of %q", second, first)
			}
			mustRelease(t, other)
			table.checkIdle(t)
		}
	}
}

// A holder that has taken a slot for a new name, and has not come to write it, stops those who
// want to know which name it is.
func TestNameBeingWrittenIsWaitedFor(t *testing.T) {
	table := NewTable(1, 1)
	s, k := &table.slots[0], Key{"", "name"}
	taken, ok := s.Claim(s.Load())
	if !ok {
		t.Fatal("the lock of a new table is in use")
	}
	for _, request := range []func() bool{
		func() bool { _, ok := table.TryAcquire(k, queue.Exclusive, queue.Barging); return ok },
		func() bool { _, ok := table.TryAcquire(k, queue.Shared, queue.Barging); return ok },
		func() bool { return table.Release(k, k.Hash(), queue.Shared) },
	} {
		s.identity.Store(0)
		result := make(chan bool, 1)
		go func() { result <- request() }()
		for s.Load() == taken && len(result) == 0 { // until it is in a section
			runtime.Gosched()
		}
		_, h := table.slot(k.Hash())
		s.rename(k, h, taken)
		if <-result {
			t.Error("a name that was being written was taken for another one")
		}
	}
	mustRelease(t, s.HoldIn(taken))
	table.checkIdle(t)
}

// The word of a holder that has brought a new name shows that it may still be writing it.
func TestHolderThatBringsANameIsFreshUntilItsRelease(t *testing.T) {
	table := NewTable(1, 1)
	s, old, k := &table.slots[0], Key{"", "old"}, Key{"", "new"}
	mustRelease(t, mustHold(t, table, old, queue.Exclusive))
	h, ok := table.AcquireFast(k, k.Hash(), queue.Barging)
	if !ok || !s.serves(k) {
		t.Fatal("an unused slot did not take a new name")
	}
	if s.Load()&queue.Fresh == 0 {
		t.Error("nothing shows that the holder may still be writing its name")
	}
	// The state in which the holder has not come to store the identity of what it has written.
	identity := s.identity.Load()
	s.identity.Store(identity ^ uint64(queue.GenerationBits))
	if s.complete(s.Load()) {
		t.Error("a name that is being written counts as complete")
	}
	s.identity.Store(identity)
	if !s.complete(s.Load()) {
		t.Error("a name that has been written does not count as complete")
	}
	mustRelease(t, h)
	if s.Load()&queue.Fresh != 0 {
		t.Error("the word stays fresh without a holder")
	}
	table.checkIdle(t)
}

// Until a holder has written its name, the slot has the one before. By that nobody ends the hold.
func TestMistakenReleaseOfTheNameBefore(t *testing.T) {
	table := NewTable(1, 1)
	s, before := &table.slots[0], Key{"", "before"}
	mustRelease(t, mustHold(t, table, before, queue.Exclusive))
	taken, ok := s.Claim(s.Load())
	if !ok {
		t.Fatal("an unused slot did not take a new name")
	}
	if table.ReleaseFast(before.Hash()) || table.LeaveFast(before.Hash()) {
		t.Error("a hold was released by the name before")
	}
	k := Key{"", "name"}
	_, h := table.slot(k.Hash())
	s.rename(k, h, taken)
	mustRelease(t, s.HoldIn(taken))
	table.checkIdle(t)
}

// Holds that are released by name take a single step, unless their slot has overflowed: a key that
// looks like the slot's could be that of an entry then. So one that has an entry must not read what
// the slot's holder may be writing.
func TestFastReleaseByNameBesideAnOverflowedSlot(t *testing.T) {
	for i := range 64 { // some of the hashes have the bit that means Overflowed, for each of the two
		for _, m := range []queue.Mode{queue.Exclusive, queue.Shared} {
			table := NewTable(1, 1)
			if i%2 == 1 {
				table = collisions(1, 0, 1)
			}
			fast := func(k Key) bool {
				if m == queue.Exclusive {
					return table.ReleaseFast(k.Hash())
				}
				return table.LeaveFast(k.Hash())
			}
			inSlot, other := Key{"", fmt.Sprint("slot-", i)}, Key{"", fmt.Sprint("other-", i)}
			for range 2 { // with a new slot, and with one that had overflowed
				mustHoldNamed(t, table, inSlot, m)
				if !fast(inSlot) {
					t.Errorf("%v, mode %d: the release took more than one step", inSlot, m)
				}
				mustHoldNamed(t, table, inSlot, m)
				mustHoldNamed(t, table, other, m)
				s, h := table.slot(other.Hash())
				before := s.hash
				s.hash = h // what the next name may leave for a moment
				if fast(other) {
					t.Errorf("%v, mode %d: a hold of %v was released", other, m, inSlot)
				}
				s.hash = before
				if m == queue.Shared && fast(inSlot) {
					t.Errorf("%v was left in one step beside an overflowed slot", inSlot)
				}
				for _, k := range []Key{inSlot, other} {
					if !table.Release(k, k.Hash(), m) {
						t.Errorf("%v was not released in mode %d", k, m)
					}
				}
				table.checkIdle(t)
				mustRelease(t, mustHold(t, table, Key{"", "next"}, m)) // ends the overflow
				table.checkIdle(t)
			}
		}
	}
}

// A wrong release ends the hold of a waiter that has been granted the lock and whose context has ended.
// Whatever becomes of that, its place may serve another key by then, and does so undisturbed.
func TestWaiterRobbedOfItsGrantDisturbsNoOtherKey(t *testing.T) {
	for _, m := range []queue.Mode{queue.Exclusive, queue.Shared} {
		for _, inSlot := range []bool{true, false} {
			table := NewTable(1, 1)
			first, a, b := Key{"", "first"}, Key{"", "a"}, Key{"", "b"}
			if !inSlot {
				mustHoldNamed(t, table, first, queue.Exclusive)
			}
			mustHoldNamed(t, table, a, queue.Exclusive)
			ctx, cancel := context.WithCancel(background)
			done := make(chan error)
			go func() { done <- table.AcquireNamed(ctx, a, a.Hash(), m, queue.Fair) }()
			l := table.Serving(a)
			for len(l.View().Waits) == 0 {
				runtime.Gosched()
			}
			s, h := table.slot(a.Hash())
			l.Mu.Lock() // the waiter cannot look before b is held
			cancel()
			l.ReleaseLocked(l.LockState(), queue.Exclusive)
			robbed := false
			if inSlot {
				robbed = l.Release(m)
			} else {
				s.drop(s.find(a, h))
				robbed = table.Release(a, a.Hash(), m)
			}
			if !robbed {
				t.Error("the waiter was not granted the lock")
			}
			held, ok := table.AcquireFast(b, b.Hash(), queue.Fair)
			l.Mu.Unlock()
			if !ok {
				t.Fatal("a key that nobody uses was not acquired")
			}
			if err := <-done; err != nil {
				t.Error("the waiter was granted the lock and robbed of it, and returns", err)
			}
			mustRelease(t, held)
			if !inSlot && !table.Release(first, first.Hash(), queue.Exclusive) {
				t.Error("the first key was not released")
			}
			table.checkIdle(t)
		}
	}
}

// To release by mistake a name that looks like no other one reads nothing that a holder writes.
func TestWrongReleaseByAnotherNameIsNoDataRace(t *testing.T) {
	table := NewTable(1, 1)
	done := make(chan struct{})
	var wrong sync.WaitGroup
	wrong.Go(func() {
		for nobodys := (Key{"", "nobody's"}).Hash(); ; {
			select {
			case <-done:
				return
			default:
			}
			if table.ReleaseFast(nobodys) || table.LeaveFast(nobodys) {
				t.Error("a hold was released by another name")
			}
		}
	})
	for i := range 2000 { // each name twice: the second holder is not Fresh
		mustRelease(t, mustHold(t, table, Key{"", fmt.Sprint(i / 2)}, queue.Exclusive))
	}
	close(done)
	wrong.Wait()
	table.checkIdle(t)
}

// Only the table of the process has no holds that are released by name.
func TestTablesKnowWhetherHoldsAreReleasedByName(t *testing.T) {
	if Default.byName || !NewTable(1, 1).byName || !NewTable(1, 3).byName {
		t.Error("a table does not know whether its holds are released by name")
	}
}

// Without releases by name requests need not look whether they lost a slot to another key.
func TestKeysThatLookAlikeExcludeEachOtherWithoutReleasesByName(t *testing.T) {
	keys := []Key{{"", "a"}, {"", "b"}, {"a", "b"}}
	for _, identity := range []int{0, 1} {
		table := collisions(1, identity, 1)
		table.byName = false
		rooms := make([]queuetest.Room, len(keys))
		for i := range rooms {
			rooms[i].Permits = 1
		}
		var workers sync.WaitGroup
		for first := range 4 {
			workers.Go(func() {
				for n := range 5_000 {
					i := (first + n) % len(keys)
					k, room := keys[i], &rooms[i]
					var h queue.Hold
					var ok bool
					enter := room.Write
					switch n % 5 {
					case 0:
						h, ok = table.ShareFast(k, k.Hash())
						enter = room.Read
					case 1, 2: // makes entries beside the slot
						h, ok = table.TryAcquire(k, queue.Exclusive, queue.Barging)
					default:
						h, ok = table.AcquireFast(k, k.Hash(), queue.Barging)
					}
					if !ok {
						continue
					}
					enter(queuetest.Dawdle)
					if !h.Release() {
						t.Error("a hold was not held at its release")
					}
				}
			})
		}
		workers.Wait()
		for i := range rooms {
			if n := rooms[i].Overlaps.Load(); n > 0 {
				t.Errorf("with %d bits %d times two held %v", identity, n, keys[i])
			}
		}
		table.checkIdle(t)
	}
}

// A request has taken a slot by the bits of another name's hash. Before it reads the text, a
// mistaken release by name ends its hold, and the slot comes to serve the request's own key, for
// another holder.
func TestHoldThatWasReleasedByMistakeIsNotConfirmed(t *testing.T) {
	for mode, take := range []func(s *slot) (queue.Word, bool){
		queue.Exclusive: func(s *slot) (queue.Word, bool) { return s.Take(s.Load(), queue.Barging) },
		queue.Shared:    func(s *slot) (queue.Word, bool) { return s.Share(s.Load()) },
	} {
		table := collisions(1, 0, 1)
		s, other, k := &table.slots[0], Key{"", "other"}, Key{"", "name"}
		mustTake := func() queue.Word {
			t.Helper()
			taken, ok := take(s)
			if !ok {
				t.Fatalf("a free lock was not acquired in mode %d", mode)
			}
			return taken
		}
		mustRelease(t, mustHold(t, table, other, queue.Exclusive))
		late := mustTake()
		if !s.HoldIn(late).Release() {
			t.Fatalf("a hold of mode %d was not released", mode)
		}
		s.Mu.Lock()
		w := s.LockState()
		s.rename(k, k.Hash()&table.bits, w)
		s.UnlockState(w)
		s.Mu.Unlock()
		h := mustHold(t, table, k, queue.Exclusive)
		if !s.serves(k) || table.confirm(s, k, late) {
			t.Errorf("a hold of mode %d that has ended was confirmed beside that of another holder", mode)
		}
		mustRelease(t, h)

		// And the usual cases: the name of another key, and the key's own.
		late = mustTake()
		if table.confirm(s, other, late) || s.Load().InUse() {
			t.Errorf("a hold of mode %d of another key was confirmed, or not given back", mode)
		}
		late = mustTake()
		if !table.confirm(s, k, late) {
			t.Errorf("a hold of mode %d of the key was not confirmed", mode)
		}
		mustRelease(t, s.HoldIn(late))
		table.checkIdle(t)
	}
}

// One shared holder at a time has the generation. The others have records, and they come and go
// in any order.
func TestSharedHoldsHaveIdentities(t *testing.T) {
	table := NewTable(1, 1)
	s, k := &table.slots[0], Key{"", "name"}
	mustRelease(t, mustHold(t, table, k, queue.Exclusive))
	share := func() queue.Hold {
		t.Helper()
		h, ok := table.ShareFast(k, k.Hash())
		if !ok || !h.Held() {
			t.Fatal("a lock that is not held exclusively was not shared")
		}
		if l, m := h.Of(); l != &s.Lock || m != queue.Shared {
			t.Fatalf("the hold is of %p in mode %d, want %p and shared", l, m, &s.Lock)
		}
		return h
	}
	var stale []queue.Hold
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {1, 2, 0}} {
		holds := []queue.Hold{share(), share(), share()}
		if _, ok := s.Share(s.Load()); ok {
			t.Error("the first shared holder has not the generation")
		}
		for i, n := range order {
			h := holds[n]
			if _, ok := table.TryAcquire(k, queue.Exclusive, queue.Barging); ok {
				t.Fatal("a shared lock was acquired exclusively")
			}
			if i == 1 && !h.ReleaseFast() && !h.Release() || i != 1 && !h.Release() {
				t.Error("a shared hold was not released")
			}
			stale = append(stale, h)
			for _, h := range stale {
				if h.Held() || h.ReleaseFast() || h.Release() {
					t.Fatal("a shared hold was released twice")
				}
			}
		}
		table.checkIdle(t)
		mustRelease(t, mustHold(t, table, k, queue.Exclusive))
	}
	// Nor does a hold that has ended release the next one.
	next := share()
	for _, h := range stale {
		if h.Held() || h.ReleaseFast() || h.Release() {
			t.Fatal("a shared hold released another one")
		}
	}
	mustRelease(t, next)
	table.checkIdle(t)
}

func TestLenCountsKeysHeldOrWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := collisions(2, 1, 1)
		ctx, cancel := context.WithCancel(background)
		var holds []queue.Hold
		for i := range 10 {
			k := Key{"", fmt.Sprint(i)}
			holds = append(holds, mustHold(t, table, k, queue.Exclusive))
			for range i % 3 {
				go func() {
					if h, err := table.Acquire(ctx, k, queue.Exclusive, queue.Fair); err == nil {
						h.Release()
					}
				}()
			}
			synctest.Wait()
			if n := table.Len(); n != i+1 {
				t.Errorf("%d keys in use, want %d", n, i+1)
			}
		}
		cancel()
		synctest.Wait()
		for i, h := range holds {
			if n := table.Len(); n != 10-i {
				t.Errorf("%d keys in use, want %d", n, 10-i)
			}
			mustRelease(t, h)
		}
		table.checkIdle(t)
	})
}

// Wherever a lock lives, and whatever has become of that place since, only the first release of a
// hold counts.
func TestStaleHoldReleasesNothing(t *testing.T) {
	for _, permits := range []int64{1, 3} {
		for _, m := range []queue.Mode{queue.Exclusive, queue.Shared} {
			for _, place := range []struct {
				name   string
				others []Key // held all the time
				key    Key
			}{
				{"slot", nil, Key{"", "name"}},
				{"overflow", []Key{Key{"", "other"}}, Key{"", "name"}},
				{"long", nil, Key{"", longName}},
			} {
				t.Run(fmt.Sprintf("%d permits, mode %d, %s", permits, m, place.name), func(t *testing.T) {
					table := collisions(1, 0, permits)
					var others []queue.Hold
					for _, k := range place.others {
						others = append(others, mustHold(t, table, k, m))
					}
					var stale []queue.Hold
					expectStale := func() {
						t.Helper()
						for _, h := range stale {
							if h.Held() || h.Release() {
								t.Fatal("a stale hold was released")
							}
						}
					}
					// The same key again, other keys in the same place, and both at once.
					for i := range 30 {
						k := place.key
						if i%3 == 1 {
							k = Key{fmt.Sprint(i), k.Name}
						}
						h := mustHold(t, table, k, m)
						again := h
						expectStale()
						if !h.Held() {
							t.Fatal("a stale hold has released another's")
						}
						if m == queue.Shared || permits > 1 {
							second := mustHold(t, table, k, m)
							mustRelease(t, second)
							stale = append(stale, second)
							expectStale()
						}
						mustRelease(t, again)
						stale = append(stale, h)
						expectStale()
					}
					for _, h := range others {
						mustRelease(t, h)
					}
					table.checkIdle(t)
				})
			}
		}
	}
}

// Entries and records are used again in other tables, for other modes and numbers of permits.
func TestStaleHoldsOfOtherTables(t *testing.T) {
	one, three := collisions(1, 0, 1), collisions(1, 0, 3)
	var stale []queue.Hold
	for i := range 100 {
		table := []*Table{one, three}[i%2]
		a := mustHold(t, table, Key{"", "a"}, queue.Mode(i/2%2))
		b := mustHold(t, table, Key{"", "b"}, queue.Mode(i/4%2))
		for _, h := range stale {
			if h.Held() || h.Release() {
				t.Fatal("a stale hold was released")
			}
		}
		mustRelease(t, a)
		mustRelease(t, b)
		stale = append(stale, a, b)
	}
	one.checkIdle(t)
	three.checkIdle(t)
}

func TestReleaseByName(t *testing.T) {
	for _, permits := range []int64{1, 3} {
		for _, others := range [][]Key{nil, {Key{"", "other"}}} {
			for _, k := range []Key{Key{"", "name"}, Key{"", longName}} {
				for _, m := range []queue.Mode{queue.Exclusive, queue.Shared} {
					table := collisions(1, 0, permits)
					for _, other := range others {
						mustHoldNamed(t, table, other, queue.Exclusive)
					}
					if table.Release(k, k.Hash(), m) {
						t.Error("a key that nobody holds was released")
					}
					mustHoldNamed(t, table, k, m)
					if table.Release(k, k.Hash(), 1-m) {
						t.Error("a key was released in another mode")
					}
					free, long := Key{"", "nobody's"}, Key{"", longName + "!"}
					if table.Release(free, free.Hash(), m) || table.Release(long, long.Hash(), m) {
						t.Error("a key that nobody holds was released")
					}
					if !table.Release(k, k.Hash(), m) || table.Release(k, k.Hash(), m) {
						t.Error("a hold was not released exactly once")
					}
					for _, other := range others {
						if !table.Release(other, other.Hash(), queue.Exclusive) {
							t.Error("the other key was not held any more")
						}
					}
					table.checkIdle(t)
				}
			}
		}
	}
}

func TestPermitOfAHoldIsNotReleasedByName(t *testing.T) {
	table := NewTable(8, 3)
	k := Key{"", "name"}
	h := mustHold(t, table, k, queue.Exclusive)
	if table.Release(k, k.Hash(), queue.Exclusive) {
		t.Error("a hold was released by name")
	}
	mustHoldNamed(t, table, k, queue.Exclusive)
	if !table.Release(k, k.Hash(), queue.Exclusive) || table.Release(k, k.Hash(), queue.Exclusive) {
		t.Error("a permit was not released just once")
	}
	mustRelease(t, h)
	table.checkIdle(t)
}

func TestWaitersOfCollidingKeysAreServedByTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := collisions(1, 0, 1)
		var holds []queue.Hold
		served := make(chan string, 10)
		for i := range 5 {
			k := Key{"", fmt.Sprint(i)}
			holds = append(holds, mustHold(t, table, k, queue.Exclusive))
			go func() {
				h, _ := table.Acquire(background, k, queue.Mode(i%2), queue.Fair)
				served <- k.Name
				h.Release()
			}()
		}
		for _, i := range []int{3, 0, 4, 1, 2} {
			queuetest.ExpectServed(t, served)
			mustRelease(t, holds[i])
			queuetest.ExpectServed(t, served, fmt.Sprint(i))
		}
		table.checkIdle(t)
	})
}

// Waiters are pooled. Those that have been used outside of a bubble, or in another one, must work
// in this one.
func TestWaitersMoveBetweenBubbles(t *testing.T) {
	queueAndServe := func(t *testing.T) {
		table := NewTable(1, 1)
		k := Key{"", "name"}
		h := mustHold(t, table, k, queue.Exclusive)
		ctx, cancel := context.WithCancel(background)
		defer cancel()
		done := make(chan bool)
		for i := range 10 {
			go func() {
				h, err := table.Acquire(ctx, k, queue.Exclusive, queue.Order(i%2))
				done <- err == nil && h.Release()
			}()
		}
		for len(table.slots[0].View().Waits) != 10 {
			time.Sleep(50 * time.Microsecond)
		}
		mustRelease(t, h)
		for range 10 {
			if !<-done {
				t.Error("a waiter was not served")
			}
		}
		table.checkIdle(t)
	}
	for range 5 {
		queueAndServe(t)
		synctest.Test(t, queueAndServe)
	}
}

func TestAKeyTellsItsStateWhereverItsLockIs(t *testing.T) {
	keys := []Key{Key{"", "a"}, Key{"", "b"}, Key{"scope", "c"}, Key{"", longName}}
	for _, table := range []*Table{NewTable(64, 1), collisions(1, 0, 1)} {
		synctest.Test(t, func(t *testing.T) {
			want := func(k Key, m queue.Mode, held, writers, readers bool) {
				t.Helper()
				s := table.State(k, k.Hash())
				if s.Held != held || held && s.Mode != m {
					t.Errorf("%v: held %v in mode %v, want %v, %v", k, s.Held, s.Mode, held, m)
				}
				if s.FirstExclusive > 0 != writers || s.FirstShared > 0 != readers {
					t.Errorf("%v: writers wait: %t, and readers: %t", k, !writers, !readers)
				}
			}
			for _, k := range keys {
				mustHoldNamed(t, table, k, queue.Exclusive)
			}
			for _, k := range keys {
				for _, m := range []queue.Mode{queue.Shared, queue.Exclusive} {
					go func() { _ = table.AcquireNamed(context.Background(), k, k.Hash(), m, queue.Fair) }()
					synctest.Wait()
				}
				want(k, queue.Exclusive, true, true, true)
				if !table.Downgrade(k, k.Hash()) || table.Downgrade(k, k.Hash()) {
					t.Errorf("%v: Downgrade", k)
				}
				synctest.Wait()
				want(k, queue.Shared, true, true, false)
			}
			for _, k := range keys {
				for _, m := range []queue.Mode{queue.Shared, queue.Shared, queue.Exclusive} {
					if !table.Release(k, k.Hash(), m) {
						t.Errorf("%v: not held in mode %d", k, m)
					}
					synctest.Wait()
				}
				want(k, queue.Exclusive, false, false, false)
				if table.Downgrade(k, k.Hash()) {
					t.Errorf("%v: Downgrade of a free lock", k)
				}
			}
			table.checkIdle(t)
		})
	}
}
