//go:build !race

// Releasing by name what one does not hold is a data race, since only a holder may read the name.

package queue

import "testing"

// A wrong release of one name may hit whoever holds that name, but nobody else, not even one who has got the same slot
// meanwhile.
func TestWrongReleaseOfANameHitsNoOtherName(t *testing.T) {
	table := collisions(1, 0, 1)
	a, b := Key{"", "name-a"}, Key{"", "name-b"}
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			default:
				table.Release(a, Exclusive)
			}
		}
	}()
	for range 100_000 {
		h, _ := table.Acquire(background, a, Exclusive, Overtaking)
		h.Release() // or somebody else has
		h, _ = table.Acquire(background, b, Exclusive, Overtaking)
		if !h.Release() {
			t.Error("a hold was released under another name")
			break
		}
	}
	close(done)
	<-stopped
	table.checkIdle(t)
}
