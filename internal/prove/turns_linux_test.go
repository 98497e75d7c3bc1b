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

// Fair order among processes: one process after the other asks for a lock, each only when the one before is known to
// stand in line, while those who hold it release it, and some are killed on the way.

var turns = trials("processes, in order of arrival", forSystemEngine(
	trial{"Lock with External and Fair", 2, func(t *testing.T, e *effort) { takeTurns(t, e, []request{fairAsk}) }},
	trial{"Lock with External, Fair and Shared", 2, func(t *testing.T, e *effort) { takeTurns(t, e, fairAsks) }},
)...)

func TestProcessesInOrderOfArrival(t *testing.T) { turns.run(t) }

const (
	turnProcesses = 5
	turnSteps     = 24
)

// A turn is an order to a process: to ask for the lock, or else to release it.
type turn struct {
	Dir, Name string
	Ask       bool
	Request   request
}

// A moment is the answer: when the call began and ended.
type moment struct{ Call, Return int64 }

func init() { roles["turns"] = serveTurns }

func serveTurns() error {
	var held guard
	return serve(func(o turn) (m moment, err error) {
		m.Call = monotonic()
		if o.Ask {
			held, err = fileOptions()(o.Dir).lock(context.Background(), o.Name, o.Request)
		} else {
			err = held.Unlock()
		}
		m.Return = monotonic()
		return m, err
	})
}

// A line is the history of one lock in the making.
type line struct {
	t       *testing.T
	e       *effort
	dir     string
	name    string
	random  *rand.Rand
	places  [turnProcesses]*standing
	history history
	doubts  []doubt
	last    int
}

// A doubt is a request that was killed: perhaps it had just been granted.
type doubt struct {
	withdrawal int   // index of the event in the history
	from       int64 // it was not granted before
}

// maxDoubts bounds the kills of waiters in a history, since each doubles the histories to check.
const maxDoubts = 3

// standing is a process and what it does.
type standing struct {
	*peer
	request  request
	asked    bool
	holds    bool
	call     int64
	seen     [2]int64 // it stood in line when first looked at, which was between these times; 0 before that
	answered chan answered
}

type answered struct {
	moment
	err error
}

func takeTurns(t *testing.T, e *effort, asks []request) {
	l := &line{t: t, e: e, dir: t.TempDir()}
	for i := range l.places {
		l.places[i] = &standing{peer: startPeer(t, "turns")}
		_, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", l.places[i].cmd.Process.Pid))
		needs(t, "order of arrival", err)
	}
	for n := 0; e.goesOn() && !t.Failed(); n++ {
		l.name, l.random, l.history, l.doubts = fmt.Sprintf("turns-%d", n), e.random(n), nil, nil
		for range turnSteps {
			l.step(asks)
		}
		for l.anybody() && !t.Failed() {
			l.releaseOne()
		}
		e.count(histories, 1)
		e.count(operations, len(l.history))
		if v := l.check(); v != nil {
			e.found(t, violations, 1, "%v", v)
		}
	}
	if !t.Failed() {
		e.expectSwept(t, l.dir)
	}
}

// check returns nil if the history is legal for some way to settle the doubts.
func (l *line) check() *violation {
	for granted := range 1 << len(l.doubts) {
		h := slices.Clone(l.history)
		for i, d := range l.doubts {
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
	return check(l.history, 1, *picturesFlag)
}

// step makes one process do something, and waits until it is known what has come of it.
func (l *line) step(asks []request) {
	i := l.random.IntN(turnProcesses)
	p := l.places[i]
	switch chance := l.random.IntN(40); {
	case l.t.Failed():
		return
	case chance == 0 && (p.asked && len(l.doubts) < maxDoubts || p.holds):
		l.killAt(i)
	case p.holds:
		l.release(i)
	case !p.asked:
		l.last++
		r := asks[l.random.IntN(len(asks))]
		r.ID = l.last
		l.ask(i, r)
	}
	l.settle()
}

func (l *line) ask(i int, r request) {
	p := l.places[i]
	p.request, p.asked, p.seen = r, true, [2]int64{}
	p.call = monotonic()
	p.order(l.t, turn{Dir: l.dir, Name: l.name, Ask: true, Request: r})
	answers := make(chan answered, 1)
	p.answered = answers
	peer := p.peer
	go func() {
		var a answered
		a.err = peer.out.Decode(&a.moment)
		answers <- a
	}()
}

func (l *line) release(i int) {
	p := l.places[i]
	p.holds = false
	p.order(l.t, turn{})
	var m moment
	if err := p.answer(&m, patience); err != nil {
		l.t.Fatal(err)
	}
	l.record(i, leave, m.Call, m.Return)
}

// killAt kills a process and puts a new one in its place.
func (l *line) killAt(i int) {
	p := l.places[i]
	done := leave
	if p.asked {
		done = withdraw
		l.record(i, arrive, p.call, p.seen[1])
	}
	call := monotonic()
	p.kill()
	l.record(i, done, call, monotonic())
	if p.asked {
		l.doubts = append(l.doubts, doubt{len(l.history) - 1, p.seen[0]})
	}
	l.e.count(kills, 1)
	if p.asked {
		<-p.answered
	}
	l.places[i] = &standing{peer: startPeer(l.t, "turns")}
}

// settle waits until each process that has asked has got the lock or stands in line.
func (l *line) settle() {
	for start := time.Now(); !l.settled(); time.Sleep(20 * time.Microsecond) {
		if time.Since(start) > patience {
			l.e.found(l.t, hangs, 1, "after %v a process neither holds the lock nor stands in line", patience)
			return
		}
	}
}

func (l *line) settled() bool {
	for i, p := range l.places {
		if p.asked {
			select {
			case a := <-p.answered:
				l.granted(i, a)
			default:
			}
		}
		if p.asked && p.seen[0] == 0 {
			before := monotonic()
			if blockedThreads(p.cmd.Process.Pid) == 0 {
				return false
			}
			p.seen = [2]int64{before, monotonic()}
		}
	}
	return true
}

func (l *line) granted(i int, a answered) {
	p := l.places[i]
	if a.err != nil {
		l.t.Fatal(a.err, p.lastWords())
	}
	arrived, from := p.seen[1], p.seen[0]
	if from == 0 {
		arrived, from = a.Return, a.Call
	}
	l.record(i, arrive, p.call, min(arrived, a.Return))
	p.asked, p.holds = false, true
	l.record(i, enter, from, a.Return)
}

// releaseOne waits until somebody holds the lock, and makes it release it.
func (l *line) releaseOne() {
	for start := time.Now(); ; time.Sleep(20 * time.Microsecond) {
		l.settle()
		for i, p := range l.places {
			if p.holds {
				l.release(i)
				return
			}
		}
		if time.Since(start) > patience {
			l.e.found(l.t, hangs, 1, "after %v nobody has been granted a lock that is free", patience)
			return
		}
	}
}

func (l *line) anybody() bool {
	for _, p := range l.places {
		if p.asked || p.holds {
			return true
		}
	}
	return false
}

func (l *line) record(i int, done action, call, back int64) {
	l.history = append(l.history, event{l.name, i, done, l.places[i].request, call, back})
}
