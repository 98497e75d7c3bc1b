package main

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	hotName                = "instance-4711"
	microHold              = time.Microsecond
	goroutinesPerProcessor = 64 // in the contended scenarios
)

// processScenarios lists the scenarios within one process.
func processScenarios(b budget) []scenario {
	procs := runtime.GOMAXPROCS(0)
	goroutines := goroutinesPerProcessor * procs
	names := sync.OnceValue(func() []string { return manyNames(b.names) })

	everybody := peersTaking(peers(), anyName, oneName, noName, hashName, wrapped, noLock)
	manyNamed := peersTaking(peers(), anyName, noName, hashName, noLock)
	queueing := peersTaking(peers(), anyName, oneName, noName, hashName)
	reading := peersTaking(readers(), anyName, oneName, noName)

	return []scenario{
		timed("hot", "one hot name", "One goroutine locks and unlocks one name repeatedly, in each turn another.",
			"sync.Mutex", ourLock, everybody, func(p peer) sample {
				name := nextName()
				l := p.open(name)
				return load{goroutines: 1, slice: b.slice, stride: 64, worker: func(int) step {
					return func(from, to int) {
						for range to - from {
							l.pass(name, nil)
						}
					}
				}}.run()
			}),
		timed(
			"new",
			"a new name each time",
			fmt.Sprintf("One goroutine locks and unlocks a new name each time, out of %d made beforehand. "+
				"A turn that has used all its names starts over with new locks.", b.names),
			"sync.Mutex",
			ourLock,
			manyNamed,
			func(p peer) sample {
				names := names()
				return again(b.slice, func() sample {
					l := p.open("")
					return load{goroutines: 1, slice: b.slice, stride: 64, limit: len(names), worker: func(int) step {
						return func(from, to int) {
							for _, name := range names[from:to] {
								l.pass(name, nil)
							}
						}
					}}.run()
				})
			},
		),
		timed(
			"own-parallel",
			"own names in parallel",
			fmt.Sprintf("%d goroutines, each with one name of its own. Wall-clock "+
				"time divided by all operations; each goroutine has a bare lock of its own.", procs),
			"sync.Mutex",
			ourLock,
			manyNamed,
			func(p peer) sample {
				each := p.forEach(procs)
				return load{goroutines: procs, slice: b.slice, stride: 64, worker: func(g int) step {
					l, name := each[g], nextName()
					return func(from, to int) {
						for range to - from {
							l.pass(name, nil)
						}
					}
				}}.run()
			},
		),
		timed(
			"new-parallel",
			"new names in parallel",
			fmt.Sprintf("%d goroutines, each with a new name each time, out of names of its own "+
				"made beforehand. Wall-clock time divided by all operations; each goroutine has a bare "+
				"lock of its own.", procs),
			"sync.Mutex",
			ourLock,
			manyNamed,
			func(p peer) sample {
				names := names()
				part := len(names) / procs
				return again(b.slice, func() sample {
					each := p.forEach(procs)
					return load{goroutines: procs, slice: b.slice, stride: 64, limit: part, worker: func(g int) step {
						l, names := each[g], names[g*part:(g+1)*part]
						return func(from, to int) {
							for _, name := range names[from:to] {
								l.pass(name, nil)
							}
						}
					}}.run()
				})
			},
		),
		timed(
			"one-parallel",
			"one name in parallel, nothing held",
			fmt.Sprintf("%d goroutines compete for one name and release it "+
				"at once. Wall-clock time divided by all operations.", procs),
			"sync.Mutex",
			ourLock,
			peersTaking(peers(), anyName, oneName, noName, hashName, wrapped),
			func(p peer) sample {
				return contend(p.open(hotName), procs, 64, b.slice, nil)
			},
		),
		timed(
			"contended",
			"one contended name, 1 µs held",
			fmt.Sprintf("%d goroutines, %d for each processor, compete for one "+
				"name and hold it for 1 µs of computing. Wall-clock time divided by all operations, "+
				"including the hold.", goroutines, goroutinesPerProcessor),
			"sync.Mutex",
			ourLock,
			queueing,
			func(p peer) sample {
				return contend(p.open(hotName), goroutines, 1, b.contended, func() { compute(microHold) })
			},
		),
		waits(goroutines, b, queueing),
		timed(
			"readers",
			"readers only",
			fmt.Sprintf("%d goroutines take shared holds of one name and release them at once. "+
				"Wall-clock time divided by all operations.", procs),
			"sync.RWMutex",
			ourReader,
			reading,
			func(p peer) sample {
				l := p.open(hotName)
				return load{goroutines: procs, slice: b.slice, stride: 64, worker: func(int) step {
					return func(from, to int) {
						for range to - from {
							l.read(hotName, nil)
						}
					}
				}}.run()
			},
		),
		timed(
			"mostly-readers",
			"95 % readers",
			fmt.Sprintf("%d goroutines take one name, 19 times shared and once "+
				"exclusively, and release it at once. Wall-clock time divided by all operations.", procs),
			"sync.RWMutex",
			ourReader,
			reading,
			func(p peer) sample {
				l := p.open(hotName)
				return load{goroutines: procs, slice: b.slice, stride: 20, worker: func(int) step {
					return func(from, to int) {
						l.pass(hotName, nil)
						for range to - from - 1 {
							l.read(hotName, nil)
						}
					}
				}}.run()
			},
		),
		kept(
			"memory-once",
			"memory kept after one-off names",
			fmt.Sprintf("Growth of the heap after %d different names have been "+
				"locked and unlocked once, one after another, and after two garbage collections, "+
				"in a new process.", b.names),
			peersTaking(peers(), anyName, hashName),
			request{Do: doMemoryOnce, Count: b.names},
		),
		kept(
			"memory-held",
			"memory kept after many holds at once",
			fmt.Sprintf("Growth of the heap after %d different names have been "+
				"held at once and released, and after two garbage collections, in a new process.", b.held),
			holding(peersTaking(peers(), anyName)),
			request{Do: doMemoryHeld, Count: b.held},
		),
	}
}

var lastName atomic.Int64

// nextName returns another name at each call. What a name costs depends on where its lock lies: with
// one place in 30, the processor takes the lock's addresses for those of the caller's stack, which
// agree in their last 12 bits, and waits. A name that is kept for all turns would decide about all.
func nextName() string {
	return fmt.Sprintf("instance-%04d", lastName.Add(1))
}

// peersTaking returns the peers that treat names in one of the given ways.
func peersTaking(peers []peer, ways ...naming) []peer {
	return slices.DeleteFunc(peers, func(p peer) bool { return !slices.Contains(ways, p.names) })
}

// holding returns the peers that can hold many names at once.
func holding(peers []peer) []peer {
	return slices.DeleteFunc(peers, func(p peer) bool { return p.open("").hold == nil })
}

// forEach returns the locks of n goroutines that use different names. They are shared unless the
// peer has no names.
func (p peer) forEach(n int) []locks {
	if p.names != noName {
		return slices.Repeat([]locks{p.open("")}, n)
	}
	each := make([]locks, n)
	for i := range each {
		each[i] = p.open("")
	}
	return each
}

// manyNames returns n different names as parts of one string, so that the garbage collector has
// little to scan.
func manyNames(n int) []string {
	const prefix = "instance-"
	const width = len(prefix) + 9
	all := make([]byte, 0, n*width)
	for i := range n {
		all = strconv.AppendUint(append(all, prefix...), 1<<32+uint64(i), 16) // nine digits
	}
	text := string(all)
	names := make([]string, n)
	for i := range names {
		names[i] = text[i*width : (i+1)*width]
	}
	return names
}

// contend makes goroutines lock one name repeatedly.
func contend(l locks, goroutines, stride int, slice time.Duration, inside func()) sample {
	return load{goroutines: goroutines, slice: slice, stride: stride, worker: func(int) step {
		return func(from, to int) {
			for range to - from {
				l.pass(hotName, inside)
			}
		}
	}}.run()
}

// timed returns the scenario of what one operation costs each peer.
func timed(key, title, about, yardstick, ours string, peers []peer, run func(peer) sample) scenario {
	s := scenario{
		key: key, title: title, about: about, yardstick: yardstick, ours: ours,
		metrics: []metric{{"time", nanoseconds}, allocations},
	}
	for _, p := range peers {
		s.contenders = append(s.contenders, contender{
			name: p.name, note: p.note, mine: p.mine,
			turn: func() ([]float64, error) {
				r := run(p)
				return []float64{r.time, r.allocations}, nil
			},
		})
	}
	return s
}

// waits returns the scenario of how long many goroutines wait and how even their shares are.
func waits(goroutines int, b budget, peers []peer) scenario {
	s := scenario{
		key: "waits", title: "waits under contention",
		about: fmt.Sprintf(
			"As before, %d goroutines hold one name for 1 µs each: how long they wait, and the fewest and "+
				"the most acquisitions of a goroutine, divided by the mean. Each acquisition reads the clock twice.",
			goroutines,
		),
		metrics: []metric{
			{"p99.9", nanoseconds}, {"p50", nanoseconds}, {"p99", nanoseconds}, {"worst", nanoseconds},
			{"least share", share}, {"greatest share", share},
		},
		yardstick: "sync.Mutex", ours: ourLock,
	}
	for _, p := range peers {
		s.contenders = append(s.contenders, contender{
			name: p.name, note: p.note, mine: p.mine,
			turn: func() ([]float64, error) { return takeWaits(p.open(hotName), goroutines, b.contended), nil },
		})
	}
	return s
}

// takeWaits runs many goroutines for a slice and returns the values of the waits scenario.
func takeWaits(l locks, goroutines int, slice time.Duration) []float64 {
	waits := make([]*[]int64, goroutines)
	load{goroutines: goroutines, slice: slice, stride: 1, worker: func(g int) step {
		mine := slices.Grow([]int64(nil), 1024)
		waits[g] = &mine
		var requested time.Time
		inside := func() {
			mine = append(mine, int64(time.Since(requested)))
			compute(microHold)
		}
		return func(from, to int) {
			requested = time.Now()
			l.pass(hotName, inside)
		}
	}}.run()

	var all []int64
	for _, mine := range waits {
		all = append(all, *mine...)
	}
	slices.Sort(all)
	least, greatest := len(all), 0
	for _, mine := range waits {
		least, greatest = min(least, len(*mine)), max(greatest, len(*mine))
	}
	fair := float64(len(all)) / float64(goroutines)
	return []float64{
		quantile(all, 0.999), quantile(all, 0.5), quantile(all, 0.99), quantile(all, 1),
		float64(least) / fair, float64(greatest) / fair,
	}
}
