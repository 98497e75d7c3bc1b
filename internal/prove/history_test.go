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

// A mode says which other holders a holder excludes.
type mode int

const (
	exclusive mode = iota
	shared
)

func (m mode) String() string { return [...]string{"exclusive", "shared"}[m] }

// An action is what happened to a lock at some instant between the call and return of an event.
type action int

const (
	arrive   action = iota // a request has joined the queue
	enter                  // a request has been granted
	withdraw               // a request has left the queue without the lock
	leave                  // a holder has released the lock
	notHeld                // a guard was told that it holds nothing
	refuse                 // a try was told that the lock is taken
	wait                   // a request is still waiting while all goroutines are blocked
	remove                 // the lock file has been removed or did not exist
	inUse                  // the removal was told that the lock is taken
	abandon                // a wait was cancelled; whether and when it queued is unknown
	sweep                  // unused lock files have been removed
)

func (a action) String() string {
	return [...]string{
		"arrive", "enter", "withdraw", "leave", "not held", "refused", "waits",
		"remove", "in use", "abandon", "sweep",
	}[a]
}

// A request is one attempt to acquire a lock, and the hold if it succeeds.
type request struct {
	ID   int
	Mode mode
	Fair bool
}

// An event is one entry of a history.
type event struct {
	Lock         string // its name; "" for an event that concerns all locks
	Client       int    // which client caused it
	Action       action
	Request      request
	Call, Return int64 // it took effect between these times
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

// A history is the events of one lock.
type history []event

// String lists the events in the order of their calls, with times relative to the first.
func (h history) String() string {
	h = slices.Clone(h)
	slices.SortStableFunc(h, func(a, b event) int { return cmp.Compare(a.Call, b.Call) })
	var b strings.Builder
	for _, e := range h {
		fmt.Fprintf(&b, "%8d..%-8d client %-3d %v\n", e.Call-h[0].Call, e.Return-h[0].Call, e.Client, e)
	}
	return b.String()
}

// byLock splits events into one history for each lock. Events that concern all locks are in each.
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

// A clock returns the time of events. If one event ends before another begins, its time is earlier.
type clock func() int64

// countingClock returns a clock for the goroutines of one process.
func countingClock() clock {
	var ticks atomic.Int64
	return func() int64 { return ticks.Add(1) }
}

// unsteady returns the clock with random pauses before and after each reading, so that other
// goroutines can run between an operation and its timestamp.
func (c clock) unsteady() clock {
	return func() int64 {
		pause()
		now := c()
		pause()
		return now
	}
}

// pause yields, or spins for up to some microseconds, or in most cases does nothing.
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

// passed is what pause spins on.
var passed atomic.Int64
