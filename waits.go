package lockutils

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockutils/lockutils/internal/queue"
)

// The requests that wait. Each is counted, see stats.go. Those that may be part of a deadlock, because
// they hold locks, and those that are to be warned of, are on a list too, which one goroutine
// watches for as long as there is anything to watch for.

func init() { queue.Observe(watching{}) }

// A wait is what is known of a request that waits, besides what its queue.Wait tells. It is used again
// with the queue.Wait.
type wait struct {
	part    *waitPart     // where it is listed; never changed
	figures *figures      // of the goroutine that waits
	since   time.Duration // the same, a reading of queue.Clock

	// Guarded by part.mu.
	next, prev *wait
	listed     bool
	serial     uint64 // of the wait, in the order in which they are listed
	request    *queue.Wait
	chain      *holdingContext // locks that are held, see holdsOf; nil if there is no looking for deadlocks
	member     stuckWait       // zero if chain is nil
	examined   bool            // whether it is part of a deadlock has been seen
	ended      bool            // it is a victim
	slow       time.Duration   // how long after the beginning to warn next; 0 for never
}

// waitParts are several lists, so that waits on many processors do not meet at one.
var waitParts [8]waitPart

type waitPart struct {
	mu   sync.Mutex
	head *wait // guarded by mu
	_    [48]byte
}

var (
	lastPart atomic.Uint32
	serials  atomic.Uint64
)

func newWait() *wait {
	return &wait{part: &waitParts[lastPart.Add(1)%uint32(len(waitParts))]}
}

// watching is the observer of the waits.
type watching struct{}

func (watching) Begin(q *queue.Wait) {
	w, _ := q.Note.(*wait)
	if w == nil {
		w = newWait()
		q.Note = w
	}
	w.figures = figuresOf(q)
	w.figures.begin()
	w.since = q.Since
	slow := slowWait.Load()
	if q.Quiet {
		slow = 0
	}
	var chain *holdingContext
	if deadlockCheck.Load() > 0 {
		chain = holdsOf(q)
	}
	if slow > 0 || chain != nil || q.Lock == nil {
		w.list(q, chain, time.Duration(slow))
	}
}

// holdsOf returns the holds of a request that waits: those of its context, and the lock inside the
// process, if it waits for what comes after it. The contexts of LockAll know that one already.
func holdsOf(q *queue.Wait) *holdingContext {
	outer := innermost(q.Context)
	if q.Within == (queue.Hold{}) {
		return outer
	}
	for c := outer; c != nil; c = c.outer {
		if c.hold == q.Within {
			return outer
		}
	}
	c := newHolding(q.Context, outer, q.Name, q.Within, &noSettings)
	c.scope, c.mode = q.Scope, q.Mode
	c.lock, _ = q.Within.Of()
	return c
}

func (watching) Met(q *queue.Wait, held queue.Mode, d time.Duration) {
	if w, ok := q.Note.(*wait); ok {
		w.figures.met(held, d)
	}
}

func (watching) End(q *queue.Wait, err error) {
	w, ok := q.Note.(*wait)
	if !ok {
		return
	}
	w.figures.end(q.Context, err, queue.Clock()-w.since)
	w.part.mu.Lock()
	if w.listed {
		w.unlist()
	}
	w.part.mu.Unlock()
}

func (watching) Aborts(ctx context.Context) bool {
	return deadlockCheck.Load() > 0 && innermost(ctx) != nil
}

func (w *wait) list(q *queue.Wait, chain *holdingContext, slow time.Duration) {
	w.part.mu.Lock()
	w.serial = serials.Add(1)
	w.request, w.chain, w.slow = q, chain, slow
	if chain != nil {
		w.member = stuckWait{
			waitID{w, w.serial}, q.In, q.Path, q.Mode, q.Lock, q.Position(), chain, !q.Abortable(),
		}
	}
	w.examined, w.ended, w.listed = chain == nil, false, true
	w.prev, w.next = nil, w.part.head
	if w.next != nil {
		w.next.prev = w
	}
	w.part.head = w
	serial := w.serial
	w.part.mu.Unlock()
	switch {
	case chain == nil && slow == 0:
	case w.since < 0:
		watchOne(&watcher{only: &waitID{w, serial}})
	case !watcherRuns.Load() && watcherRuns.CompareAndSwap(false, true):
		go watchAll()
	}
}

// unlist takes the wait off the list; part.mu is held.
func (w *wait) unlist() {
	if w.prev == nil {
		w.part.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	w.next, w.prev, w.request, w.chain, w.listed = nil, nil, nil, nil, false
	w.member = stuckWait{}
}

// A waitID tells a wait from others that come to have the same memory.
type waitID struct {
	*wait
	serial uint64
}

// isListed reports whether the wait has not ended; part.mu is held.
func (id waitID) isListed() bool { return id.listed && id.wait.serial == id.serial }

// A waitCopy is a wait as it was at one instant.
type waitCopy struct {
	id      waitID
	about   queue.Subject
	ctx     context.Context
	mode    queue.Mode
	fair    bool
	since   time.Duration
	lock    *queue.Lock // nil outside of locks
	chain   *holdingContext
	request *queue.Wait // only to be compared
}

// copy is called with part.mu held.
func (w *wait) copy() waitCopy {
	q := w.request
	return waitCopy{
		waitID{w, w.serial}, q.Subject, q.Context, q.Mode, q.Fair, q.Since, q.Lock, w.chain, q,
	}
}

// eachWait calls f for each wait on the lists, with the mutex of its part held.
func eachWait(f func(w *wait)) {
	for i := range waitParts {
		p := &waitParts[i]
		p.mu.Lock()
		for w := p.head; w != nil; w = w.next {
			f(w)
		}
		p.mu.Unlock()
	}
}

// The watcher is a goroutine that sleeps until something is due, and ends when nothing is going to be.
//
// In a bubble of testing/synctest each wait has a watcher of its own, a timer. It belongs to the bubble,
// whose goroutines no other may wake, and goes by the clock of the bubble.

var watcherRuns atomic.Bool

const (
	// longestSleep bounds how long the watcher stays when there is nothing to watch any more.
	longestSleep = 50 * time.Millisecond
	// secondExamination is how long after the first one a deadlock is looked for again.
	secondExamination = 5 * time.Millisecond
	// shortestSleep and longestPause bound how rarely the watcher looks when much is due.
	shortestSleep = 2 * time.Millisecond
	longestPause  = 25 * time.Millisecond

	never = time.Duration(math.MaxInt64)
)

// A watcher watches the waits of the program, or one wait in a bubble.
type watcher struct {
	only     *waitID         // nil for all waits outside of bubbles
	suspects map[waitID]bool // the stuck waits of the last examination, if there were deadlocks
	waits    []stuckWait     // memory for the next examination
	warning  atomic.Bool     // messages are being written
}

func watchAll() {
	var a watcher
	for {
		start := queue.Clock()
		due := a.watch()
		now := queue.Clock()
		if due == never {
			watcherRuns.Store(false)
			if a.nextDue() == never || !watcherRuns.CompareAndSwap(false, true) {
				return
			}
			continue
		}
		// To look takes a tenth of the time at most, but for very many waits.
		pause := min(max(10*(now-start), shortestSleep), longestPause)
		time.Sleep(min(max(due-now, pause), longestSleep))
	}
}

// watchOne is for bubbles. A goroutine that sleeps could outlive its bubble, which a timer may.
func watchOne(a *watcher) {
	if due := a.watch(); due != never {
		time.AfterFunc(max(due-queue.Clock(), 1), func() { watchOne(a) })
	}
}

// watches reports whether the watcher has to see to the wait; part.mu is held.
func (a *watcher) watches(w *wait) bool {
	if a.only == nil {
		return w.since >= 0
	}
	return w == a.only.wait && a.only.isListed()
}

// watch does what is due and returns when the next thing is.
func (a *watcher) watch() (due time.Duration) {
	now := queue.Clock()
	after := time.Duration(deadlockCheck.Load())
	if after == 0 {
		a.suspects = nil
	}
	examine := len(a.suspects) > 0
	var late []waitCopy
	eachWait(func(w *wait) {
		if !a.watches(w) {
			return
		}
		if !w.examined && after > 0 && now-w.since >= after {
			w.examined, examine = true, true
		}
		if w.slow > 0 && now-w.since >= w.slow {
			for now-w.since >= w.slow && w.slow <= never/2 {
				w.slow *= 2
			}
			late = append(late, w.copy())
		}
	})
	if examine {
		a.examine(now, after)
	}
	if len(late) > 0 {
		a.warnOf(late, now)
	}
	if len(a.suspects) > 0 {
		return now + secondExamination
	}
	return a.nextDue()
}

// nextDue returns when something has to be done for one of the waits.
func (a *watcher) nextDue() time.Duration {
	due := never
	after := time.Duration(deadlockCheck.Load())
	eachWait(func(w *wait) {
		if !a.watches(w) {
			return
		}
		if !w.examined && after > 0 {
			due = min(due, later(w.since, after))
		}
		if w.slow > 0 {
			due = min(due, later(w.since, w.slow))
		}
	})
	return due
}

// later returns the reading of the clock that comes d after another one, or never.
func later(reading, d time.Duration) time.Duration {
	if reading+d < reading {
		return never
	}
	return reading + d
}
