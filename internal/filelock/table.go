package filelock

import (
	"sync"
	"time"
)

// places is the table of all paths that this process deals with.
var places = table{byPath: make(map[string]*place)}

const (
	// seats bounds the places that stay in the table after their last use, and so the idle descriptors.
	seats = 32
	// noSeat marks a place without a seat.
	noSeat = -1
	// sweepInterval is the time between two rounds that clear the seats of places not used since the last.
	sweepInterval = 500 * time.Millisecond
)

// table finds the place of a path. A place is in it while somebody uses it, and after that until it loses its seat, to
// another place or to a sweep.
//
// The seats pay for themselves because a lock is often taken again soon: opening and closing a file costs twice what
// locking it does. A place used again while it has a seat keeps its descriptor open. A name used once costs no
// descriptor after its release.
type table struct {
	mu     sync.Mutex
	byPath map[string]*place
	ring   [seats]*place // places with a seat
	taken  int           // of the seats
	hand   int           // the seat that is cleared next if one is needed
	due    time.Time     // of the next sweep; zero if none is needed
}

// enter finds or makes the place of path and counts one more user.
func (t *table) enter(path string) *place {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.byPath[path]
	if p == nil {
		p = &place{path: path, seat: noSeat}
		t.byPath[path] = p
	}
	p.refs++
	return p
}

// retain counts one more user of a place that has some.
func (t *table) retain(p *place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.refs++
}

// leave counts one user less. The last one leaves the place with a seat, and an idle descriptor only if it had a seat
// before.
func (t *table) leave(p *place) {
	t.mu.Lock()
	p.refs--
	p.hot = true
	if p.refs > 0 || p.seat != noSeat {
		t.mu.Unlock()
		return
	}
	unseated := t.sit(p)
	t.mu.Unlock()
	p.closeIdle()
	if unseated != nil {
		unseated.closeIdle()
	}
}

// sit gives p the next seat that is free or not hot, and returns the place that had to give way. t.mu is held.
func (t *table) sit(p *place) (unseated *place) {
	for {
		unseated = t.ring[t.hand]
		if unseated == nil || !unseated.hot {
			break
		}
		unseated.hot = false
		t.hand = (t.hand + 1) % seats
	}
	if unseated != nil {
		t.clear(unseated)
	}
	t.ring[t.hand] = p
	p.seat = t.hand
	t.hand = (t.hand + 1) % seats
	t.taken++
	t.expectSweep()
	return unseated
}

// clear takes p's seat away. t.mu is held.
func (t *table) clear(p *place) {
	t.ring[p.seat] = nil
	t.taken--
	p.seat = noSeat
	if p.refs == 0 {
		delete(t.byPath, p.path)
	}
}

// expectSweep starts the timer of the next sweep, unless it runs. One that is far from due by this clock has been lost
// with the synctest bubble in which it was started. t.mu is held.
func (t *table) expectSweep() {
	now := time.Now()
	if now.Sub(t.due).Abs() > 2*sweepInterval {
		t.due = now.Add(sweepInterval)
		t.startTimer()
	}
}

// startTimer starts the timer of the sweep that is due. t.mu is held.
func (t *table) startTimer() {
	due := t.due
	time.AfterFunc(sweepInterval, func() { t.sweep(due) })
}

// sweep clears the seats of places not used since the last round, until none is taken.
func (t *table) sweep(due time.Time) {
	for _, p := range t.clearAll((*place).coolDown) {
		p.closeIdle()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.due != due: // Another timer has taken over.
	case t.taken == 0:
		t.due = time.Time{}
	default:
		t.due = time.Now().Add(sweepInterval)
		t.startTimer()
	}
}

// coolDown tells if p was not used since the last round. The table's mutex is held.
func (p *place) coolDown() bool {
	hot := p.hot
	p.hot = false
	return !hot
}

// closeIdle clears all seats and returns the number of descriptors that this has closed.
func (t *table) closeIdle() (closed int) {
	for _, p := range t.clearAll(func(*place) bool { return true }) {
		closed += p.closeIdle()
	}
	return closed
}

// clearAll clears the seats of the places that cold accepts and returns these.
func (t *table) clearAll(cold func(*place) bool) (cleared []*place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.ring {
		if p != nil && cold(p) {
			t.clear(p)
			cleared = append(cleared, p)
		}
	}
	return cleared
}
