package drivertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/lockutils/lockutils/driver"
)

// An event is a grant or a release, which took place at some instant between its call and its
// return.
type event struct {
	id      int // of the request
	release bool
	shared  bool
	token   uint64
}

func (e event) String() string {
	if e.release {
		return fmt.Sprintf("release #%d", e.id)
	}
	mode := "exclusive"
	if e.shared {
		mode = "shared"
	}
	return fmt.Sprintf("grant #%d %s, token %d", e.id, mode, e.token)
}

// A state is what a lock is in, between two events. It is never changed, only replaced.
type state struct {
	holders   []int // sorted
	exclusive bool
	token     uint64 // the largest of all holds so far
}

// after reports whether the event can happen, and the state after it.
func (s state) after(e event) (bool, state) {
	i, holds := slices.BinarySearch(s.holders, e.id)
	switch {
	case e.release:
		if !holds {
			return false, s
		}
		return true, state{slices.Delete(slices.Clone(s.holders), i, i+1), false, s.token}
	case len(s.holders) > 0 && (s.exclusive || !e.shared):
		return false, s
	case e.token != 0 && !e.shared && e.token <= s.token:
		return false, s
	default:
		return true, state{slices.Insert(slices.Clone(s.holders), i, e.id), !e.shared, max(s.token, e.token)}
	}
}

var lockModel = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(s, in, _ any) (bool, any) { return s.(state).after(in.(event)) },
	Equal: func(a, b any) bool {
		s, t := a.(state), b.(state)
		return slices.Equal(s.holders, t.holders) && s.exclusive == t.exclusive && s.token == t.token
	},
	DescribeOperation: func(in, _ any) string { return in.(event).String() },
}

// A recorder collects the history of one lock.
type recorder struct {
	mu     sync.Mutex
	begun  time.Time
	events []porcupine.Operation
	ids    int
}

func (r *recorder) now() int64 { return int64(time.Since(r.begun)) }

func (r *recorder) add(client int, e event, call, end int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, porcupine.Operation{ClientId: client, Input: e, Call: call, Return: end})
}

func (r *recorder) newID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids++
	return r.ids
}

// check returns an error if no order of the events explains them.
func (r *recorder) check() error {
	switch porcupine.CheckOperationsTimeout(lockModel, r.events, time.Minute) {
	case porcupine.Illegal:
		return fmt.Errorf("no lock has this history:\n%v", r)
	default: // or undecided
		return nil
	}
}

func (r *recorder) String() string {
	slices.SortFunc(r.events, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var b strings.Builder
	for _, e := range r.events {
		fmt.Fprintf(&b, "%12v..%-12v client %-3d %v\n",
			time.Duration(e.Call), time.Duration(e.Return), e.ClientId, e.Input)
	}
	return b.String()
}

// histories has clients of four processes acquire, abandon and release one lock at random, again
// and again, and checks each history.
func histories(s *stage) error {
	done, operations := 0, 0
	for ; s.again(done, 10); done++ {
		r := &recorder{begun: time.Now()}
		errs := make(chan error)
		const clients = 12
		for c := range clients {
			p, random := s.process(c%4), rand.New(rand.NewPCG(s.random.Uint64(), 0))
			go func() { errs <- s.client(c, p, s.name(done), random, r) }()
		}
		var all error
		for range clients {
			all = errors.Join(all, <-errs)
		}
		if err := errors.Join(all, r.check()); err != nil {
			return err
		}
		operations += len(r.events)
	}
	s.t.Logf("%d histories, %d operations", done, operations)
	return nil
}

// client is one client of a history.
func (s *stage) client(c int, p Process, name string, random *rand.Rand, r *recorder) error {
	for range 6 {
		q := driver.Request{
			Name:   name,
			Shared: p.Can().Has(driver.Shared) && random.IntN(2) == 0,
			NoWait: random.IntN(4) == 0,
		}
		ctx, cancel := context.WithTimeout(s.ctx, s.patience)
		if random.IntN(4) == 0 {
			cancel()
			ctx, cancel = context.WithTimeout(s.ctx, time.Duration(random.IntN(20))*time.Millisecond)
		}
		id, call := r.newID(), r.now()
		h, err := p.Acquire(ctx, q)
		end := r.now()
		cancel()
		switch {
		case errors.Is(err, driver.ErrLocked), errors.Is(err, context.DeadlineExceeded):
			continue
		case err != nil:
			return err
		}
		r.add(c, event{id: id, shared: q.Shared, token: h.Token()}, call, end)
		time.Sleep(time.Duration(random.IntN(2000)) * time.Microsecond)
		call = r.now()
		if err := s.release(h); err != nil {
			return err
		}
		r.add(c, event{id: id, release: true}, call, r.now())
	}
	return nil
}
