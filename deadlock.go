package lockutils

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lockutils/lockutils/internal/names"
	"github.com/lockutils/lockutils/internal/queue"
	"github.com/lockutils/lockutils/internal/recent"
)

// A DeadlockError is the reason why a wait was ended that would never have ended by itself. It matches
// [ErrDeadlock]. Each member of the cycle waits for a lock that the next one holds, or for which the
// next one waits before it; the last waits for the first, which got the error.
//
// Only waits that are known to hold locks can be told to be in a cycle: those with contexts of [Do],
// [DoAll], [Synchronized] and [Guard.Context], and those for a lock file or at a service, which hold the
// lock inside the process.
type DeadlockError struct {
	Cycle []Wait
}

// A Wait is a member of a deadlock.
type Wait struct {
	Name, Path string    // of the lock that is waited for
	Mode       Mode      // ModeReader or ModeWriter
	Holds      []string  // the locks held, as HeldLocks; also Name, if it is held inside the process only
	Since      time.Time // when the wait began
	Stack      []uintptr // of the goroutine that waits, for runtime.CallersFrames

	scope      string   // of the lock that is waited for, as in AcquireError
	heldScopes []string // the prefixes of Holds
}

// Error names the cycle: who waits for what, held by whom. Prefixes stand after the names, and the
// container of the lock that is waited for.
func (e *DeadlockError) Error() string {
	var b strings.Builder
	b.WriteString("deadlock: ")
	for i, w := range e.Cycle {
		if i > 0 {
			b.WriteString(", held by ")
		}
		if i == shownMembers {
			fmt.Fprintf(&b, "one of %d others", len(e.Cycle)-i)
			return b.String()
		}
		b.WriteString(cmp.Or(shortFunction(w.Stack), "a goroutine"))
		if i > 0 {
			b.WriteString(", which")
		}
		b.WriteString(" waits for ")
		b.WriteString(w.what())
		if len(w.Holds) > 0 {
			b.WriteString(" and holds ")
			b.WriteString(list(w.Holds, w.heldScopes))
		}
	}
	b.WriteString(", held by the first")
	return b.String()
}

// shownMembers and shownNames bound the length of a message.
const (
	shownMembers = 10
	shownNames   = 5
	shownBytes   = 100
)

func (w Wait) what() string {
	if w.Name == "" && w.Path != "" {
		return "file " + shown(w.Path)
	}
	return shown(w.Name) + ofScope(w.scope)
}

// ofScope returns the scope as it is shown in a message after a name.
func ofScope(scope string) string {
	if scope == "" {
		return ""
	}
	return " of " + shown(scope)
}

// list returns the names as they are shown in a message, each with its scope, as far as those are known.
func list(names, scopes []string) string {
	var parts []string
	for i, name := range names {
		if i == shownNames {
			parts = append(parts, fmt.Sprintf("%d more", len(names)-i))
			break
		}
		part := shown(name)
		if i < len(scopes) {
			part += ofScope(scopes[i])
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// shown returns a name as it is shown in a message.
func shown(name string) string {
	if len(name) > shownBytes {
		name = name[:shownBytes] + "..."
	}
	return strconv.Quote(name)
}

// Is reports whether target is [ErrDeadlock].
func (e *DeadlockError) Is(target error) bool { return target == ErrDeadlock }

// SetDeadlockCheck sets how long a wait lasts before it is examined whether it is part of a deadlock. The
// default is 50 ms; 0 turns the examination off. It panics if after is negative. Waits that are under
// way may keep what they began with.
//
// Only waits with a context that holds locks are examined, and those for a lock file or at a service,
// whose requests hold the lock inside the process. So others pay nothing for it. A wait is ended only if
// two examinations have found the cycle, and only one of a cycle is, the last that came with such a
// context. Deadlocks that involve other processes or hosts, channels, or locks that no context knows of,
// are not seen.
func SetDeadlockCheck(after time.Duration) {
	if after < 0 {
		panic("lockutils: SetDeadlockCheck: negative duration")
	}
	deadlockCheck.Store(int64(after))
}

var deadlockCheck = func() *atomic.Int64 {
	var d atomic.Int64
	d.Store(int64(50 * time.Millisecond))
	return &d
}()

// Context returns a copy of parent that knows that the lock is held, as the context of [Do] does: for
// [HeldLocks], [ErrDeadlock] and [DeadlockError]. If the lock is at a service and is lost, the context
// ends with the cause [ErrLost]. The knowledge ends with the hold. The CancelFunc must be called, and
// releases nothing but what belongs to the context.
//
// The work that is done with the context must not outlive the hold, or else take a context of [Detach].
// It panics if parent is nil.
func (g Guard) Context(parent context.Context) (context.Context, context.CancelFunc) {
	if parent == nil {
		panic("lockutils: Guard.Context: nil parent")
	}
	ctx, cancel := context.WithCancel(parent)
	ctx, stop := untilLost(ctx, g)
	return holdingGuard(ctx, g), func() {
		stop()
		cancel()
	}
}

// Detach returns a context with the values, the deadline and the end of ctx that holds no locks: for
// work that is started with a lock held and goes on after its release.
func Detach(ctx context.Context) context.Context {
	if innermost(ctx) == nil {
		return ctx
	}
	return detachedContext{ctx}
}

type detachedContext struct{ context.Context }

func (c detachedContext) Value(key any) any {
	if key == (holdingKey{}) {
		return nil
	}
	return c.Context.Value(key)
}

// How deadlocks are found.
//
// Each member of a cycle is a wait itself, so it suffices to look at the waits that are known to hold
// locks: by their contexts, or inside the process while they wait outside. A wait is stuck if what it
// waits for is held by waits that are stuck:
//
//   - by one of them, where the lock has to become free of all its holders;
//   - by all of them together, where one of several permits would do. They must be all the permits.
//
// The largest set of waits that satisfies this is found by taking away those that do not, until all
// that remain do. No wait passes another in a queue. So whoever waits behind others waits for the holders
// that any of those will have to wait for.
//
// A deadlock begins with a wait: what else changes, the end of a hold or of a wait, lets others go on. So
// it suffices to look once some time after the beginning of each wait.
//
// Each thing is looked at in its own instant. But a wait and a hold that are the same ones in two
// examinations have been there all the time between, all together. So waits that are found stuck in the
// first, and again in the second without the help of others, were a deadlock then, and nothing but the
// end of one of them has been able to resolve it. As long as any are found, there is another examination.

// A resource is what can be waited for and be held.
type resource struct {
	waits   []int // of those that are examined, the ones for it
	held    []heldBy
	permits int // how many exclusive holds there may be; 0 stands for 1

	// Counts of the holds whose waits are stuck:
	shared    int                // by wait
	exclusive int                // by wait
	taken     map[queue.Hold]int // exclusive ones and their waits, where there are several permits
}

type heldBy struct {
	wait int
	link *holdingContext
}

// A waitCycle is a deadlock: the waits of the cycle, the last that came first.
type waitCycle []stuckWait

// examine looks for deadlocks, and ends one wait of each that the last examination has found as well.
// That one has to be found among the waits that were stuck then, whatever has come since.
func (a *watcher) examine(now, after time.Duration) {
	if suspects := a.suspects; len(suspects) > 0 {
		a.suspects = nil
		g := a.graph(func(w *wait) bool { return suspects[waitID{w, w.serial}] })
		for _, c := range g.cycles() {
			if a.concerns(c) {
				c.end()
			}
		}
	}
	g := a.graph(func(w *wait) bool { return (w.since < 0) == (a.only != nil) && now-w.since >= after })
	stuck := g.stuckWaits()
	for _, c := range g.cycles() {
		if a.concerns(c) {
			c.trace()
			a.suspects = stuck
		}
	}
	clear(a.waits) // of contexts
}

// concerns reports whether the watcher has to see to the deadlock.
func (a *watcher) concerns(c waitCycle) bool {
	return a.only == nil || slices.ContainsFunc(c, func(m stuckWait) bool { return m.id == *a.only })
}

// trace makes the members keep their stacks.
func (c waitCycle) trace() {
	for _, m := range c {
		m.id.part.mu.Lock()
		if m.id.isListed() {
			m.id.request.Trace()
		}
		m.id.part.mu.Unlock()
	}
}

// end ends the wait that came last.
func (c waitCycle) end() {
	e := &DeadlockError{}
	for _, m := range c {
		w := Wait{Mode: modeOf(m.mode, true)}
		w.Holds, w.heldScopes = heldBelow(m.chain)
		m.id.part.mu.Lock()
		listed := m.id.isListed()
		if q := m.id.request; listed {
			w.Name, w.Path, w.Since = q.Name, q.Path, queue.At(q.Since)
			w.scope = scopeOf(q.Subject)
			w.Stack = callers(q.Stack())
		}
		m.id.part.mu.Unlock()
		if !listed {
			return // It has resolved itself.
		}
		e.Cycle = append(e.Cycle, w)
	}
	victim := c[0].id
	victim.part.mu.Lock()
	defer victim.part.mu.Unlock()
	if victim.isListed() && !victim.ended {
		victim.ended = true
		victim.request.Abort(e)
		recent.AddDeadlock(e)
	}
}

// graph returns the graph of those waits that are to be part of it.
func (a *watcher) graph(includes func(w *wait) bool) *waitGraph {
	clear(a.waits)
	g := &waitGraph{waits: a.waits[:0]}
	eachWait(func(w *wait) {
		// A goroutine may take long to notice its grant if the processors are busy.
		if w.chain != nil && !w.ended && includes(w) && !w.request.Granted() {
			g.waits = append(g.waits, w.member)
		}
	})
	a.waits = g.waits
	g.build()
	return g
}

// A stuckWait is what an examination needs to know of a wait. It is kept with the wait, since to follow
// pointers takes the most of the time when many wait.
type stuckWait struct {
	id    waitID
	in    any
	path  string
	mode  queue.Mode
	lock  *queue.Lock // nil outside of locks
	place uint64      // in the queue of the lock, see queue.Wait.Position
	chain *holdingContext
	fixed bool // the wait cannot be ended
}

// A demand says which modes a wait and those before it in the queue ask for.
type demand struct{ exclusive, shared bool }

// A waitGraph is what an examination works on.
type waitGraph struct {
	waits []stuckWait

	// By index of waits:
	wants   []*resource
	demands []demand
	holds   []int // where those of each begin in held, and the end of the last
	stuck   []bool

	held []hold

	locks    map[*queue.Lock]*resource
	files    map[string]*resource // by path; nil for a file that is not waited for
	inodes   []inode
	services map[serviceID]*resource
}

// A hold is one of a resource that is waited for.
type hold struct {
	of   *resource
	link *holdingContext
}

// An inode is a file that is waited for.
type inode struct {
	info     os.FileInfo
	resource *resource
}

func (g *waitGraph) build() {
	n := len(g.waits)
	if n == 0 {
		return
	}
	g.wants, g.demands = make([]*resource, n), make([]demand, n)
	g.holds, g.stuck = make([]int, n+1), make([]bool, n)
	g.locks = make(map[*queue.Lock]*resource)
	g.files = make(map[string]*resource)
	g.services = make(map[serviceID]*resource)
	states := make(map[*queue.Lock]queue.State)
	for i := range g.waits {
		w := &g.waits[i]
		r := g.wanted(w)
		if w.lock != nil {
			s, ok := states[w.lock]
			if !ok {
				s = w.lock.State()
				states[w.lock] = s
			}
			g.demands[i] = r.demandBehind(w, s)
		} else {
			g.demands[i] = demand{w.mode == queue.Exclusive, w.mode == queue.Shared}
		}
		r.waits = append(r.waits, i)
		g.wants[i], g.stuck[i] = r, true
	}
	for i := range g.waits {
		for c := g.waits[i].chain; c != nil; c = c.outer {
			lock, _ := c.of()
			g.addHold(i, g.locks[lock], c)
			if c.path != "" && c.hold.Held() {
				g.addHold(i, g.fileAt(c.path), c)
			}
			if c.service != nil && len(g.services) > 0 {
				g.addHold(i, g.services[serviceID{c.service, c.serviceName}], c)
			}
		}
		g.holds[i+1] = len(g.held)
	}
	g.reduce()
}

// demandBehind returns what the wait and those before it ask for. A request that waits for the turn at a
// file or a service also waits for the one whose turn it is.
func (r *resource) demandBehind(w *stuckWait, s queue.State) demand {
	if s.Permits > 1 && r.permits == 0 {
		r.permits = int(s.Permits)
		r.taken = make(map[queue.Hold]int)
	}
	_, isInside := w.in.(*names.Table)
	behindTurn := !isInside && s.Held && s.Mode == queue.Exclusive
	return demand{
		exclusive: behindTurn || s.FirstExclusive != 0 && s.FirstExclusive <= w.place,
		shared:    s.FirstShared != 0 && s.FirstShared <= w.place,
	}
}

// wanted returns the resource that is waited for.
func (g *waitGraph) wanted(w *stuckWait) *resource {
	switch in := w.in.(type) {
	case fileLayer:
		r := g.fileAt(w.path)
		if r == nil {
			r = new(resource)
			g.files[w.path] = r
			if info, err := os.Stat(w.path); err == nil {
				g.inodes = append(g.inodes, inode{info, r})
			}
		}
		return r
	case serviceID:
		return enter(g.services, in)
	}
	return enter(g.locks, w.lock)
}

func enter[K comparable](m map[K]*resource, k K) *resource {
	r := m[k]
	if r == nil {
		r = new(resource)
		m[k] = r
	}
	return r
}

// fileAt returns the resource of the file that the path leads to, or nil if it is not waited for.
func (g *waitGraph) fileAt(path string) *resource {
	if path == "" || len(g.files) == 0 && len(g.inodes) == 0 {
		return nil
	}
	if r, ok := g.files[path]; ok {
		return r
	}
	var r *resource
	if info, err := os.Stat(path); err == nil {
		for _, known := range g.inodes {
			if os.SameFile(info, known.info) {
				r = known.resource
				break
			}
		}
	}
	g.files[path] = r
	return r
}

// addHold notes that wait i holds the resource, if there is one and it does.
func (g *waitGraph) addHold(i int, r *resource, c *holdingContext) {
	if r == nil || !c.hold.Held() {
		return
	}
	g.held = append(g.held, hold{r, c})
	r.held = append(r.held, heldBy{i, c})
	r.count(c, 1)
}

// count notes that one more or less of the waits with that hold is stuck.
func (r *resource) count(c *holdingContext, d int) {
	if _, mode := c.of(); mode == queue.Shared {
		r.shared += d
		return
	}
	r.exclusive += d
	if r.permits > 1 {
		if r.taken[c.hold] += d; r.taken[c.hold] == 0 {
			delete(r.taken, c.hold)
		}
	}
}

// blocks returns which modes the stuck holders keep out.
func (r *resource) blocks() demand {
	full := r.exclusive > 0
	if r.permits > 1 {
		full = len(r.taken) >= r.permits
	}
	return demand{exclusive: full || r.shared > 0, shared: r.exclusive > 0}
}

// meets reports whether the two have a mode in common.
func (d demand) meets(o demand) bool { return d.exclusive && o.exclusive || d.shared && o.shared }

// reduce takes away the waits that are not stuck.
func (g *waitGraph) reduce() {
	var free []int
	for i := range g.waits {
		if !g.demands[i].meets(g.wants[i].blocks()) {
			free = append(free, i)
		}
	}
	g.release(free)
}

// release takes away the given waits, and those that are not stuck without them.
func (g *waitGraph) release(free []int) {
	for len(free) > 0 {
		i := free[len(free)-1]
		free = free[:len(free)-1]
		if !g.stuck[i] {
			continue
		}
		g.stuck[i] = false
		for _, h := range g.held[g.holds[i]:g.holds[i+1]] {
			r := h.of
			before := r.blocks()
			r.count(h.link, -1)
			now := r.blocks()
			if now == before {
				continue
			}
			for _, j := range r.waits {
				if g.stuck[j] && !g.demands[j].meets(now) {
					free = append(free, j)
				}
			}
		}
	}
}

// stuckWaits returns those that are stuck, or nil.
func (g *waitGraph) stuckWaits() (stuck map[waitID]bool) {
	for i, w := range g.waits {
		if !g.stuck[i] {
			continue
		}
		if stuck == nil {
			stuck = make(map[waitID]bool)
		}
		stuck[w.id] = true
	}
	return stuck
}

// cycles returns a cycle for each deadlock. When one of its waits is taken away, as the victim will be,
// the others are stuck no more, unless there is another deadlock. A wait that cannot be ended is no
// victim. It holds a lock inside the process and waits outside, so there are others in its cycle.
func (g *waitGraph) cycles() []waitCycle {
	var order []int
	for i := range g.waits {
		if g.stuck[i] && !g.waits[i].fixed {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Compare(g.waits[b].id.serial, g.waits[a].id.serial)
	})
	var found []waitCycle
	for _, i := range order {
		if !g.stuck[i] {
			continue
		}
		if c, ok := g.cycleOf(i); ok {
			found = append(found, c)
			g.release([]int{i})
		}
	}
	return found
}

// cycleOf returns the shortest cycle that wait i is in.
func (g *waitGraph) cycleOf(i int) (waitCycle, bool) {
	from := map[int]int{} // the wait that leads to each that is reached
	reached := []int{i}
	seen := map[*resource]bool{}
	for k := 0; k < len(reached); k++ {
		r := g.wants[reached[k]]
		if seen[r] {
			continue
		}
		seen[r] = true
		for _, h := range r.held {
			if !g.stuck[h.wait] {
				continue
			}
			if _, ok := from[h.wait]; ok {
				continue
			}
			from[h.wait] = reached[k]
			if h.wait != i {
				reached = append(reached, h.wait)
			}
		}
	}
	if _, ok := from[i]; !ok {
		return nil, false
	}
	// Backwards from i, and so the other way round.
	c := waitCycle{}
	for w := from[i]; w != i; w = from[w] {
		c = append(c, g.waits[w])
	}
	slices.Reverse(c)
	return slices.Insert(c, 0, g.waits[i]), true
}
