package lockutils

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/lockutils/lockutils/internal/queue"
)

// In BenchmarkExaminationOf10000Waits each waiter holds something, and all wait for one name.
func BenchmarkExaminationOf10000Waits(b *testing.B) {
	const n = 10_000
	SetDeadlockCheck(time.Hour)
	defer SetDeadlockCheck(50 * time.Millisecond)
	holder, err := Lock("busy")
	if err != nil {
		b.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			_ = Do(context.Background(), fmt.Sprint("own-", i), func(ctx context.Context) error {
				return Do(ctx, "busy", func(context.Context) error { return nil })
			})
		})
	}
	for listed := 0; listed < n; time.Sleep(time.Millisecond) {
		listed = 0
		eachWait(func(*wait) { listed++ })
	}
	var a watcher
	fastest := never
	for b.Loop() {
		start := queue.Clock()
		a.examine(start, 0)
		fastest = min(fastest, queue.Clock()-start)
	}
	b.ReportMetric(float64(fastest), "fastest-ns/op")
	_ = holder.Unlock()
	group.Wait()
}

// BenchmarkObservedWait shows what observing adds to a wait.
func BenchmarkObservedWait(b *testing.B) {
	var o watching
	q := &queue.Wait{Subject: queue.Subject{In: internalLocks, Key: queue.Key{Name: "x"}},
		Context: context.Background()}
	held, err := Lock("held")
	if err != nil {
		b.Fatal(err)
	}
	defer held.Unlock()
	holding, cancel := held.Context(context.Background())
	defer cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
	}{{"nothing held", context.Background()}, {"holding", holding}} {
		b.Run(c.name, func(b *testing.B) {
			SetDeadlockCheck(time.Hour)
			defer SetDeadlockCheck(50 * time.Millisecond)
			q.Context = c.ctx
			b.ReportAllocs()
			for b.Loop() {
				q.Since = queue.Clock()
				o.Begin(q)
				o.Met(q, queue.Exclusive, time.Microsecond)
				o.End(q, nil)
			}
		})
	}
}

func BenchmarkTracked(b *testing.B) {
	for _, oneIn := range []int{0, 1} {
		b.Run(fmt.Sprint(oneIn), func(b *testing.B) {
			SetTracking(oneIn)
			defer SetTracking(0)
			for b.Loop() {
				g, _ := Lock("x")
				_ = g.Unlock()
			}
		})
	}
}

func BenchmarkSnapshot(b *testing.B) {
	for _, n := range []int{0, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			guards := make(Guards, n)
			for i := range guards {
				guards[i], _ = Lock(fmt.Sprint("n", i))
			}
			for b.Loop() {
				Snapshot()
			}
			_ = guards.Unlock()
		})
	}
}
