package names

import (
	"context"
	"flag"
	"math/bits"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lockutils/lockutils/internal/queue"
)

// stressTime is how long the stress test runs in all.
var stressTime = flag.Duration("stress", time.Second, "how long TestStress runs")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var background = context.Background()

// collisions is a table that keeps so many bits of the hash for its identities and has that many
// slots: with few of each, keys meet in a slot, and look alike, all the time.
func collisions(slots, identity int, permits int64) *Table {
	t := NewTable(slots, permits)
	aboveGeneration := bits.Len64(uint64(queue.GenerationBits))
	t.bits = Hash(queue.GenerationBits) | (1<<identity-1)<<aboveGeneration
	return t
}

// checkIdle reports whatever a table that nobody uses should not have in it.
func (t *Table) checkIdle(tt *testing.T) {
	tt.Helper()
	if n := t.Len(); n != 0 {
		tt.Errorf("an idle table has %d keys in use", n)
	}
	for i := range t.slots {
		s := &t.slots[i]
		s.Mu.Lock()
		if w := s.Load(); w&^(queue.GenerationBits|queue.Overflowed) != 0 || s.named.Load() != 0 {
			tt.Errorf("the word of an idle slot is %#x, with %d permits held by name", w, s.named.Load())
		}
		if s.entries != 0 {
			tt.Errorf("an idle slot has entries: %v", s.overflow)
		}
		if identity := queue.Word(s.identity.Load()); (identity^s.Load())&queue.Overflowed != 0 {
			tt.Errorf("the identity %#x does not tell whether the slot has overflowed", identity)
		}
		s.Mu.Unlock()
		if v := s.View(); len(v.Waits) != 0 {
			tt.Errorf("an idle slot has waiters: %v", v.Waits)
		}
	}
}

// Acquire is AcquireFrom without an origin.
func (t *Table) Acquire(ctx context.Context, k Key, m queue.Mode, o queue.Order) (queue.Hold, error) {
	return t.AcquireFrom(ctx, k, m, o, queue.Origin{})
}
