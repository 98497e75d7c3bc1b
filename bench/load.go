package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Timing the work of goroutines.

// A step performs the operations from to to-1 of a goroutine.
type step func(from, to int)

// A load is work of one kind, done by several goroutines for a slice of time.
type load struct {
	goroutines int
	slice      time.Duration
	stride     int              // operations between two checks for the end
	limit      int              // greatest number of operations of a goroutine; 0: no limit
	worker     func(g int) step // called once for each goroutine
}

// A sample is the cost of a load.
type sample struct {
	time        float64 // wall-clock nanoseconds for each operation
	allocations float64 // of each operation
}

// run starts the goroutines together and stops them together: at the end of the slice, or when the
// first one reaches its limit, since the others would continue with less contention. If there is a
// processor for each, they begin once the last one runs, which takes up to a millisecond.
func (w load) run() sample {
	var (
		ready, ended sync.WaitGroup
		released     = make(chan struct{})
		missing      atomic.Int64
		begun, stop  atomic.Bool
		start        time.Time
		timer        *time.Timer
		done         atomic.Int64
		before       runtime.MemStats
		after        runtime.MemStats
	)
	stride := w.stride
	if w.limit != 0 {
		stride = min(stride, w.limit)
	}
	begin := func() {
		start = time.Now()
		timer = time.AfterFunc(w.slice, func() { stop.Store(true) })
		begun.Store(true)
	}
	gather := w.goroutines <= min(runtime.NumCPU(), runtime.GOMAXPROCS(0))
	missing.Store(int64(w.goroutines))
	for g := range w.goroutines {
		ready.Add(1)
		ended.Go(func() {
			do := w.worker(g)
			ready.Done()
			<-released
			if gather && missing.Add(-1) == 0 {
				begin()
			}
			for !begun.Load() {
			}
			at := 0
			for !stop.Load() {
				do(at, at+stride)
				if at += stride; w.limit != 0 && at+stride > w.limit {
					stop.Store(true)
				}
			}
			done.Add(int64(at))
		})
	}
	ready.Wait()
	runtime.GC() // collects the garbage of earlier turns
	runtime.ReadMemStats(&before)
	if !gather {
		begin()
	}
	close(released)
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

// again repeats a run that ends before its slice does, and returns the mean. Otherwise a
// disturbance would weigh more in a short run than in one that takes the whole slice.
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

// churnsPerNanosecond is measured once, as the best of several tries.
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
