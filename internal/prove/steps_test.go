package prove

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils"
)

// Step by step: a few goroutines do something at the same time, then all come to rest before the next step. At rest it
// is known who waits, and so in which order the fair ones must be served; and whoever waits must have a reason, or else
// has missed a wake-up.

var steps = trials("goroutines, step by step", stepTrials()...)

func TestGoroutinesStepByStep(t *testing.T) { steps.run(t) }

func stepTrials() (list []trial) {
	for _, c := range goroutineContenders {
		list = append(list, trial{c.name, 2, func(t *testing.T, e *effort) { playUntilEnd(t, e, c) }})
	}
	return list
}

func playUntilEnd(t *testing.T, e *effort, c contender) {
	for n := 0; e.goesOn() && !t.Failed(); n++ {
		if v := e.playOnce(t, c, n, *picturesFlag); v != nil {
			e.found(t, violations, 1, "%v", v)
		}
	}
}

// playOnce makes a history and checks it.
func (e *effort) playOnce(t *testing.T, c contender, n int, pictures string) *violation {
	p := &play{contender: c, name: fmt.Sprintf("steps-%d", n), subject: c.open(""), clock: countingClock().unsteady(), random: e.random(n)}
	synctest.Test(t, func(*testing.T) { p.perform() })
	e.count(histories, 1)
	e.count(operations, len(p.events))
	return check(p.events, c.permits, pictures)
}

const (
	playSeats = 5  // clients
	playSteps = 12 // until everybody is sent home
	atOnce    = 3  // at most so many clients act in a step
)

// A play is one history in the making.
type play struct {
	contender contender
	name      string
	subject   subject
	clock     clock
	random    *rand.Rand
	seats     [playSeats]seat
	stale     []*held // guards that have been unlocked; anybody may do it again
	requests  int

	mu     sync.Mutex
	events history // guarded by mu
}

// A seat is what a client is about to do. Its goroutine writes it, and the play reads it when all are at rest.
type seat struct {
	asked *asked // the request under way, or nil
	held  *held  // the lock held, or nil
}

type asked struct {
	request request
	call    int64
	known   int64 // when it was first known to wait; 0 if it has not been seen waiting
	cancel  context.CancelFunc
	ended   bool
	back    int64 // when it ended
	guard   guard
	err     error
}

type held struct {
	guard   guard
	request request
	name    string // of the lock
}

// perform is run in a bubble.
func (p *play) perform() {
	for range playSteps {
		for _, i := range p.random.Perm(playSeats)[:1+p.random.IntN(atOnce)] {
			p.act(i)
		}
		p.rest()
		if p.random.IntN(4) == 0 {
			time.Sleep(2 * time.Millisecond) // so that those who wait have waited for long
		}
	}
	for p.releaseAll() {
		p.rest()
	}
	for i := range p.seats {
		if a := p.seats[i].asked; a != nil {
			a.cancel() // somebody whom nobody woke
		}
	}
}

// act lets a client do something.
func (p *play) act(i int) {
	s := &p.seats[i]
	chance := p.random.IntN(10)
	switch {
	case s.asked != nil && chance < 4:
		s.asked.cancel()
	case s.asked != nil:
	case s.held != nil:
		p.unlock(i)
	case chance < 2 && len(p.stale) > 0:
		p.release(i, p.stale[p.random.IntN(len(p.stale))])
	case chance < 4:
		p.try(i)
	default:
		p.ask(i)
	}
}

func (p *play) newRequest() request {
	r := p.contender.asks[p.random.IntN(len(p.contender.asks))]
	p.requests++
	r.ID = p.requests
	return r
}

func (p *play) ask(i int) {
	ctx, cancel := context.WithCancel(context.Background())
	a := &asked{request: p.newRequest(), cancel: cancel}
	p.seats[i].asked = a
	go func() {
		defer cancel()
		a.call = p.clock()
		a.guard, a.err = p.subject.lock(ctx, p.name, a.request)
		a.back = p.clock()
		a.ended = true
	}()
}

func (p *play) try(i int) {
	r := p.newRequest()
	s := &p.seats[i]
	go func() {
		call := p.clock()
		g, err := p.subject.try(p.name, r)
		back := p.clock()
		if err != nil {
			p.record(i, outcome(err, refuse), r, call, back)
			return
		}
		p.record(i, enter, r, call, back)
		s.held = &held{g, r, p.name}
	}()
}

// outcome says what to record for an error: a refusal where that is the reason.
func outcome(err error, refusal action) action {
	switch {
	case errors.Is(err, lockutils.ErrLocked):
		return refusal
	case errors.Is(err, lockutils.ErrNotHeld):
		return notHeld
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return abandon
	}
	panic(err)
}

func (p *play) unlock(i int) {
	h := p.seats[i].held
	p.seats[i].held = nil
	p.stale = append(p.stale, h)
	p.release(i, h)
}

func (p *play) release(i int, h *held) {
	go func() {
		call := p.clock()
		err := h.guard.Unlock()
		done := leave
		if err != nil {
			done = outcome(err, refuse)
		}
		p.record(i, done, h.request, call, p.clock())
	}()
}

// releaseAll makes all holders release, and reports whether there were any.
func (p *play) releaseAll() (any bool) {
	for i := range p.seats {
		if p.seats[i].held != nil {
			p.unlock(i)
			any = true
		}
	}
	return any
}

// rest waits until nothing moves any more, and takes down what is known then.
func (p *play) rest() {
	synctest.Wait()
	for i := range p.seats {
		s := &p.seats[i]
		a := s.asked
		switch {
		case a == nil:
		case a.ended:
			p.conclude(i, a)
			s.asked = nil
			if a.err == nil {
				s.held = &held{a.guard, a.request, p.name}
			}
		default:
			now := p.clock()
			if a.known == 0 {
				a.known = now
				p.record(i, arrive, a.request, a.call, now)
			}
			p.record(i, wait, a.request, now, now)
		}
	}
}

// conclude records a request that has ended. If it was not seen waiting it has arrived and ended in one go.
func (p *play) conclude(i int, a *asked) {
	from := a.known
	if from == 0 {
		from = a.call
		p.record(i, arrive, a.request, a.call, a.back)
	}
	if a.err == nil {
		p.record(i, enter, a.request, from, a.back)
		return
	}
	outcome(a.err, refuse)
	// It may have left before it was cancelled: if it was granted just then, and gave the lock back when it saw that.
	p.record(i, withdraw, a.request, from, a.back)
}

func (p *play) record(client int, done action, r request, call, back int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, event{p.name, client, done, r, call, back})
}
