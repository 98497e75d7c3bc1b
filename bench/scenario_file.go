package main

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"

	"github.com/lockutils/lockutils"
)

// pythonWorker is the program of a Python worker.
//
//go:embed python_worker.py
var pythonWorker string

// fileScenarios lists the scenarios with lock files.
func fileScenarios(s *site, b budget) []scenario {
	list := []scenario{
		uncontended(s, b),
		namesInTurn(s, b),
		handOver(s, b),
	}
	for _, n := range []int{2, 4} {
		list = append(list, contestScenario(s, b, contestSetup{
			scenario: scenario{
				key:   fmt.Sprintf("file-throughput-%d", n),
				title: fmt.Sprintf("lock files: throughput, %d processes", n),
				about: fmt.Sprintf("%d processes hold one lock file for 50 µs and think for 50 µs, "+
					"computing both times.", n),
				ours: ourFile,
			},
			processes: n, hold: 50 * time.Microsecond, think: 50 * time.Microsecond,
			figures: []figure{acquisitions, changes, leastShare, greatestShare, longWait},
		}))
	}
	list = append(list, cancellation(s, b), takeOver(s, b))
	for _, n := range []int{2, 4, 16} {
		list = append(list, contestScenario(s, b, contestSetup{
			scenario: scenario{
				key: fmt.Sprintf("file-fair-%d", n), title: fmt.Sprintf("lock files: order, %d processes", n),
				about: fmt.Sprintf("%d processes acquire and release one lock file as fast as they can. "+
					"Without order, the process that has just released the lock usually acquires it again. "+
					"So the figures are how often the lock passes to another process, the shares of the "+
					"processes, how long one waits, and how many later requests pass one.", n),
				ours: ourFair,
			},
			processes: n,
			figures:   []figure{changes, acquisitions, leastShare, greatestShare, longWait, passedBy},
		}))
	}
	return append(list, mixed(s, b))
}

// uncontended returns the scenario of a lock file without contention.
func uncontended(s *site, b budget) scenario {
	sc := scenario{
		key: "file-uncontended", title: "lock files: uncontended",
		about: "Acquire and release one lock file that no other process uses. This library's figures include the " +
			"check that the path still names the locked file.",
		metrics:   []metric{{"time", nanoseconds}, allocations},
		yardstick: "gofrs/flock", ours: ourFile,
	}
	for _, p := range filePeers() {
		sc.contenders = append(sc.contenders, contender{
			name: p.name, note: p.note, mine: p.mine,
			turn: func() ([]float64, error) {
				dir, err := s.newDir()
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
				dir, err := s.newDir()
				if err != nil {
					return nil, err
				}
				rep, err := s.call(pythonProgram, request{Do: doUse, Lock: p.name, Dir: dir, Slice: b.slice})
				return []float64{rep.Value, math.NaN()}, err
			},
		})
	}
	return sc
}

// namesInTurn returns the scenario of many lock files without contention.
func namesInTurn(s *site, b budget) scenario {
	const names = 1000
	sc := scenario{
		key: "file-names", title: "lock files: 1000 names in turn",
		about: "Acquire and release one of 1000 lock files after another. No other process uses them, and all of " +
			"them are there.",
		metrics:   []metric{{"time", nanoseconds}, allocations},
		yardstick: "gofrs/flock", ours: ourFile,
	}
	for _, p := range []struct {
		name, note string
		mine       bool
		pass       func(dir, name string) error
	}{
		{"gofrs/flock", "a new object for each use, blocking", false, func(dir, name string) error {
			f := flock.New(filepath.Join(dir, name))
			if err := f.Lock(); err != nil {
				return err
			}
			return f.Unlock()
		}},
		{ourFile, "inode check included, removal safe", true, func(dir, name string) error {
			guard, err := lockutils.Lock(name, lockutils.External(), lockutils.WithLockPath(dir))
			if err != nil {
				return err
			}
			return guard.Unlock()
		}},
	} {
		sc.contenders = append(sc.contenders, contender{
			name: p.name, note: p.note, mine: p.mine,
			turn: func() ([]float64, error) {
				dir, err := s.newDir()
				if err != nil {
					return nil, err
				}
				all := manyNames(names)
				for _, name := range all {
					if err := p.pass(dir, name); err != nil {
						return nil, err
					}
				}
				r := load{goroutines: 1, slice: b.slice, stride: 4, worker: func(int) step {
					return func(from, to int) {
						for i := from; i < to; i++ {
							must(p.pass(dir, all[i%names]))
						}
					}
				}}.run()
				return []float64{r.time, r.allocations}, nil
			},
		})
	}
	return sc
}

// waiting returns the lock files that differ in how they wait.
func waiting() []filePeer {
	names := []string{blocking, polling, "lockedfile", "juju/mutex", ourFile, ourFair, ourFcntl, ourWait}
	return slices.DeleteFunc(filePeers(), func(p filePeer) bool { return !slices.Contains(names, p.name) })
}

// handOver returns the scenario of how soon a sleeping waiter acquires the lock.
func handOver(s *site, b budget) scenario {
	sc := scenario{
		key: "file-handover", title: "lock files: hand-over to a sleeper",
		about: "Two processes hold one lock file for 300 µs and think for 100 µs. Time from a release to the " +
			"acquisition by the process that waits.",
		metrics:   []metric{{"median", nanoseconds}, {"p99", nanoseconds}, {"acquisitions", perSecond}},
		yardstick: blocking, ours: ourFile,
	}
	for _, p := range waiting() {
		sc.contenders = append(sc.contenders, contender{
			name: p.name, note: p.note, mine: p.mine,
			turn: func() ([]float64, error) {
				log, err := s.contest(goProcesses(2, p.name), 300*time.Microsecond,
					100*time.Microsecond, 2*b.processes)
				if err != nil {
					return nil, err
				}
				delays := log.handOvers()
				return []float64{quantile(delays, 0.5), quantile(delays, 0.99), log.rate()}, nil
			},
		})
	}
	return sc
}

// goProcesses returns n processes that use the same lock.
func goProcesses(n int, lock string) []process {
	return slices.Repeat([]process{{goProgram, lock}}, n)
}

// A contestSetup describes a scenario of several processes that use one lock file.
type contestSetup struct {
	scenario
	processes   int
	hold, think time.Duration
	figures     []figure
}

// A figure is a metric computed from the log of a contest.
type figure struct {
	metric
	of func(contestLog) float64
}

var (
	acquisitions  = figure{metric{"acquisitions", perSecond}, contestLog.rate}
	changes       = figure{metric{"changes of holder", perSecond}, contestLog.changes}
	leastShare    = figure{metric{"least share", share}, contestLog.leastShare}
	greatestShare = figure{metric{"greatest share", share}, contestLog.greatestShare}
	longWait      = figure{
		metric{"p99.9 wait", nanoseconds},
		func(log contestLog) float64 { return log.wait(0.999) },
	}
	passedBy = figure{
		metric{"p99.9 passed by", count},
		func(log contestLog) float64 { return log.passes(0.999) },
	}
)

// contestScenario returns the scenario of a setup.
func contestScenario(s *site, b budget, r contestSetup) scenario {
	sc := r.scenario
	sc.yardstick = blocking
	for _, f := range r.figures {
		sc.metrics = append(sc.metrics, f.metric)
	}
	for _, p := range waiting() {
		sc.contenders = append(sc.contenders, contender{
			name: p.name, note: p.note, mine: p.mine,
			turn: func() ([]float64, error) {
				log, err := s.contest(goProcesses(r.processes, p.name), r.hold, r.think, b.processes)
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

// cancellation returns the scenario of how soon a cancelled wait returns.
func cancellation(s *site, b budget) scenario {
	sc := scenario{
		key: "file-cancel", title: "lock files: cancel to return",
		about: fmt.Sprintf(
			"Another process holds the lock file; a wait is cancelled after about 1 ms. Time from the "+
				"cancellation to the return of the call, %d times in each round.",
			b.cancels,
		),
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

// cancel cancels n waits for a lock that a worker holds.
func (s *site) cancel(p filePeer, n int) ([]float64, error) {
	dir, err := s.newDir()
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
			return nil, fmt.Errorf("acquired a lock that another process holds")
		}
		delays[i] = int64(time.Since(start))
	}
	slices.Sort(delays)
	return []float64{quantile(delays, 0.99), quantile(delays, 0.5)}, nil
}

// holder returns a worker that holds the lock until it is killed.
func (s *site) holder(p filePeer, dir string) (*worker, error) {
	w, err := s.get(goProgram)
	if err != nil {
		return nil, err
	}
	if _, err := w.call(request{Do: doHold, Lock: p.name, Dir: dir}); err != nil {
		w.kill()
		return nil, err
	}
	return w, nil
}

// takeOver returns the scenario of how soon a waiter acquires the lock of a killed process.
func takeOver(s *site, b budget) scenario {
	sc := scenario{
		key: "file-takeover", title: "lock files: take-over from the killed",
		about: fmt.Sprintf("A process that holds the lock file is killed (SIGKILL) while another waits for "+
			"it. Time from the kill to the acquisition, %d times in each round.", b.kills),
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

// takeOver kills n holders.
func (s *site) takeOver(p filePeer, n int) ([]float64, error) {
	dir, err := s.newDir()
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

// mixed returns the scenario of Go and Python processes that use one lock file.
func mixed(s *site, b budget) scenario {
	sc := scenario{
		key: "file-python", title: "lock files: Go and Python together",
		about: "Two processes of this library with WithFcntl() and two Python processes, whose waiters " +
			"poll, hold one lock file for 200 µs and think for 200 µs. The fewest acquisitions of a " +
			"process divided by the most, and how many acquisitions there are.",
		metrics: []metric{
			{"least of busiest", share},
			{"acquisitions", perSecond},
			{"of these, Python's", perSecond},
		},
		ours: "lockutils + oslo.concurrency",
	}
	add := func(name, note string, mine bool, processes []process) {
		sc.contenders = append(sc.contenders, contender{
			name: name, note: note, mine: mine,
			turn: func() ([]float64, error) {
				log, err := s.contest(processes, 200*time.Microsecond, 200*time.Microsecond, 2*b.processes)
				if err != nil {
					return nil, err
				}
				counts, python := log.counts(), 0
				for i, p := range processes {
					if p.program == pythonProgram {
						python += counts[i]
					}
				}
				rate := log.rate()
				return []float64{
					float64(
						slices.Min(counts),
					) / float64(
						slices.Max(counts),
					), rate, rate * float64(python) / float64(len(log.uses)),
				}, nil
			},
		})
	}
	for _, lock := range []string{"oslo.concurrency", "fasteners"} {
		python := slices.Repeat([]process{{pythonProgram, lock}}, 2)
		add(lock+" alone", "four Python processes", false, slices.Concat(python, python))
		add("lockutils + "+lock, "two processes of each", true, slices.Concat(goProcesses(2, ourFcntl), python))
	}
	return sc
}
