package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// How the work of goroutines is timed.

// A step does the operations from ... to-1 of a goroutine's work.
type step func(from, to int)

// A load is the same kind of work done by several goroutines for a slice of time.
type load struct {
	goroutines int
	slice      time.Duration
	stride     int              // operations between two looks at the time
	limit      int              // operations of each goroutine at most, no fewer than stride; 0: no limit
	worker     func(g int) step // called once for each goroutine
}

// A sample is what a load has cost.
type sample struct {
	time        float64 // wall-clock nanoseconds for each operation
	allocations float64 // of each operation
}

// run starts the goroutines together and ends them together: when the slice is over, or when the first of them has come to its
// limit, since the others would go on with fewer competitors. As long as they have a processor each, they begin when the last
// one has got it, which takes up to a millisecond.
func (w load) run() sample {
	var (
		ready, ended sync.WaitGroup
		begin        = make(chan struct{})
		start        time.Time
		running      atomic.Int64
		stop         atomic.Bool
		done         atomic.Int64
		before       runtime.MemStats
		after        runtime.MemStats
	)
	for g := range w.goroutines {
		ready.Add(1)
		ended.Go(func() {
			do := w.worker(g)
			ready.Done()
			<-begin
			if w.goroutines <= runtime.GOMAXPROCS(0) {
				now := time.Now()
				if running.Add(1) == int64(w.goroutines) {
					start = now
				}
				for running.Load() < int64(w.goroutines) {
				}
			}
			at := 0
			for !stop.Load() {
				do(at, at+w.stride)
				if at += w.stride; w.limit != 0 && at+w.stride > w.limit {
					stop.Store(true)
				}
			}
			done.Add(int64(at))
		})
	}
	ready.Wait()
	runtime.GC() // what others have left is not this one's burden
	runtime.ReadMemStats(&before)
	start = time.Now()
	close(begin)
	timer := time.AfterFunc(w.slice, func() { stop.Store(true) })
	ended.Wait()
	elapsed := time.Since(start)
	timer.Stop()
	runtime.ReadMemStats(&after)
	operations := float64(max(1, done.Load()))
	return sample{
		time:        float64(elapsed) / operations,
		allocations: float64(after.Mallocs-before.Mallocs) / operations,
	}
}

// again repeats what uses up its names sooner than its slice of time, and returns the mean. Whatever disturbs a turn of a few
// milliseconds would otherwise count for more than it does in one that takes the whole slice.
func again(slice time.Duration, run func() sample) sample {
	var mean sample
	n := 0.0
	for start := time.Now(); n == 0 || time.Since(start) < slice; n++ {
		s := run()
		mean.time += s.time
		mean.allocations += s.allocations
	}
	return sample{mean.time / n, mean.allocations / n}
}

// compute keeps the processor busy for about d without reading a clock.
func compute(d time.Duration) { _ = churn(int(float64(d) * churnsPerNanosecond())) }

// churnsPerNanosecond is found once, as the best of several tries, so that a disturbed try does not count.
var churnsPerNanosecond = sync.OnceValue(func() float64 {
	const n = 100_000
	best := time.Duration(1<<63 - 1)
	for range 50 {
		start := time.Now()
		_ = churn(n)
		best = min(best, time.Since(start))
	}
	return n / float64(best)
})

//go:noinline
func churn(n int) uint64 {
	x := uint64(n)
	for range n {
		x = x*6364136223846793005 + 1442695040888963407
	}
	return x
}
