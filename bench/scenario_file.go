package main

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"slices"
	"time"
)

// pythonWorker is the program of a Python worker.
//
//go:embed python_worker.py
var pythonWorker string

// fileScenarios lists the scenarios with lock files.
func fileScenarios(s *site, b budget) []scenario {
	list := []scenario{
		uncontended(s, b),
		handOver(s, b),
	}
	for _, n := range []int{2, 4} {
		list = append(list, competition(s, b, rivalry{
			scenario: scenario{
				key: fmt.Sprintf("file-throughput-%d", n), title: fmt.Sprintf("lock files: throughput, %d processes", n),
				about: fmt.Sprintf("%d processes hold one lock file for 50 µs and think for 50 µs, computing both times.", n),
				ours:  ourFile,
			},
			processes: n, hold: 50 * time.Microsecond, think: 50 * time.Microsecond,
			figures: []figure{acquisitions, changes, leastShare, greatestShare, longWait},
		}))
	}
	list = append(list, cancellation(s, b), takeOver(s, b))
	for _, n := range []int{2, 4, 16} {
		list = append(list, competition(s, b, rivalry{
			scenario: scenario{
				key: fmt.Sprintf("file-fair-%d", n), title: fmt.Sprintf("lock files: order, %d processes", n),
				about: fmt.Sprintf("%d processes acquire and release one lock file as fast as they can, with no time held and none to "+
					"think. Without order, most acquisitions are of the process that has just released: what matters is how often the "+
					"lock gets to another process, how evenly they are served, how long one waits, and by how many acquisitions that were asked for later one is passed.", n),
				ours: ourFair,
			},
			processes: n,
			figures:   []figure{changes, acquisitions, leastShare, greatestShare, longWait, passedBy},
		}))
	}
	return append(list, mixed(s, b))
}

// uncontended makes the scenario of a lock file that nobody else uses.
func uncontended(s *site, b budget) scenario {
	sc := scenario{
		key: "file-uncontended", title: "lock files: uncontended",
		about: "Acquire and release one lock file that nobody else uses. This library's figures include the check that the path still " +
			"leads to the locked file.",
		metrics:   []metric{{"time", nanoseconds}, allocations},
		yardstick: "gofrs/flock", ours: ourFile,
	}
	for _, p := range filePeers() {
		sc.contenders = append(sc.contenders, contender{
			name: p.name, note: p.note, mine: p.mine,
			turn: func() ([]float64, error) {
				dir, err := s.fresh()
				if err != nil {
					return nil, err
				}
				l := p.open(dir)
				if err := l.pass(nil); err != nil {
					return nil, err
				}
				r := load{goroutines: 1, slice: b.slice, stride: 4, worker: func(int) step {
					return func(from, to int) {
						for range to - from {
							must(l.pass(nil))
						}
					}
				}}.run()
				return []float64{r.time, r.allocations}, nil
			},
		})
	}
	for _, p := range []struct{ name, note string }{
		{"fasteners", "Python, fcntl, a new object for each use"},
		{"oslo.concurrency", "Python, lock(external=True)"},
		{"filelock", "Python, flock, a new object for each use"},
	} {
		sc.contenders = append(sc.contenders, contender{
			name: p.name, note: p.note,
			turn: func() ([]float64, error) {
				dir, err := s.fresh()
				if err != nil {
					return nil, err
				}
				a, err := s.ask(pythonProgram, order{Do: doUse, Lock: p.name, Dir: dir, Slice: b.slice})
				return []float64{a.Value, math.NaN()}, err
			},
		})
	}
	return sc
}

// waiting picks, from the lock files, those whose way to wait is their own.
func waiting() []filePeer {
	names := []string{blocking, polling, "lockedfile", "juju/mutex", ourFile, ourFair, ourFcntl}
	return slices.DeleteFunc(filePeers(), func(p filePeer) bool { return !slices.Contains(names, p.name) })
}

// handOver makes the scenario of how soon a sleeping waiter has the lock.
func handOver(s *site, b budget) scenario {
	sc := scenario{
		key: "file-handover", title: "lock files: hand-over to a sleeper",
		about: "Two processes hold one lock file for 300 µs and think for 100 µs. How long the process that found it held waits from " +
			"the moment the other lets it go.",
		metrics:   []metric{{"median", nanoseconds}, {"p99", nanoseconds}, {"acquisitions", perSecond}},
		yardstick: blocking, ours: ourFile,
	}
	for _, p := range waiting() {
		sc.contenders = append(sc.contenders, contender{
			name: p.name, note: p.note, mine: p.mine,
			turn: func() ([]float64, error) {
				r, err := s.rush(alike(2, p.name), 300*time.Microsecond, 100*time.Microsecond, 2*b.processes)
				if err != nil {
					return nil, err
				}
				delays := r.handOvers()
				return []float64{quantile(delays, 0.5), quantile(delays, 0.99), r.rate()}, nil
			},
		})
	}
	return sc
}

// alike returns n parties that use the same lock.
func alike(n int, lock string) []party {
	return slices.Repeat([]party{{goProgram, lock}}, n)
}

// A rivalry is a scenario of several processes at one lock file, without the contenders.
type rivalry struct {
	scenario
	processes   int
	hold, think time.Duration
	figures     []figure
}

// A figure is a metric computed from the log of a rush.
type figure struct {
	metric
	of func(rushed) float64
}

var (
	acquisitions  = figure{metric{"acquisitions", perSecond}, rushed.rate}
	changes       = figure{metric{"changes of holder", perSecond}, rushed.changes}
	leastShare    = figure{metric{"least share", share}, rushed.leastShare}
	greatestShare = figure{metric{"greatest share", share}, rushed.greatestShare}
	longWait      = figure{metric{"p99.9 wait", nanoseconds}, func(r rushed) float64 { return r.wait(0.999) }}
	passedBy      = figure{metric{"p99.9 passed by", count}, func(r rushed) float64 { return r.passes(0.999) }}
)

// competition completes the scenario of a rivalry.
func competition(s *site, b budget, r rivalry) scenario {
	sc := r.scenario
	sc.yardstick = blocking
	for _, f := range r.figures {
		sc.metrics = append(sc.metrics, f.metric)
	}
	for _, p := range waiting() {
		sc.contenders = append(sc.contenders, contender{
			name: p.name, note: p.note, mine: p.mine,
			turn: func() ([]float64, error) {
				log, err := s.rush(alike(r.processes, p.name), r.hold, r.think, b.processes)
				if err != nil {
					return nil, err
				}
				var values []float64
				for _, f := range r.figures {
					values = append(values, f.of(log))
				}
				return values, nil
			},
		})
	}
	return sc
}

// cancellation makes the scenario of how soon a cancelled wait returns.
func cancellation(s *site, b budget) scenario {
	sc := scenario{
		key: "file-cancel", title: "lock files: cancel to return",
		about: fmt.Sprintf("Another process holds the lock file; a wait of about 1 ms is cancelled. Time from the cancellation to the return "+
			"of the call, %d times in each round.", b.cancels),
		metrics: []metric{{"p99", nanoseconds}, {"p50", nanoseconds}},
		ours:    ourFile,
	}
	for _, p := range waiting() {
		sc.contenders = append(sc.contenders, contender{
			name: p.name, note: p.note, mine: p.mine,
			turn: func() ([]float64, error) { return s.cancel(p, b.cancels) },
		})
	}
	return sc
}

// cancel waits n times in vain for a lock that a worker holds.
func (s *site) cancel(p filePeer, n int) ([]float64, error) {
	dir, err := s.fresh()
	if err != nil {
		return nil, err
	}
	l := p.open(dir)
	if l.wait == nil {
		return nil, fmt.Errorf("%w: a wait cannot be cancelled", errAbsent)
	}
	holder, err := s.holder(p, dir)
	if err != nil {
		return nil, err
	}
	defer holder.kill()
	delays := make([]int64, n)
	for i := range delays {
		ctx, cancel := context.WithCancel(context.Background())
		returned := make(chan error, 1)
		go func() { returned <- l.wait(ctx, nil) }()
		time.Sleep(time.Millisecond)
		start := time.Now()
		cancel()
		if err := <-returned; err == nil {
			return nil, fmt.Errorf("got a lock that another process holds")
		}
		delays[i] = int64(time.Since(start))
	}
	slices.Sort(delays)
	return []float64{quantile(delays, 0.99), quantile(delays, 0.5)}, nil
}

// holder returns a worker that holds the peer's lock for good.
func (s *site) holder(p filePeer, dir string) (*worker, error) {
	w, err := s.hire(goProgram)
	if err != nil {
		return nil, err
	}
	if _, err := w.ask(order{Do: doHold, Lock: p.name, Dir: dir}); err != nil {
		w.kill()
		return nil, err
	}
	return w, nil
}

// takeOver makes the scenario of how soon a waiter has the lock of a process that is killed.
func takeOver(s *site, b budget) scenario {
	sc := scenario{
		key: "file-takeover", title: "lock files: take-over from the killed",
		about: fmt.Sprintf("A process that holds the lock file is killed (SIGKILL) while another waits for it. Time from the kill to the "+
			"acquisition, %d times in each round.", b.kills),
		metrics:   []metric{{"median", nanoseconds}, {"worst", nanoseconds}},
		yardstick: blocking, ours: ourFile,
	}
	for _, p := range waiting() {
		sc.contenders = append(sc.contenders, contender{
			name: p.name, note: p.note, mine: p.mine,
			turn: func() ([]float64, error) { return s.takeOver(p, b.kills) },
		})
	}
	return sc
}

// takeOver has n holders killed.
func (s *site) takeOver(p filePeer, n int) ([]float64, error) {
	dir, err := s.fresh()
	if err != nil {
		return nil, err
	}
	l := p.open(dir)
	delays := make([]int64, n)
	for i := range delays {
		holder, err := s.holder(p, dir)
		if err != nil {
			return nil, err
		}
		var acquired time.Time
		returned := make(chan error, 1)
		go func() { returned <- l.pass(func() { acquired = time.Now() }) }()
		time.Sleep(5 * time.Millisecond) // the waiter sleeps by then
		start := time.Now()
		holder.kill()
		if err := <-returned; err != nil {
			return nil, err
		}
		delays[i] = int64(acquired.Sub(start))
	}
	slices.Sort(delays)
	return []float64{quantile(delays, 0.5), float64(delays[n-1])}, nil
}

// mixed makes the scenario of Go and Python processes at one lock file.
func mixed(s *site, b budget) scenario {
	sc := scenario{
		key: "file-python", title: "lock files: Go and Python together",
		about: "Two processes of this library with WithFcntl() and two of Python, whose waiters poll, hold one lock file for 200 µs and think for 200 µs. " +
			"The acquisitions of the least served process as a part of the busiest one's, and how many there are.",
		metrics: []metric{{"least of busiest", share}, {"acquisitions", perSecond}, {"of these, Python's", perSecond}},
		ours:    "lockutils + oslo.concurrency",
	}
	add := func(name, note string, mine bool, parties []party) {
		sc.contenders = append(sc.contenders, contender{
			name: name, note: note, mine: mine,
			turn: func() ([]float64, error) {
				r, err := s.rush(parties, 200*time.Microsecond, 200*time.Microsecond, 2*b.processes)
				if err != nil {
					return nil, err
				}
				counts, python := r.counts(), 0
				for i, p := range parties {
					if p.program == pythonProgram {
						python += counts[i]
					}
				}
				rate := r.rate()
				return []float64{
					float64(slices.Min(counts)) / float64(slices.Max(counts)), rate, rate * float64(python) / float64(len(r.uses)),
				}, nil
			},
		})
	}
	for _, lock := range []string{"oslo.concurrency", "fasteners"} {
		python := slices.Repeat([]party{{pythonProgram, lock}}, 2)
		add(lock+" alone", "four Python processes", false, slices.Concat(python, python))
		add("lockutils + "+lock, "two processes of each", true, slices.Concat(alike(2, ourFcntl), python))
	}
	return sc
}
