package lockutils

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
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
	var turns []time.Duration
	for b.Loop() {
		start := queue.Clock()
		a.examine(start, 0)
		turns = append(turns, queue.Clock()-start)
	}
	b.ReportMetric(inQuiet(turns), "quiet-ns/op")
	_ = holder.Unlock()
	group.Wait()
}

// BenchmarkWait shows what observing adds to waits: goroutines pass a fair lock on to each other, by turns
// with the observer and without it.
func BenchmarkWait(b *testing.B) {
	held, err := Lock("held")
	if err != nil {
		b.Fatal(err)
	}
	defer held.Unlock()
	holding, cancel := held.Context(context.Background())
	defer cancel()
	about := queue.Subject{In: internalLocks, Name: "x"}
	for _, c := range []struct {
		name string
		ctx  context.Context
	}{{"nothing held", context.Background()}, {"holding", holding}} {
		b.Run(c.name, func(b *testing.B) {
			const waits = 500
			var plain, observed []time.Duration
			for b.Loop() {
				plain = append(plain, passOn(c.ctx, waits, queue.Subject{}))
				observed = append(observed, passOn(c.ctx, waits, about))
			}
			without, with := inQuiet(plain)/waits, inQuiet(observed)/waits
			b.ReportMetric(without, "plain-ns/wait")
			b.ReportMetric(with, "observed-ns/wait")
			b.ReportMetric(with-without, "added-ns/wait")
			b.ReportMetric(
				testing.AllocsPerRun(10, func() { passOn(c.ctx, waits, about) })-
					testing.AllocsPerRun(10, func() { passOn(c.ctx, waits, queue.Subject{}) }),
				"added-allocs/500-waits")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// passOn has two goroutines wait for a lock n times in all, and returns how long that takes.
func passOn(ctx context.Context, n int, about queue.Subject) time.Duration {
	var l queue.Lock
	var group sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(n))
	start := time.Now()
	for range 2 {
		group.Go(func() {
			for left.Load() > 0 {
				h, _ := l.Acquire(ctx, queue.Exclusive, queue.Fair, about)
				for left.Add(-1) > 0 && l.State().FirstExclusive == 0 {
					left.Add(1)
					runtime.Gosched()
				}
				h.Release()
			}
		})
	}
	group.Wait()
	return time.Since(start)
}

// BenchmarkTracked shows what an acquisition and its release cost, by turns with and without tracking.
func BenchmarkTracked(b *testing.B) {
	defer SetTracking(0)
	const pairs = 200
	settings := []int{0, 1, 100}
	turns := make([][]time.Duration, len(settings))
	for b.Loop() {
		for i, oneIn := range settings {
			SetTracking(oneIn)
			start := time.Now()
			for range pairs {
				g, _ := Lock("x")
				_ = g.Unlock()
			}
			turns[i] = append(turns[i], time.Since(start))
		}
	}
	for i, oneIn := range settings {
		b.ReportMetric(inQuiet(turns[i])/pairs, fmt.Sprintf("tracking-%d-ns", oneIn))
	}
	b.ReportMetric(0, "ns/op")
}

func BenchmarkSnapshot(b *testing.B) {
	for _, n := range []int{0, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			guards := make(Guards, n)
			for i := range guards {
				guards[i], _ = Lock(fmt.Sprint("n", i))
			}
			var turns []time.Duration
			for b.Loop() {
				start := time.Now()
				Snapshot()
				turns = append(turns, time.Since(start))
			}
			b.ReportMetric(inQuiet(turns), "quiet-ns/op")
			_ = guards.Unlock()
		})
	}
}

// inQuiet returns how many nanoseconds a turn takes in a quiet moment: one in ten is faster.
func inQuiet(turns []time.Duration) float64 {
	slices.Sort(turns)
	return float64(turns[len(turns)/10])
}
