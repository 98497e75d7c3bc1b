package queue

import "testing"

// biasedTable returns a table whose only slot is biased for the key.
func biasedTable(t *testing.T, k Key) *Table {
	t.Helper()
	table := NewTable(1, 1)
	bias(t, table, k)
	return table
}

// bias makes readers meet, and one of them see it.
func bias(t *testing.T, table *Table, k Key) {
	t.Helper()
	normal := biasInterval
	biasInterval = 1
	defer func() { biasInterval = normal }()
	a, b := mustHold(t, table, k, Shared), mustHold(t, table, k, Shared)
	mustRelease(t, a)
	if table.slots[0].load()&biased == 0 {
		t.Fatal("readers met and the lock is not biased")
	}
	mustRelease(t, b)
}

func TestStandingReadersKeepWritersOut(t *testing.T) {
	k := Key{"", "name"}
	table := biasedTable(t, k)
	var readers []Hold
	for range 2 * len(stands) { // more than have room
		readers = append(readers, mustHold(t, table, k, Shared))
	}
	if table.slots[0].load()&biased == 0 {
		t.Error("readers have ended the bias")
	}
	for i, r := range readers {
		if _, ok := table.TryAcquire(k, Exclusive, Barging); ok {
			t.Fatalf("a writer came in beside %d readers", len(readers)-i)
		}
		if _, ok := table.AcquireAtOnce(k.Name); ok {
			t.Fatalf("a writer came in at once beside %d readers", len(readers)-i)
		}
		if i == len(readers)/2 {
			bias(t, table, k) // some have been counted, others will stand
			readers = append(readers, mustHold(t, table, k, Shared))
		}
		mustRelease(t, r)
	}
	mustRelease(t, readers[len(readers)-1])
	mustRelease(t, mustHold(t, table, k, Exclusive))
	for _, r := range readers {
		if r.Release() {
			t.Fatal("a reader was released twice")
		}
	}
	table.checkIdle(t)
}

func TestWriterWaitsForStandingReaders(t *testing.T) {
	k := Key{"", "name"}
	table := biasedTable(t, k)
	first, second := mustHold(t, table, k, Shared), mustHold(t, table, k, Shared)
	entered := make(chan Hold)
	go func() {
		h, _ := table.Acquire(background, k, Exclusive, Barging)
		entered <- h
	}()
	table.slots[0].waitFor(1, Exclusive)
	mustRelease(t, first)
	select {
	case <-entered:
		t.Fatal("a writer came in beside a reader")
	default:
	}
	mustRelease(t, second)
	mustRelease(t, <-entered)
	table.checkIdle(t)
}

func TestStandingReadersCount(t *testing.T) {
	k, other := Key{"", "name"}, Key{"", "other"}
	table := biasedTable(t, k)
	if n := table.Len(); n != 0 {
		t.Errorf("%d keys in use by nobody", n)
	}
	bias(t, table, k)
	h := mustHold(t, table, k, Shared)
	if n := table.Len(); n != 1 {
		t.Errorf("%d keys in use by a reader", n)
	}
	bias(t, table, k)
	mustRelease(t, mustHold(t, table, other, Exclusive)) // in an entry of its own
	mustRelease(t, h)
	table.checkIdle(t)
}

func TestStandingReadersAreReleasedByName(t *testing.T) {
	k := Key{"", "name"}
	table := biasedTable(t, k)
	a, b := mustHold(t, table, k, Shared), mustHold(t, table, k, Shared)
	b.Forget()
	if b.Release() {
		t.Error("a forgotten hold was released")
	}
	if !table.Release(k, Shared) {
		t.Error("the forgotten hold was not released by name")
	}
	if !table.Release(k, Shared) {
		t.Error("a standing reader was not released by name")
	}
	if table.Release(k, Shared) {
		t.Error("one reader too many was released by name")
	}
	a.Release()
	mustRelease(t, mustHold(t, table, k, Exclusive))
	table.checkIdle(t)
}

func TestStandingReadersCountTowardsTheLimit(t *testing.T) {
	k := Key{"", "name"}
	table := biasedTable(t, k)
	const most = int(maxReaders>>readersShift) + 1
	var readers []Hold
	for len(readers) <= most {
		r, ok := table.TryAcquire(k, Shared, Barging)
		if !ok {
			break
		}
		readers = append(readers, r)
	}
	if len(readers) != most {
		t.Errorf("%d readers were let in", len(readers))
	}
	for _, r := range readers {
		mustRelease(t, r)
	}
	table.checkIdle(t)
}
