package filelock

import (
	"sync"
	"time"
)

// paths is the table of all paths that this process deals with.
var paths = table{byPath: make(map[string]*pathState)}

const (
	// minCached and maxCached bound the number of cached paths, see cacheSize.
	minCached, maxCached = 32, 1024
	// noSlot marks a path that is not cached.
	noSlot = -1
	// sweepInterval is the time between two sweeps, which evict the paths not used since the last.
	sweepInterval = 500 * time.Millisecond
)

// table finds the state of a path. A state is in the table while somebody uses it. After its last
// use it stays cached until another path or a sweep evicts it. The cache is a clock: the hand
// passes the slots in turn and evicts the first path that was not referenced since the hand's
// last pass.
//
// The cache pays for itself because a lock is often taken again soon: opening and closing a file
// costs twice what locking it does. A path used again while it is cached keeps its descriptor
// open. A path used once costs no descriptor after its release.
type table struct {
	mu     sync.Mutex
	byPath map[string]*pathState
	clock  []*pathState // the cached paths; made for the first one
	cached int          // slots of the clock in use
	hand   int          // the slot at which the search for a victim begins
	due    time.Time    // of the next sweep; zero if nothing is cached
}

// cacheSize returns the number of paths to cache: a sixteenth of the descriptors that the process
// may have open. A cached path keeps one descriptor idle, or two if it was used with Fair.
func cacheSize(descriptors uint64) int {
	return int(min(max(descriptors/16, minCached), maxCached))
}

// enter finds or makes the state of path and counts one more user.
func (t *table) enter(path string) *pathState {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.byPath[path]
	if p == nil {
		p = &pathState{path: path, slot: noSlot}
		t.byPath[path] = p
	}
	p.refs++
	return p
}

// inUse returns the states of the paths that are in use.
func (t *table) inUse() (used []*pathState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.byPath {
		if p.refs > 0 {
			used = append(used, p)
		}
	}
	return used
}

// retain counts one more user of a state that has some.
func (t *table) retain(p *pathState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.refs++
}

// leave counts one user less. The last one leaves the path cached, and an idle descriptor only if
// it was cached before.
func (t *table) leave(p *pathState) {
	t.mu.Lock()
	p.refs--
	p.referenced = true
	if p.refs > 0 || p.slot != noSlot {
		t.mu.Unlock()
		return
	}
	evicted := t.insert(p)
	t.mu.Unlock()
	p.closeIdle()
	if evicted != nil {
		evicted.closeIdle()
	}
}

// insert caches p and returns the path that it evicts, if any. t.mu is held.
func (t *table) insert(p *pathState) (evicted *pathState) {
	if t.clock == nil {
		t.clock = make([]*pathState, cacheSize(descriptorLimit()))
	}
	for {
		evicted = t.clock[t.hand]
		if evicted == nil || !evicted.referenced {
			break
		}
		evicted.referenced = false
		t.hand = (t.hand + 1) % len(t.clock)
	}
	if evicted != nil {
		t.evict(evicted)
	}
	t.clock[t.hand] = p
	p.slot = t.hand
	t.hand = (t.hand + 1) % len(t.clock)
	t.cached++
	t.expectSweep()
	return evicted
}

// evict frees p's slot. t.mu is held.
func (t *table) evict(p *pathState) {
	t.clock[p.slot] = nil
	t.cached--
	p.slot = noSlot
	if p.refs == 0 {
		delete(t.byPath, p.path)
	}
}

// expectSweep starts the timer of the next sweep, unless it runs. A sweep that is far from due by
// this clock has been lost with the synctest bubble in which its timer was started. t.mu is held.
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

// sweep evicts the paths not used since the last sweep, and comes again until nothing is cached.
func (t *table) sweep(due time.Time) {
	for _, p := range t.evictIf((*pathState).unreferenced) {
		p.closeIdle()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.due != due: // Another timer has taken over.
	case t.cached == 0:
		t.due = time.Time{}
	default:
		t.due = time.Now().Add(sweepInterval)
		t.startTimer()
	}
}

// unreferenced tells if p was not used since the last sweep. The table's mutex is held.
func (p *pathState) unreferenced() bool {
	referenced := p.referenced
	p.referenced = false
	return !referenced
}

// closeIdle empties the cache and returns the number of descriptors that this has closed.
func (t *table) closeIdle() (closed int) {
	for _, p := range t.evictIf(func(*pathState) bool { return true }) {
		closed += p.closeIdle()
	}
	return closed
}

// evictIf evicts the cached paths that condition accepts and returns them.
func (t *table) evictIf(condition func(*pathState) bool) (evicted []*pathState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.clock {
		if p != nil && condition(p) {
			t.evict(p)
			evicted = append(evicted, p)
		}
	}
	return evicted
}
