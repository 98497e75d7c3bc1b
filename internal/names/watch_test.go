package names

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/lockutils/lockutils/internal/queue"
)

// The locks in use are shown wherever they are, each with its holders and its own waiters.
func TestVisitShowsTheLocksInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := collisions(1, 0, 1)
		holds := make(map[Key]queue.Hold)
		for i, k := range []Key{{"", "in the slot"}, {"scope", "beside it"}, {"", longName}} {
			holds[k] = mustHold(t, table, k, queue.Mode(i%2))
		}
		ctx, cancel := context.WithCancel(background)
		for k := range holds {
			go func() {
				if h, err := table.Acquire(ctx, k, queue.Exclusive, queue.Fair); err == nil {
					h.Release()
				}
			}()
		}
		synctest.Wait()
		check := func(waits int) {
			t.Helper()
			shown := make(map[Key]bool)
			table.Visit(func(k Key, l *queue.Lock, v queue.View) {
				of, m := holds[k].Of()
				if shown[k] || l != of || !v.Held || v.Mode != m || len(v.Waits) != waits {
					t.Errorf("%v is shown as the lock %p, want %p: %+v", k, l, of, v)
				}
				for _, w := range v.Waits {
					if (Key{w.Scope, w.Name}) != k {
						t.Errorf("a wait for %q of %q is shown with %v", w.Name, w.Scope, k)
					}
				}
				shown[k] = true
			})
			if len(shown) != len(holds) {
				t.Errorf("%d keys are shown, want %d", len(shown), len(holds))
			}
			for k, h := range holds {
				if of, _ := h.Of(); table.Serving(k) != of {
					t.Errorf("%v is served by %p, want %p", k, table.Serving(k), of)
				}
				if of, held := table.KeyOf(h); of != k || !held {
					t.Errorf("the hold of %v is shown as one of %v, held: %t", k, of, held)
				}
			}
		}
		check(1)
		cancel()
		synctest.Wait()
		for k, h := range holds {
			check(0)
			mustRelease(t, h)
			if of, held := table.KeyOf(h); held {
				t.Errorf("the hold of %v is shown as one of %v after its release", k, of)
			}
			delete(holds, k)
			if table.Serving(k) != nil {
				t.Errorf("%v is served although it is not in use", k)
			}
		}
		check(0)
		table.checkIdle(t)
	})
}
