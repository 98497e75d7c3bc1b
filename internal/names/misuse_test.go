//go:build !race

// Releasing by name what one does not hold is a data race, since only a holder may read the hash of the
// name.

package names

import (
	"fmt"
	"sync"
	"testing"

	"github.com/lockutils/lockutils/internal/queue"
	"github.com/lockutils/lockutils/internal/queuetest"
)

// A wrong release of one name may hit whoever holds that name, but nobody else, not even one who
// has got the same slot meanwhile.
func TestWrongReleaseOfANameHitsNoOtherName(t *testing.T) {
	for _, table := range []*Table{collisions(1, 0, 1), NewTable(1, 1)} {
		a, b := Key{"", "name-a"}, Key{"", "name-b"}
		done, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-done:
					return
				default:
					table.Release(a, a.Hash(), queue.Exclusive)
				}
			}
		}()
		for range 100_000 {
			h, _ := table.Acquire(background, a, queue.Exclusive, queue.Barging)
			h.Release() // or somebody else has
			h, _ = table.Acquire(background, b, queue.Exclusive, queue.Barging)
			if !h.Release() {
				t.Error("a hold was released under another name")
				break
			}
		}
		close(done)
		<-stopped
		table.checkIdle(t)
	}
}

// Releases of shared holds that nobody has are refused, and leave no trace on the writers.
func TestWrongReleasesOfSharedHolds(t *testing.T) {
	for _, table := range []*Table{collisions(1, 0, 1), NewTable(1, 1)} {
		keys := []Key{{"", "name-a"}, {"", "name-b"}}
		done := make(chan struct{})
		var disturbers, writers sync.WaitGroup
		for range 2 {
			disturbers.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						if table.Release(keys[0], keys[0].Hash(), queue.Shared) {
							t.Error("a shared hold was released that nobody had")
							return
						}
					}
				}
			})
			writers.Go(func() {
				for n := range 50_000 {
					k := keys[n%2]
					_ = table.AcquireNamed(background, k, k.Hash(), queue.Exclusive, queue.Barging)
					if !table.Release(k, k.Hash(), queue.Exclusive) {
						t.Error("a writer could not release its hold")
						return
					}
				}
			})
		}
		writers.Wait()
		close(done)
		disturbers.Wait()
		table.checkIdle(t)
	}
}

// The same where many want the slot: who has been robbed of it must not give back, or believe to
// hold, what others have taken meanwhile.
func TestWrongReleaseAmongManyNamesHitsNoOtherName(t *testing.T) {
	table := collisions(1, 1, 1)
	robbed := Key{"", "robbed"}
	var keys []Key
	for i := range 4 {
		keys = append(keys, Key{"", fmt.Sprint("name-", i)}) // some have the tag of the robbed one
	}
	rooms := make([]queuetest.Room, len(keys))
	for i := range rooms {
		rooms[i].Permits = 1
	}
	done := make(chan struct{})
	running := func() bool {
		select {
		case <-done:
			return false
		default:
			return true
		}
	}
	var disturbers, workers sync.WaitGroup
	disturbers.Go(func() {
		for running() {
			table.Release(robbed, robbed.Hash(), queue.Exclusive)
		}
	})
	disturbers.Go(func() {
		for running() {
			h, _ := table.Acquire(background, robbed, queue.Exclusive, queue.Barging)
			h.Release() // or somebody else has
		}
	})
	for first := range 6 {
		workers.Go(func() {
			for n := range 50_000 {
				i := (first + n) % len(keys)
				h, ok := table.TryAcquire(keys[i], queue.Exclusive, queue.Barging)
				if !ok {
					continue
				}
				rooms[i].Write(func() {})
				if !h.Release() {
					t.Error("a hold was released under another name")
					return
				}
			}
		})
	}
	workers.Wait()
	close(done)
	disturbers.Wait()
	for i := range rooms {
		if n := rooms[i].Overlaps.Load(); n > 0 {
			t.Errorf("%d times two held %v", n, keys[i])
		}
	}
	table.checkIdle(t)
}
