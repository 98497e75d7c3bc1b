package main

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	hotName    = "instance-4711"
	microHold  = time.Microsecond
	crowdShare = 64 // goroutines for each processor in a crowd
)

// processScenarios lists the scenarios inside one process.
func processScenarios(b budget) []scenario {
	procs := runtime.GOMAXPROCS(0)
	crowd := crowdShare * procs
	names := sync.OnceValue(func() []string { return manyNames(b.names) })

	everybody := contest(peers(), anyName, oneName, noName, hashName, wrapped, noLock)
	manyNamed := contest(peers(), anyName, noName, hashName, noLock)
	queueing := contest(peers(), anyName, oneName, noName, hashName)
	reading := contest(readers(), anyName, oneName, noName)

	return []scenario{
		timed("hot", "one hot name", "One goroutine locks and unlocks the same name over and over, with nothing held.",
			"sync.Mutex", ourLock, everybody, func(p peer) sample {
				l := p.open(hotName)
				return load{goroutines: 1, slice: b.slice, stride: 64, worker: func(int) step {
					return func(from, to int) {
						for range to - from {
							l.pass(hotName, nil)
						}
					}
				}}.run()
			}),
		timed("new", "a new name each time", fmt.Sprintf("One goroutine, a new name for each lock, out of %d made beforehand. "+
			"A turn that has used up its names begins anew, with new locks.", b.names),
			"sync.Mutex", ourLock, manyNamed, func(p peer) sample {
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
			}),
		timed("own-parallel", "own names in parallel", fmt.Sprintf("%d goroutines, each over and over its own name. Wall-clock "+
			"time divided by all operations; bare locks are one for each goroutine.", procs),
			"sync.Mutex", ourLock, manyNamed, func(p peer) sample {
				each := p.forEach(procs)
				return load{goroutines: procs, slice: b.slice, stride: 64, worker: func(g int) step {
					l, name := each[g], fmt.Sprintf("%s-%d", hotName, g)
					return func(from, to int) {
						for range to - from {
							l.pass(name, nil)
						}
					}
				}}.run()
			}),
		timed("new-parallel", "new names in parallel", fmt.Sprintf("%d goroutines, each with a new name for each lock, out of names of its own made beforehand. Wall-clock "+
			"time divided by all operations; bare locks are one for each goroutine.", procs),
			"sync.Mutex", ourLock, manyNamed, func(p peer) sample {
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
			}),
		timed("one-parallel", "one name in parallel, nothing held", fmt.Sprintf("%d goroutines compete for one name and hold it "+
			"for no time. Wall-clock time divided by all operations.", procs),
			"sync.Mutex", ourLock, contest(peers(), anyName, oneName, noName, hashName, wrapped), func(p peer) sample {
				return contend(p.open(hotName), procs, 64, b.slice, nil)
			}),
		timed("crowd", "one name, a crowd, 1 µs held", fmt.Sprintf("%d goroutines, %d for each processor, compete for one name and "+
			"hold it for 1 µs of computing. Wall-clock time divided by all operations, the hold included.", crowd, crowdShare),
			"sync.Mutex", ourLock, queueing, func(p peer) sample {
				return contend(p.open(hotName), crowd, 1, b.crowd, func() { compute(microHold) })
			}),
		waits(crowd, b, queueing),
		timed("readers", "readers only", fmt.Sprintf("%d goroutines take shared holds of one name, held for no time. Wall-clock time "+
			"divided by all operations.", procs),
			"sync.RWMutex", ourReader, reading, func(p peer) sample {
				l := p.open(hotName)
				return load{goroutines: procs, slice: b.slice, stride: 64, worker: func(int) step {
					return func(from, to int) {
						for range to - from {
							l.read(hotName, nil)
						}
					}
				}}.run()
			}),
		timed("mostly-readers", "95 % readers", fmt.Sprintf("%d goroutines take one name, 19 times shared and once exclusively in "+
			"turn, held for no time. Wall-clock time divided by all operations.", procs),
			"sync.RWMutex", ourReader, reading, func(p peer) sample {
				l := p.open(hotName)
				return load{goroutines: procs, slice: b.slice, stride: 20, worker: func(int) step {
					return func(from, to int) {
						l.pass(hotName, nil)
						for range to - from - 1 {
							l.read(hotName, nil)
						}
					}
				}}.run()
			}),
		kept("memory-once", "memory kept after one-off names", fmt.Sprintf("What the heap has grown by after %d different names have "+
			"been locked and unlocked once, one after the other, after two garbage collections, in a process of its own.", b.names),
			contest(peers(), anyName, hashName), order{Do: doMemoryOnce, Count: b.names}),
		kept("memory-held", "memory kept after many holds at once", fmt.Sprintf("What the heap has grown by after %d different "+
			"names have been held at once and released, after two garbage collections, in a process of its own.", b.held),
			holding(contest(peers(), anyName)), order{Do: doMemoryHeld, Count: b.held}),
	}
}

// contest picks the peers that take names in one of the given ways.
func contest(peers []peer, ways ...naming) []peer {
	return slices.DeleteFunc(peers, func(p peer) bool { return !slices.Contains(ways, p.names) })
}

// holding picks the peers that can hold many names at once.
func holding(peers []peer) []peer {
	return slices.DeleteFunc(peers, func(p peer) bool { return p.open("").hold == nil })
}

// forEach returns the locks of n goroutines that use different names: the same ones for all unless they have no names.
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

// manyNames returns n different names as views of one string, so that they hardly burden the garbage collector.
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

// contend has goroutines take one name over and over.
func contend(l locks, goroutines, stride int, slice time.Duration, inside func()) sample {
	return load{goroutines: goroutines, slice: slice, stride: stride, worker: func(int) step {
		return func(from, to int) {
			for range to - from {
				l.pass(hotName, inside)
			}
		}
	}}.run()
}

// timed makes a scenario of what one operation costs each peer.
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

// waits makes the scenario of how long the goroutines of a crowd wait and how evenly they are served.
func waits(crowd int, b budget, peers []peer) scenario {
	s := scenario{
		key: "waits", title: "waits in a crowd",
		about: fmt.Sprintf("As before, %d goroutines that hold one name for 1 µs each; how long they wait for it, and the acquisitions of "+
			"the least and the most served goroutine as parts of a fair share. The clock is read twice for each acquisition.", crowd),
		metrics: []metric{
			{"p99.9", nanoseconds}, {"p50", nanoseconds}, {"p99", nanoseconds}, {"worst", nanoseconds},
			{"least share", share}, {"greatest share", share},
		},
		yardstick: "sync.Mutex", ours: ourLock,
	}
	for _, p := range peers {
		s.contenders = append(s.contenders, contender{
			name: p.name, note: p.note, mine: p.mine,
			turn: func() ([]float64, error) { return takeWaits(p.open(hotName), crowd, b.crowd), nil },
		})
	}
	return s
}

// takeWaits runs a crowd for a while and returns the values of the waits scenario.
func takeWaits(l locks, crowd int, slice time.Duration) []float64 {
	waits := make([]*[]int64, crowd)
	load{goroutines: crowd, slice: slice, stride: 1, worker: func(g int) step {
		mine := slices.Grow([]int64(nil), 1024)
		waits[g] = &mine
		var asked time.Time
		inside := func() {
			mine = append(mine, int64(time.Since(asked)))
			compute(microHold)
		}
		return func(from, to int) {
			asked = time.Now()
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
	fair := float64(len(all)) / float64(crowd)
	return []float64{
		quantile(all, 0.999), quantile(all, 0.5), quantile(all, 0.99), float64(all[len(all)-1]),
		float64(least) / fair, float64(greatest) / fair,
	}
}
