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

// Under load, all clients act as fast as they can and wait for nothing but locks.

var allAtOnce = trials(
	allAtOnceTitle,
	append(
		allAtOnceTrials(goroutineContenders, loadClients),
		allAtOnceTrials(fileContenders, fileLoadClients)...)...)

func TestGoroutinesAllAtOnce(t *testing.T) { allAtOnce.run(t) }

const (
	allAtOnceTitle  = "goroutines, all at once"
	loadClients     = 8 // goroutines
	fileLoadClients = 6 // the same, with lock files
)

func allAtOnceTrials(contenders []contender, workers int) (list []trial) {
	for _, c := range contenders {
		list = append(list,
			trial{c.name, 1, func(t *testing.T, st *stats) { loadUntilEnd(t, st, c, workers) }})
	}
	return list
}

const (
	loadNames      = 2
	loadOperations = 10 // of each client in each round
	loadCancels    = 4
	// waitLimit bounds every wait: a longer one counts as a hang.
	waitLimit = 30 * time.Second
)

// A client uses locks and records what it does.
type client struct {
	number     int
	requests   []request
	subject    subject
	clock      clock
	random     *rand.Rand
	events     []event
	stale      []*held
	names      []string // of the locks
	operations int      // number of operations
	cancels    int      // of 20 operations, so many are waits that are soon cancelled
}

// loadUntilEnd runs rounds of clients on the same locks until the trial ends.
func loadUntilEnd(t *testing.T, st *stats, c contender, workers int) {
	s := c.open(t.TempDir())
	for n := 0; st.timeLeft() && !t.Failed(); n++ {
		if v := st.loadOnce(t, c, s, workers, n, *picturesFlag); v != nil {
			st.found(t, violations, 1, "%v", v)
		}
	}
}

// loadOnce runs one round and checks its histories. It returns the first violation.
func (st *stats) loadOnce(
	t testing.TB, c contender, s subject, count, n int, pictures string,
) *violation {
	t.Helper()
	var names []string
	for i := range loadNames {
		names = append(names, fmt.Sprintf("load-%d-%d", n, i))
	}
	clients := make([]*client, count)
	now := countingClock().unsteady()
	var begun sync.WaitGroup
	ended := make(chan struct{})
	for i := range clients {
		clients[i] = &client{
			number: i, requests: c.requests, subject: s, clock: now, names: names,
			operations: loadOperations, cancels: loadCancels,
			random: rand.New(rand.NewPCG(st.seed, uint64(n)<<8|uint64(i))),
		}
		begun.Go(clients[i].run)
	}
	go func() {
		begun.Wait()
		close(ended)
	}()
	if _, ok := await(ended, waitLimit); !ok {
		st.found(t, hangs, 1, "after %v some goroutines still wait:\n%s", waitLimit, stacks())
		return nil
	}
	var events []event
	for _, c := range clients {
		events = append(events, c.events...)
	}
	return st.checkAll(byLock(events), c.permits, pictures)
}

// checkAll checks the histories of all locks.
func (st *stats) checkAll(all map[string]history, permits int, pictures string) (first *violation) {
	for _, h := range all {
		st.count(operations, len(h))
		st.count(histories, 1)
		if v := check(h, permits, pictures); v != nil && first == nil {
			first = v
		}
	}
	return first
}

// await receives from c within the bound, and reports whether it did. It waits in parts, because
// after a suspension of the machine one timer expires before other goroutines have run.
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

func (c *client) run() {
	for range c.operations {
		c.act(c.names[c.random.IntN(len(c.names))])
	}
}

// act performs one random operation on the lock of that name.
func (c *client) act(name string) {
	r := c.requests[c.random.IntN(len(c.requests))]
	r.ID = c.number<<16 + len(c.events) + 1
	files, _ := c.subject.(remover)
	switch chance := c.random.IntN(20); {
	case chance < 10:
		c.acquire(name, r, context.Background())
	case chance < 10+c.cancels:
		ctx, cancel := context.WithTimeout(context.Background(),
			time.Duration(c.random.IntN(200))*time.Microsecond)
		c.acquire(name, r, ctx)
		cancel()
	case chance < 16 && len(c.stale) > 0:
		h := c.stale[c.random.IntN(len(c.stale))]
		c.release(h)
	case chance < 18 && files != nil:
		c.record(name, request{}, remove, inUse, func() error { return files.remove(name) })
	case chance < 19 && files != nil:
		c.record("", request{}, sweep, sweep, files.sweep)
	default:
		c.try(name, r)
	}
}

func (c *client) acquire(name string, r request, ctx context.Context) {
	c.acquireWith(name, r, func() (guard, error) { return c.subject.lock(ctx, name, r) })
}

func (c *client) try(name string, r request) {
	c.acquireWith(name, r, func() (guard, error) { return c.subject.try(name, r) })
}

// acquireWith acquires the lock, holds it for a while and releases it.
func (c *client) acquireWith(name string, r request, take func() (guard, error)) {
	var g guard
	taken := c.record(name, r, enter, refuse, func() (err error) { g, err = take(); return err })
	if !taken {
		return
	}
	for range c.random.IntN(4) {
		runtime.Gosched()
	}
	h := &held{g, r, name}
	c.release(h)
	c.stale = append(c.stale, h)
}

func (c *client) release(h *held) {
	c.record(h.name, h.request, leave, leave, h.guard.Unlock)
}

// record performs an operation, records its outcome, and reports whether it succeeded.
func (c *client) record(name string, r request, success, refusal action, operation func() error) bool {
	call := c.clock()
	err := operation()
	back := c.clock()
	done := success
	if err != nil {
		done = outcome(err, refusal)
	}
	c.events = append(c.events, event{name, c.number, done, r, call, back})
	return err == nil
}
