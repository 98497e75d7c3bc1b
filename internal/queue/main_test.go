package queue

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var background = context.Background()

// checkIdle reports whatever a lock that nobody uses should not have in it.
func (l *Lock) checkIdle(t *testing.T) {
	t.Helper()
	l.Mu.Lock()
	defer l.Mu.Unlock()
	if w := l.Load(); w&^GenerationBits != 0 {
		t.Errorf("the word of an idle lock is %#x", w)
	}
	if l.queue.head != nil || l.queue.tail != nil || l.handoff != 0 {
		t.Errorf("an idle lock has waiters %p to %p, %d for a hand-off",
			l.queue.head, l.queue.tail, l.handoff)
	}
}

// waitFor returns when the lock has n requests of mode m queued. It is for tests whose goroutines
// cannot run in a bubble.
func (l *Lock) waitFor(n int, m Mode) {
	for l.waiting(m) != n {
		time.Sleep(50 * time.Microsecond)
	}
}

// waiting returns how many requests of mode m are queued.
func (l *Lock) waiting(m Mode) (n int) {
	for _, q := range l.View().Waits {
		if q.Mode == m {
			n++
		}
	}
	return n
}
