//go:build !race

// Under the race detector pools drop a part of what is put into them.

package queue

import (
	"runtime"
	"testing"
)

func TestNothingIsAllocated(t *testing.T) {
	roomy, full, several := NewTable(1024, 1), collisions(1, 0, 1), NewTable(1024, 3)
	mustHold(t, full, Key{"", "occupant"}, Exclusive)
	k := Key{"scope", "name"}
	for _, c := range []struct {
		name  string
		table *Table
		mode  Mode
	}{
		{"exclusive", roomy, Exclusive},
		{"shared", roomy, Shared},
		{"exclusive, in the overflow", full, Exclusive},
		{"shared, in the overflow", full, Shared},
		{"one of several", several, Exclusive},
	} {
		for _, o := range []Order{Barging, Fair} {
			if n := testing.AllocsPerRun(1000, func() {
				h, _ := c.table.Acquire(background, k, c.mode, o)
				h.Release()
				c.table.TryAcquireNamed(k, k.Hash(), c.mode, o)
				c.table.Release(k, k.Hash(), c.mode)
			}); n != 0 {
				t.Errorf("%s: %v allocations", c.name, n)
			}
		}
	}
}

func TestNothingIsAllocatedByWaiting(t *testing.T) {
	table := NewTable(1, 1)
	k := Key{"", "name"}
	asked, released := make(chan bool), make(chan bool)
	defer close(asked)
	go func() {
		for range asked {
			h, _ := table.Acquire(background, k, Exclusive, Fair)
			h.Release()
			released <- true
		}
	}()
	if n := testing.AllocsPerRun(1000, func() {
		h, _ := table.Acquire(background, k, Exclusive, Fair)
		asked <- true
		for table.slots[0].State().FirstExclusive == 0 {
			runtime.Gosched()
		}
		h.Release()
		<-released
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
