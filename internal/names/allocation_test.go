package names

import (
	"runtime"
	"testing"

	"github.com/lockutils/lockutils/internal/queue"
	"github.com/lockutils/lockutils/internal/queuetest"
)

func TestNothingIsAllocated(t *testing.T) {
	if queuetest.RaceDetector() {
		return
	}
	roomy, full, several := NewTable(1024, 1), collisions(1, 0, 1), NewTable(1024, 3)
	mustHold(t, full, Key{"", "occupant"}, queue.Exclusive)
	k := Key{"scope", "name"}
	for _, c := range []struct {
		name  string
		table *Table
		mode  queue.Mode
	}{
		{"exclusive", roomy, queue.Exclusive},
		{"shared", roomy, queue.Shared},
		{"exclusive, in the overflow", full, queue.Exclusive},
		{"shared, in the overflow", full, queue.Shared},
		{"one of several", several, queue.Exclusive},
	} {
		for _, o := range []queue.Order{queue.Barging, queue.Fair} {
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
	if queuetest.RaceDetector() {
		return
	}
	table := NewTable(1, 1)
	k := Key{"", "name"}
	asked, released := make(chan bool), make(chan bool)
	defer close(asked)
	go func() {
		for range asked {
			h, _ := table.Acquire(background, k, queue.Exclusive, queue.Fair)
			h.Release()
			released <- true
		}
	}()
	if n := testing.AllocsPerRun(1000, func() {
		h, _ := table.Acquire(background, k, queue.Exclusive, queue.Fair)
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
