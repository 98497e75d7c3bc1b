package prove

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
)

// A mode says whom a holder excludes.
type mode int

const (
	exclusive mode = iota
	shared
)

func (m mode) String() string { return [...]string{"exclusive", "shared"}[m] }

// An action is what an event says has happened to a lock at some instant between its call and its return.
type action int

const (
	arrive   action = iota // a request has taken its place in the queue
	enter                  // a request has been granted
	withdraw               // a request has left the queue without the lock
	leave                  // a holder has released the lock
	notHeld                // a guard was told that it holds nothing
	refuse                 // a try was told that the lock is taken
	wait                   // at a moment when nothing moves, a request is still waiting
	remove                 // the lock file has been removed, or was found missing
	inUse                  // the removal was told that the lock is taken
	abandon                // a wait has been cancelled; who may have queued, when is not known
	sweep                  // unused lock files have been removed
)

func (a action) String() string {
	return [...]string{"arrive", "enter", "withdraw", "leave", "not held", "refused", "waits", "remove", "in use", "abandon", "sweep"}[a]
}

// A request is one attempt to get a lock, and its hold if it succeeds.
type request struct {
	ID   int
	Mode mode
	Fair bool
}

// An event is one entry of a history.
type event struct {
	Lock         string // its name; "" for an event that concerns all locks
	Client       int    // who did it
	Action       action
	Request      request
	Call, Return int64 // when it began and had ended; it took place between them
}

func (e event) String() string {
	s := e.Action.String()
	switch e.Action {
	case remove, inUse, sweep:
		return s
	case arrive, enter, refuse:
		s += " " + e.Request.Mode.String()
		if e.Request.Fair {
			s += " fair"
		}
	}
	return fmt.Sprintf("%s #%d", s, e.Request.ID)
}

// A history is what happened to one lock.
type history []event

// String lists the events in the order of their calls, with the times counted from the first.
func (h history) String() string {
	h = slices.Clone(h)
	slices.SortStableFunc(h, func(a, b event) int { return cmp.Compare(a.Call, b.Call) })
	var b strings.Builder
	for _, e := range h {
		fmt.Fprintf(&b, "%8d..%-8d client %-3d %v\n", e.Call-h[0].Call, e.Return-h[0].Call, e.Client, e)
	}
	return b.String()
}

// byLock splits events into one history for each lock. Those that concern all locks are in each.
func byLock(events []event) map[string]history {
	histories := map[string]history{}
	for _, e := range events {
		if e.Lock != "" {
			histories[e.Lock] = append(histories[e.Lock], e)
		}
	}
	for _, e := range events {
		if e.Lock == "" {
			for name := range histories {
				histories[name] = append(histories[name], e)
			}
		}
	}
	return histories
}

// A clock tells the time of events. Whatever ended before something else began has an earlier time.
type clock func() int64

// countingClock is the clock of the goroutines of one process.
func countingClock() clock {
	var ticks atomic.Int64
	return func() int64 { return ticks.Add(1) }
}

// unsteady returns the clock with pauses now and then, before and after it is read, in which others can come between: between
// what is done and the time taken down for it, too.
func (c clock) unsteady() clock {
	return func() int64 {
		pause()
		now := c()
		pause()
		return now
	}
}

// pause lets others go first, or passes up to some microseconds, or does nothing in most cases.
func pause() {
	switch rand.IntN(10) {
	case 0:
		runtime.Gosched()
	case 1:
		for range rand.IntN(2000) {
			passed.Add(1)
		}
	}
}

// passed is there to pass time with.
var passed atomic.Int64
