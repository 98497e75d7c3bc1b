package drivertest

import (
	"cmp"
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
	"github.com/lockutils/lockutils/driver/boottime"
)

// An event is a grant or a release, which took place at some instant between its call and its
// return.
type event struct {
	ID      int // of the request
	Release bool
	Shared  bool
	Token   uint64
}

func (e event) String() string {
	if e.Release {
		return fmt.Sprintf("release #%d", e.ID)
	}
	mode := "exclusive"
	if e.Shared {
		mode = "shared"
	}
	return fmt.Sprintf("grant #%d %s, token %d", e.ID, mode, e.Token)
}

// A state is what a lock is in, between two events. It is never changed, only replaced.
type state struct {
	holders   []int // sorted
	exclusive bool
	token     uint64 // the largest of all holds so far
}

// after reports whether the event can happen, and the state after it.
func (s state) after(e event) (bool, state) {
	i, holds := slices.BinarySearch(s.holders, e.ID)
	switch {
	case e.Release:
		if !holds {
			return false, s
		}
		return true, state{slices.Delete(slices.Clone(s.holders), i, i+1), false, s.token}
	case len(s.holders) > 0 && (s.exclusive || !e.Shared):
		return false, s
	case e.Token != 0 && !e.Shared && e.Token <= s.token:
		return false, s
	default:
		return true, state{slices.Insert(slices.Clone(s.holders), i, e.ID), !e.Shared, max(s.token, e.Token)}
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

// An operation is an event as one client saw it, by readings of boottime.Now.
type operation struct {
	event
	Client       int
	Call, Return time.Duration
}

// A recorder collects the history of one lock.
type recorder struct {
	mu         sync.Mutex
	operations []operation
	ids        int // the last one that was given out
}

func (r *recorder) add(client int, e event, call time.Duration) {
	end := boottime.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.operations = append(r.operations, operation{e, client, call, end})
}

func (r *recorder) newID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids++
	return r.ids
}

// checkHistory returns an error if no order of the events explains them.
func checkHistory(history []operation) error {
	events := make([]porcupine.Operation, len(history))
	for i, o := range history {
		events[i] = porcupine.Operation{
			ClientId: o.Client, Input: o.event, Call: int64(o.Call), Return: int64(o.Return),
		}
	}
	if porcupine.CheckOperationsTimeout(lockModel, events, time.Minute) != porcupine.Illegal {
		return nil // or undecided
	}
	slices.SortFunc(history, func(a, b operation) int { return cmp.Compare(a.Call, b.Call) })
	var b strings.Builder
	for _, o := range history {
		begun := history[0].Call
		fmt.Fprintf(&b, "%12v..%-12v client %-3d %v\n", o.Call-begun, o.Return-begun, o.Client, o.event)
	}
	return fmt.Errorf("no lock has this history:\n%s", &b)
}

// repeat checks the histories that play returns, as often as the flags say.
func (s *stage) repeat(play func(i int) ([]operation, error)) error {
	done, operations := 0, 0
	for ; s.again(done, 10); done++ {
		history, err := play(done)
		if err = cmp.Or(err, checkHistory(history)); err != nil {
			return err
		}
		operations += len(history)
	}
	s.t.Logf("%d histories, %d operations", done, operations)
	return nil
}

// Each of the four processes of a history has so many clients.
const clients = 3

// histories has clients of four processes acquire, abandon and release one lock at random, again
// and again, and checks each history.
func histories(s *stage) error {
	return s.repeat(func(i int) ([]operation, error) {
		r := &recorder{}
		errs := make(chan error)
		for n := range 4 {
			p, random := s.process(n), rand.New(rand.NewPCG(s.random.Uint64(), 0))
			go func() { errs <- s.play(n, p, s.name(i), random, r) }()
		}
		var all error
		for range 4 {
			all = errors.Join(all, <-errs)
		}
		return r.operations, all
	})
}

// play has the clients of process n play their part in a history.
func (s *stage) play(n int, p Process, name string, random *rand.Rand, r *recorder) error {
	errs := make(chan error)
	for c := range clients {
		random := rand.New(rand.NewPCG(random.Uint64(), 0))
		go func() { errs <- s.client(n*clients+c, p, name, random, r) }()
	}
	var all error
	for range clients {
		all = errors.Join(all, <-errs)
	}
	return all
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
		id, call := r.newID(), boottime.Now()
		h, err := p.Acquire(ctx, q)
		if err == nil {
			r.add(c, event{ID: id, Shared: q.Shared, Token: h.Token()}, call)
		}
		granted := boottime.Now()
		cancel()
		switch {
		case errors.Is(err, driver.ErrLocked), errors.Is(err, context.DeadlineExceeded):
			continue
		case err != nil:
			return err
		}
		time.Sleep(time.Duration(random.IntN(2000)) * time.Microsecond)
		call = boottime.Now()
		switch err := s.release(h); {
		case errors.Is(err, driver.ErrLost): // at any instant, if the machine was too busy to renew it
			call = granted
		case err != nil:
			return err
		}
		r.add(c, event{ID: id, Release: true}, call)
	}
	return nil
}
