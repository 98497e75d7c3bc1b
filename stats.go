package lockutils

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lockutils/lockutils/internal/queue"
)

// Figures: how often and how long locks are waited for, in numbers that grow from the start of the
// program. Only waits are counted, so that a lock that is free costs nothing.

// A Layer says what a wait was for.
type Layer int

const (
	LayerProcess Layer = iota // another goroutine of this process
	LayerFile                 // the holder of a lock file, here or in another process
	LayerService              // the answer of a lock service
)

// String returns "process", "file" or "service".
func (l Layer) String() string {
	switch l {
	case LayerFile:
		return "file"
	case LayerService:
		return "service"
	}
	return "process"
}

// Stats is what [ReadStats] reads.
type Stats struct {
	Locks []LockStats // sorted by class, mode and layer
}

// LockStats are the figures of the locks of one class, by mode and layer. All but Waiting only
// grow.
//
// A request for a lock file or at a lock service may wait twice, for its turn in the process and
// then for other processes. It is counted for each wait. At a service every request that may wait
// counts as a wait, also if it is granted at once.
type LockStats struct {
	Class string // see SetClassifier
	Mode  Mode   // of the requests, or of the holds for ContendedHold and Lost
	Layer Layer

	Contentions   uint64 // requests that had to wait; at a lock service all, since it does not tell
	Timeouts      uint64 // those of them that a deadline ended
	Cancellations uint64 // those of them that a context ended otherwise
	Deadlocks     uint64 // those of them that ended with a DeadlockError
	Lost          uint64 // holds that were lost, counted when their holder releases them

	Waiting       int64     // requests that wait now
	Wait          Histogram // how long requests waited, whatever ended the wait
	ContendedHold Histogram // how long requests waited for the end of a hold, from the first that came
}

// A Histogram counts durations in seconds. Counts[i] counts those of at most Bounds[i] and more
// than Bounds[i-1]. Counts has one element more than Bounds, for those that exceed them all.
type Histogram struct {
	Bounds []float64
	Counts []uint64
	Sum    float64
}

// ReadStats reads the figures into s, whose memory it uses again. Each figure is exact, but they
// are not all from the same instant. It panics if s is nil.
func ReadStats(s *Stats) {
	if s == nil {
		panic("lockutils: ReadStats: nil Stats")
	}
	all := *allFigures.Load()
	keys := make([]figuresKey, 0, len(all))
	for k := range all {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b figuresKey) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.mode, b.mode), cmp.Compare(a.layer, b.layer))
	})
	s.Locks = slices.Grow(s.Locks[:0], len(keys))[:len(keys)]
	for i, k := range keys {
		all[k].read(k, &s.Locks[i])
	}
}

// SetClassifier sets how locks are put into the classes of [ReadStats]. f gets the prefix and the
// name of a lock that is waited for, or "" and the path of an [InterProcessLock]. The default
// class of a lock, also for a nil f, is its prefix.
//
// There are 200 classes at most, so that figures stay few whatever the names are. Locks of
// further classes count as "other". So do those for which f panics or returns what is no label:
// more than 100 bytes, invalid UTF-8, or control characters. f is called by goroutines that are
// about to wait, by many at once. It must not take locks of this package. If it ends its goroutine with
// [runtime.Goexit], nothing stays held or queued.
func SetClassifier(f func(scope, name string) string) {
	if f == nil {
		classifier.Store(nil)
		return
	}
	classifier.Store(&f)
}

const (
	maxClasses    = 200
	maxClassBytes = 100
	otherClass    = "other"
)

var classifier atomic.Pointer[func(scope, name string) string]

// classOf returns what the classifier says, which need not be fit for a class.
func classOf(scope, name string) (class string) {
	f := classifier.Load()
	if f == nil {
		return scope
	}
	defer func() {
		if recover() != nil {
			class = otherClass
		}
	}()
	return (*f)(scope, name)
}

// isLabel reports whether a class is fit to be shown.
func isLabel(class string) bool {
	return len(class) <= maxClassBytes && utf8.ValidString(class) &&
		strings.IndexFunc(class, unicode.IsControl) < 0
}

// bounds are those of the histograms, in seconds and in ticks of the clock.
var bounds = []float64{
	1e-5, 2.5e-5, 1e-4, 2.5e-4, 1e-3, 2.5e-3, 1e-2, 2.5e-2, 0.1, 0.25, 1, 2.5, 10, 60,
}

var boundTicks = func() (ticks [14]time.Duration) {
	for i, b := range bounds {
		ticks[i] = time.Duration(b * float64(time.Second))
	}
	return ticks
}()

type histogram struct {
	counts [len(boundTicks) + 1]atomic.Uint64
	sum    atomic.Int64
}

func (h *histogram) add(d time.Duration) {
	i := 0
	for i < len(boundTicks) && d > boundTicks[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

func (h *histogram) read(to *Histogram) {
	to.Bounds = append(to.Bounds[:0], bounds...)
	to.Counts = to.Counts[:0]
	for i := range h.counts {
		to.Counts = append(to.Counts, h.counts[i].Load())
	}
	to.Sum = time.Duration(h.sum.Load()).Seconds()
}

// figures are counted where LockStats are read.
type figures struct {
	key                            figuresKey
	contentions, timeouts, cancels atomic.Uint64
	deadlocks, lost                atomic.Uint64
	waiting                        atomic.Int64
	wait, contendedHold            histogram
}

type figuresKey struct {
	class string
	mode  Mode
	layer Layer
}

// allFigures is copied when a key is added, which happens a limited number of times. So to find
// figures takes no lock.
var (
	allFigures   atomic.Pointer[map[figuresKey]*figures]
	figuresMu    sync.Mutex
	figureLabels = map[string]bool{otherClass: true} // guarded by figuresMu
)

func init() { allFigures.Store(new(map[figuresKey]*figures)) }

// figuresOf returns the figures in which a wait counts.
func figuresOf(q *queue.Wait) *figures {
	name := q.Name
	if name == "" {
		name = q.Path
	}
	k := figuresKey{classOf(q.Scope, name), modeOf(q.Mode, true), layerOf(q.In)}
	if f := (*allFigures.Load())[k]; f != nil {
		return f
	}
	return addFigures(k)
}

func layerOf(in any) Layer {
	switch in.(type) {
	case fileLayer:
		return LayerFile
	case serviceID:
		return LayerService
	}
	return LayerProcess
}

// addFigures returns the figures of a class that may be new.
func addFigures(k figuresKey) *figures {
	figuresMu.Lock()
	defer figuresMu.Unlock()
	if !figureLabels[k.class] {
		if len(figureLabels) > maxClasses || !isLabel(k.class) {
			k.class = otherClass
		} else {
			k.class = strings.Clone(k.class)
			figureLabels[k.class] = true
		}
	}
	old := *allFigures.Load()
	if f := old[k]; f != nil {
		return f
	}
	all := make(map[figuresKey]*figures, len(old)+1)
	for k, f := range old {
		all[k] = f
	}
	f := &figures{key: k}
	all[k] = f
	allFigures.Store(&all)
	return f
}

func (f *figures) begin() {
	f.contentions.Add(1)
	f.waiting.Add(1)
}

// end counts a wait that has ended with err.
func (f *figures) end(ctx context.Context, err error, waited time.Duration) {
	f.wait.add(waited)
	f.waiting.Add(-1)
	switch {
	case err == nil:
	case errors.Is(err, ErrDeadlock):
		f.deadlocks.Add(1)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		f.timeouts.Add(1)
	case ctx.Err() != nil:
		f.cancels.Add(1)
	}
}

// met counts a hold for whose end requests have waited.
func (f *figures) met(held queue.Mode, d time.Duration) {
	f.ofHolds(held).contendedHold.add(d)
}

// ofHolds returns the figures of the same class and layer for holds of that mode.
func (f *figures) ofHolds(held queue.Mode) *figures {
	k := f.key
	k.mode = modeOf(held, true)
	if k == f.key {
		return f
	}
	if of := (*allFigures.Load())[k]; of != nil {
		return of
	}
	return addFigures(k)
}

// countLost counts a hold that was lost.
func countLost(scope, name string, m queue.Mode) {
	k := figuresKey{classOf(scope, name), modeOf(m, true), LayerService}
	f := (*allFigures.Load())[k]
	if f == nil {
		f = addFigures(k)
	}
	f.lost.Add(1)
}

func (f *figures) read(k figuresKey, to *LockStats) {
	wait, hold := to.Wait, to.ContendedHold
	f.wait.read(&wait)
	f.contendedHold.read(&hold)
	*to = LockStats{
		Class: k.class, Mode: k.mode, Layer: k.layer,
		Contentions: f.contentions.Load(), Timeouts: f.timeouts.Load(),
		Cancellations: f.cancels.Load(), Deadlocks: f.deadlocks.Load(), Lost: f.lost.Load(),
		Waiting: f.waiting.Load(), Wait: wait, ContendedHold: hold,
	}
}
