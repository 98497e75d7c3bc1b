package prove

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

// Fair order among processes: processes request a lock one after another, each once the request
// before it is known to wait. Meanwhile holders release the lock, and some processes are killed.

var inOrder = trials("processes, in order of arrival", forSystemEngine(
	trial{
		"Lock with External and Fair",
		2,
		func(t *testing.T, st *stats) { orderUntilEnd(t, st, []request{fair}) },
	},
	trial{
		"Lock with External, Fair and Shared",
		2,
		func(t *testing.T, st *stats) { orderUntilEnd(t, st, fairRequests) },
	},
)...)

func TestProcessesInOrderOfArrival(t *testing.T) { inOrder.run(t) }

const (
	orderProcesses = 5
	orderSteps     = 24
)

// A orderRequest tells a process to acquire the lock, or else to release it.
type orderRequest struct {
	Dir, Name string
	Acquire   bool
	Request   request
}

// A orderReply says when the call began and ended.
type orderReply struct{ Call, Return int64 }

func init() { roles["order"] = serveOrder }

func serveOrder() error {
	var held guard
	return serve(func(o orderRequest) (m orderReply, err error) {
		m.Call = monotonic()
		if o.Acquire {
			held, err = fileOptions()(o.Dir).lock(context.Background(), o.Name, o.Request)
		} else {
			err = held.Unlock()
		}
		m.Return = monotonic()
		return m, err
	})
}

// An orderRun builds the history of one lock.
type orderRun struct {
	t         *testing.T
	stats     *stats
	dir       string
	name      string
	random    *rand.Rand
	processes [orderProcesses]*orderProcess
	history   history
	uncertain []uncertainKill
	last      int
}

// An uncertainKill is the kill of a waiter that may have been granted the lock just before.
type uncertainKill struct {
	withdrawal int   // index of the event in the history
	from       int64 // earliest time of the grant
}

// maxUncertain bounds the kills of waiters in a history, since each doubles the number of checks.
const maxUncertain = 3

// An orderProcess is a process and its state.
type orderProcess struct {
	*peer
	request request
	waiting bool
	holds   bool
	call    int64
	seen    [2]int64 // it stood in line when first looked at, which was between these times; 0 before that
	result  chan orderResult
}

type orderResult struct {
	orderReply
	err error
}

func orderUntilEnd(t *testing.T, st *stats, requests []request) {
	run := &orderRun{t: t, stats: st, dir: t.TempDir()}
	for i := range run.processes {
		run.processes[i] = &orderProcess{peer: startPeer(t, "order")}
		_, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", run.processes[i].cmd.Process.Pid))
		needs(t, "order of arrival", err)
	}
	for n := 0; st.timeLeft() && !t.Failed(); n++ {
		run.name, run.random, run.history, run.uncertain = fmt.Sprintf("order-%d", n), st.random(n), nil, nil
		for range orderSteps {
			run.step(requests)
		}
		for run.unfinished() && !t.Failed() {
			run.releaseOne()
		}
		st.count(histories, 1)
		st.count(operations, len(run.history))
		if v := run.check(); v != nil {
			st.found(t, violations, 1, "%v", v)
		}
	}
	if !t.Failed() {
		st.expectSwept(t, run.dir)
	}
}

// check returns nil if the history is legal for some outcome of the uncertain kills.
func (run *orderRun) check() *violation {
	for granted := range 1 << len(run.uncertain) {
		h := slices.Clone(run.history)
		for i, d := range run.uncertain {
			if granted&(1<<i) == 0 {
				continue
			}
			held := h[d.withdrawal]
			h[d.withdrawal].Action = leave
			held.Action, held.Call = enter, d.from
			h = append(h, held)
		}
		if h.legal(1) {
			return nil
		}
	}
	return check(run.history, 1, *picturesFlag)
}

// step makes one process act and waits until the outcome is known.
func (run *orderRun) step(requests []request) {
	i := run.random.IntN(orderProcesses)
	p := run.processes[i]
	switch chance := run.random.IntN(40); {
	case run.t.Failed():
		return
	case chance == 0 && (p.waiting && len(run.uncertain) < maxUncertain || p.holds):
		run.killAt(i)
	case p.holds:
		run.release(i)
	case !p.waiting:
		run.last++
		r := requests[run.random.IntN(len(requests))]
		r.ID = run.last
		run.acquire(i, r)
	}
	run.settle()
}

func (run *orderRun) acquire(i int, r request) {
	p := run.processes[i]
	p.request, p.waiting, p.seen = r, true, [2]int64{}
	p.call = monotonic()
	p.send(run.t, orderRequest{Dir: run.dir, Name: run.name, Acquire: true, Request: r})
	answers := make(chan orderResult, 1)
	p.result = answers
	peer := p.peer
	go func() {
		var a orderResult
		a.err = peer.out.Decode(&a.orderReply)
		answers <- a
	}()
}

func (run *orderRun) release(i int) {
	p := run.processes[i]
	p.holds = false
	p.send(run.t, orderRequest{})
	var m orderReply
	if err := p.receive(&m, waitLimit); err != nil {
		run.t.Fatal(err)
	}
	run.record(i, leave, m.Call, m.Return)
}

// killAt kills a process and starts another in its place.
func (run *orderRun) killAt(i int) {
	p := run.processes[i]
	done := leave
	if p.waiting {
		done = withdraw
		run.record(i, arrive, p.call, p.seen[1])
	}
	call := monotonic()
	p.kill()
	run.record(i, done, call, monotonic())
	if p.waiting {
		run.uncertain = append(run.uncertain, uncertainKill{len(run.history) - 1, p.seen[0]})
	}
	run.stats.count(kills, 1)
	if p.waiting {
		<-p.result
	}
	run.processes[i] = &orderProcess{peer: startPeer(run.t, "order")}
}

// settle waits until each process with a request holds the lock or waits for it.
func (run *orderRun) settle() {
	for start := time.Now(); !run.settled(); time.Sleep(20 * time.Microsecond) {
		if time.Since(start) > waitLimit {
			run.stats.found(run.t, hangs, 1,
				"in %v a process has neither acquired the lock nor begun to wait", waitLimit)
			return
		}
	}
}

func (run *orderRun) settled() bool {
	for i, p := range run.processes {
		if p.waiting {
			select {
			case a := <-p.result:
				run.granted(i, a)
			default:
			}
		}
		if p.waiting && p.seen[0] == 0 {
			before := monotonic()
			if blockedThreads(p.cmd.Process.Pid) == 0 {
				return false
			}
			p.seen = [2]int64{before, monotonic()}
		}
	}
	return true
}

func (run *orderRun) granted(i int, a orderResult) {
	p := run.processes[i]
	if a.err != nil {
		run.t.Fatal(a.err, p.stderr())
	}
	arrived, from := p.seen[1], p.seen[0]
	if from == 0 {
		arrived, from = a.Return, a.Call
	}
	run.record(i, arrive, p.call, min(arrived, a.Return))
	p.waiting, p.holds = false, true
	run.record(i, enter, from, a.Return)
}

// releaseOne waits for a holder and makes it release the lock.
func (run *orderRun) releaseOne() {
	for start := time.Now(); ; time.Sleep(20 * time.Microsecond) {
		run.settle()
		for i, p := range run.processes {
			if p.holds {
				run.release(i)
				return
			}
		}
		if time.Since(start) > waitLimit {
			run.stats.found(run.t, hangs, 1, "no process acquired a free lock in %v", waitLimit)
			return
		}
	}
}

func (run *orderRun) unfinished() bool {
	for _, p := range run.processes {
		if p.waiting || p.holds {
			return true
		}
	}
	return false
}

func (run *orderRun) record(i int, done action, call, back int64) {
	run.history = append(run.history, event{run.name, i, done, run.processes[i].request, call, back})
}
