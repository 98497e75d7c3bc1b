package main

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/lockutils/lockutils"
)

// growthScenarios lists the scenarios of how cost grows with what else is held or waited for.
func growthScenarios(b budget) []scenario {
	return []scenario{heldNames(b), manyWaiters(b)}
}

// heldRow and waitersRow name the rows of a scenario by their number.
func heldRow(n int) string    { return strconv.Itoa(n) + " other names held" }
func waitersRow(n int) string { return strconv.Itoa(n) + " waiters" }

// heldNames returns the scenario of a lock while other names are held.
func heldNames(b budget) scenario {
	sc := scenario{
		key: "held-names", title: "how cost grows: names held",
		about: "One goroutine locks and unlocks 64 names in turn while other names are held. With more names " +
			"held than the table has slots, each name has an entry beside its slot.",
		metrics:   []metric{{"time", nanoseconds}, allocations},
		yardstick: heldRow(1), ours: heldRow(1_000_000),
	}
	names := sync.OnceValue(func() []string { return manyNames(1_000_000) })
	for _, n := range []int{1, 10, 1_000, 100_000, 1_000_000} {
		sc.contenders = append(sc.contenders, contender{
			name: heldRow(n), mine: true,
			turn: func() ([]float64, error) {
				guards := make([]lockutils.Guard, n)
				for i, name := range names()[:n] {
					guards[i] = mustLock(name)
				}
				used := manyNames(64)
				for i := range used {
					used[i] = "used-" + used[i]
				}
				r := load{goroutines: 1, slice: b.slice, stride: len(used), worker: func(int) step {
					return func(from, to int) {
						for i := range to - from {
							must(mustLock(used[i%len(used)]).Unlock())
						}
					}
				}}.run()
				for _, g := range guards {
					must(g.Unlock())
				}
				return []float64{r.time, r.allocations}, nil
			},
		})
	}
	return sc
}

// manyWaiters returns the scenario of a hand-over to the first of many waiters.
func manyWaiters(b budget) scenario {
	sc := scenario{
		key: "many-waiters", title: "how cost grows: waiters",
		about: "Goroutines acquire one name in order of arrival, release it at once and queue again. Time of one " +
			"hand-over to the first waiter. The other locks show what the goroutines themselves cost, whose " +
			"stacks do not fit into a processor's cache.",
		metrics:   []metric{{"time", nanoseconds}},
		yardstick: waitersRow(10), ours: waitersRow(100_000),
	}
	turns := func(n int, open func() fifo) func() ([]float64, error) {
		return func() ([]float64, error) { return []float64{open().handOverAmong(n, b.contended)}, nil }
	}
	for _, n := range []int{10, 1_000, 10_000, 100_000} {
		sc.contenders = append(sc.contenders, contender{name: waitersRow(n), mine: true, turn: turns(n, fairLock)})
	}
	for _, n := range []int{10, 100_000} {
		sc.contenders = append(sc.contenders,
			contender{
				name: "semaphore, " + waitersRow(n), note: "x/sync Weighted(1), no names",
				turn: turns(n, weightedOne),
			},
			contender{
				name: "channel, " + waitersRow(n), note: "with room for one value, no names",
				turn: turns(n, channelOfOne),
			})
	}
	return sc
}

// A fifo is one lock that is acquired in order of arrival.
type fifo struct{ acquire, release func() }

func fairLock() fifo {
	var held lockutils.Guard // of the holder
	return fifo{
		acquire: func() { held = mustLock("handed over", lockutils.Fair()) },
		release: func() { must(held.Unlock()) },
	}
}

func weightedOne() fifo {
	s := semaphore.NewWeighted(1)
	return fifo{
		acquire: func() { must(s.Acquire(context.Background(), 1)) },
		release: func() { s.Release(1) },
	}
}

func channelOfOne() fifo {
	c := make(chan struct{}, 1)
	return fifo{
		acquire: func() { c <- struct{}{} },
		release: func() { <-c },
	}
}

// handOverAmong returns how long one hand-over takes with that many waiters, in nanoseconds.
func (f fifo) handOverAmong(waiters int, slice time.Duration) float64 {
	var (
		passed atomic.Int64
		queued atomic.Int64
		done   atomic.Bool
		all    sync.WaitGroup
	)
	f.acquire()
	for range waiters {
		all.Go(func() {
			queued.Add(1)
			for !done.Load() {
				f.acquire()
				passed.Add(1)
				f.release()
			}
		})
	}
	for queued.Load() < int64(waiters) {
		time.Sleep(time.Millisecond)
	}
	f.release()
	time.Sleep(slice / 4) // each has waited once
	before, start := passed.Load(), time.Now()
	time.Sleep(slice)
	n, elapsed := passed.Load()-before, time.Since(start)
	done.Store(true)
	all.Wait()
	return float64(elapsed) / float64(max(1, n))
}

func mustLock(name string, opts ...lockutils.Option) lockutils.Guard {
	g, err := lockutils.Lock(name, opts...)
	must(err)
	return g
}
