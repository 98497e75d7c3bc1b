package prove

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
)

// In a storm everybody acts as fast as it can, and nobody waits for anybody but for the locks.

var storms = trials(stormTitle, append(stormTrials(goroutineContenders, stormWorkers), stormTrials(fileContenders, fileStormWorkers)...)...)

func TestGoroutinesAllAtOnce(t *testing.T) { storms.run(t) }

const (
	stormTitle       = "goroutines, all at once"
	stormWorkers     = 8 // goroutines
	fileStormWorkers = 6 // the same where there are files
)

func stormTrials(contenders []contender, workers int) (list []trial) {
	for _, c := range contenders {
		list = append(list, trial{c.name, 1, func(t *testing.T, e *effort) { stormUntilEnd(t, e, c, workers) }})
	}
	return list
}

const (
	stormNames = 2
	stormDeeds = 10 // of each worker in a round
	stormWhims = 4
	// patience bounds every wait: who has not come back after that hangs.
	patience = 30 * time.Second
)

// A worker acts by itself and takes down what it does.
type worker struct {
	number  int
	asks    []request
	subject subject
	clock   clock
	random  *rand.Rand
	events  []event
	stale   []*held
	names   []string // of the locks
	deeds   int      // how many
	whims   int      // of 20 deeds so many are waits that are soon abandoned
}

// stormUntilEnd lets workers loose on the same locks, round by round.
func stormUntilEnd(t *testing.T, e *effort, c contender, workers int) {
	s := c.open(t.TempDir())
	for n := 0; e.goesOn() && !t.Failed(); n++ {
		if v := e.stormOnce(t, c, s, workers, n, *picturesFlag); v != nil {
			e.found(t, violations, 1, "%v", v)
		}
	}
}

// stormOnce makes the histories of one round and checks them. It returns the first violation.
func (e *effort) stormOnce(t testing.TB, c contender, s subject, count, n int, pictures string) *violation {
	t.Helper()
	var names []string
	for i := range stormNames {
		names = append(names, fmt.Sprintf("storm-%d-%d", n, i))
	}
	workers := make([]*worker, count)
	now := countingClock().unsteady()
	var begun sync.WaitGroup
	ended := make(chan struct{})
	for i := range workers {
		workers[i] = &worker{
			number: i, asks: c.asks, subject: s, clock: now, names: names, deeds: stormDeeds, whims: stormWhims,
			random: rand.New(rand.NewPCG(e.seed, uint64(n)<<8|uint64(i))),
		}
		begun.Go(workers[i].work)
	}
	go func() {
		begun.Wait()
		close(ended)
	}()
	if _, ok := await(ended, patience); !ok {
		e.found(t, hangs, 1, "after %v some of the goroutines still wait:\n%s", patience, stacks())
		return nil
	}
	var events []event
	for _, w := range workers {
		events = append(events, w.events...)
	}
	return e.checkAll(byLock(events), c.permits, pictures)
}

// checkAll checks the histories of all locks.
func (e *effort) checkAll(all map[string]history, permits int, pictures string) (first *violation) {
	for _, h := range all {
		e.count(operations, len(h))
		e.count(histories, 1)
		if v := check(h, permits, pictures); v != nil && first == nil {
			first = v
		}
	}
	return first
}

// await receives from c, if that comes about within the bound. It waits in parts: a machine that has stood still lets a timer
// go off as soon as it goes on, before anybody else has had a chance.
func await[T any](c <-chan T, bound time.Duration) (received T, ok bool) {
	const parts = 10
	for range parts {
		select {
		case received = <-c:
			return received, true
		case <-time.After(bound / parts):
		}
	}
	return received, false
}

func stacks() []byte {
	text := make([]byte, 1<<20)
	return text[:runtime.Stack(text, true)]
}

func (w *worker) work() {
	for range w.deeds {
		w.act(w.names[w.random.IntN(len(w.names))])
	}
}

// act does something to the lock of that name.
func (w *worker) act(name string) {
	r := w.asks[w.random.IntN(len(w.asks))]
	r.ID = w.number<<16 + len(w.events) + 1
	files, _ := w.subject.(remover)
	switch chance := w.random.IntN(20); {
	case chance < 10:
		w.take(name, r, context.Background())
	case chance < 10+w.whims:
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(w.random.IntN(200))*time.Microsecond)
		w.take(name, r, ctx)
		cancel()
	case chance < 16 && len(w.stale) > 0:
		h := w.stale[w.random.IntN(len(w.stale))]
		w.release(h)
	case chance < 18 && files != nil:
		w.do(name, request{}, remove, inUse, func() error { return files.remove(name) })
	case chance < 19 && files != nil:
		w.do("", request{}, sweep, sweep, files.sweep)
	default:
		w.try(name, r)
	}
}

func (w *worker) take(name string, r request, ctx context.Context) {
	w.hold(name, r, func() (guard, error) { return w.subject.lock(ctx, name, r) })
}

func (w *worker) try(name string, r request) {
	w.hold(name, r, func() (guard, error) { return w.subject.try(name, r) })
}

// hold takes the lock, holds it for a while and releases it.
func (w *worker) hold(name string, r request, take func() (guard, error)) {
	var g guard
	taken := w.do(name, r, enter, refuse, func() (err error) { g, err = take(); return err })
	if !taken {
		return
	}
	for range w.random.IntN(4) {
		runtime.Gosched()
	}
	h := &held{g, r, name}
	w.release(h)
	w.stale = append(w.stale, h)
}

func (w *worker) release(h *held) {
	w.do(h.name, h.request, leave, leave, h.guard.Unlock)
}

// do takes down what comes of an operation, and reports whether that was success.
func (w *worker) do(name string, r request, success, refusal action, operation func() error) bool {
	call := w.clock()
	err := operation()
	back := w.clock()
	done := success
	if err != nil {
		done = outcome(err, refusal)
	}
	w.events = append(w.events, event{name, w.number, done, r, call, back})
	return err == nil
}
