package lockutils

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/internal/filelock"
	"github.com/lockutils/lockutils/internal/names"
	"github.com/lockutils/lockutils/internal/order"
	"github.com/lockutils/lockutils/internal/queue"
	"github.com/lockutils/lockutils/internal/servicelock"
)

// Looking: what is held and waited for now.

// LockInfo is what [Snapshot] tells of one lock. A lock with a lock file, or at a lock service, appears
// twice if it is in use there: without and with Path or Service.
type LockInfo struct {
	Scope   string // as in AcquireError
	Name    string // "" for a lock file whose path is all that is known, see SetTracking
	Path    string // the lock file; "" for the layer inside the process
	Service string // the kind of lock service; "" for other layers
	Mode    Mode   // how it is held
	Readers int    // how many hold it together, if Mode is ModeReader

	Holders []HolderInfo // as far as they are known, see SetTracking
	Waiters []WaiterInfo // in the order in which they are served
}

// WaiterInfo is what is known of a request that waits.
type WaiterInfo struct {
	Mode  Mode      // ModeReader or ModeWriter
	Fair  bool      // no other passes the request
	Since time.Time // when the wait began
	Holds []string  // the locks that its context holds, as HeldLocks
	By    string    // the function that waits; "" if it is not known
	Stack []uintptr // of the goroutine, for runtime.CallersFrames; nil if it is not known
}

// HolderInfo is what is known of a holder: from [SetTracking], or because it waits for another lock
// itself, with a context that knows of the hold.
type HolderInfo struct {
	Since time.Time // when it acquired the lock; zero if that is not known
	By    string    // the function that acquired the lock, or that waits now; "" if it is not known
	Stack []uintptr // of the acquisition, or of the wait; nil if it is not known
}

// Snapshot returns the locks that are held or waited for now, those that have been waited for longest
// first, and then by prefix, name and path. Each lock is shown as it is at one instant, different ones
// at different instants. It takes tens of microseconds and a few for each lock, and up to a few
// milliseconds if there are requests that have begun to wait since the last call.
//
// A [ReaderWriterLock] by itself, which has no name, is not shown. [HostLocks] tells
// what other processes do.
func Snapshot() []LockInfo {
	tables := allTables()
	traceWaits(tables)
	return snapshot(tables, knownHolders())
}

// snapshot is Snapshot for holders that are known from an instant before. While Visit shows a lock, no
// holder of it that is known can end its hold without taking itself off the list first.
func snapshot(tables []scopedTable, known holders) []LockInfo {
	var infos []LockInfo
	for _, t := range tables {
		var shown []shownLock
		t.table.Visit(func(k names.Key, l *queue.Lock, v queue.View) {
			s := shownLock{key: k, view: v}
			if v.Held {
				s.holders = stillHolding(known.locks[heldLock{l, k.Name}], known.named[namedLock{t.table, k}])
			}
			shown = append(shown, s)
		})
		for _, s := range shown { // not in Visit, since it asks what the contexts of waiters hold
			i := infoOf(scopeWithin(t.scope, s.key.Scope), s.key.Name, "", s.view)
			i.Holders = s.holders
			infos = append(infos, i)
		}
	}
	outside := outsideWaits()
	filelock.Visit(func(path string, _ *queue.Lock, v queue.View) {
		file := known.files[path]
		i := infoOf(file.key.Scope, file.key.Name, path, v)
		i.Holders = stillHolding(file.known)
		waits := outside[resourceName{path: path}]
		delete(outside, resourceName{path: path})
		for _, w := range waits {
			i.Scope, i.Name = w.scope, w.name
			if w.info.Mode == ModeWriter {
				i.Mode, i.Readers, i.Holders = ModeNone, 0, nil // It has its turn, and not the lock.
			}
		}
		for _, w := range v.Waits {
			i.Scope, i.Name = w.Scope, w.Name
		}
		i.Waiters = append(infosOf(waits), i.Waiters...)
		infos = append(infos, i)
	})
	for at, waits := range outside {
		infos = append(infos, LockInfo{
			Scope: waits[0].scope, Name: waits[0].name, Path: at.path, Service: at.service,
			Waiters: infosOf(waits),
		})
	}
	infos = append(infos, known.services...)
	slices.SortStableFunc(infos, func(a, b LockInfo) int {
		return cmp.Or(
			compareWaits(a.Waiters, b.Waiters), cmp.Compare(a.Scope, b.Scope),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.Path, b.Path),
		)
	})
	return infos
}

// A shownLock is what a snapshot has seen of a lock in a table.
type shownLock struct {
	key     names.Key
	view    queue.View
	holders []HolderInfo
}

// compareWaits puts the longer wait first, and no wait last.
func compareWaits(a, b []WaiterInfo) int {
	since := func(waiters []WaiterInfo) time.Time {
		return slices.MinFunc(waiters, func(a, b WaiterInfo) int { return a.Since.Compare(b.Since) }).Since
	}
	switch {
	case len(a) > 0 && len(b) > 0:
		return since(a).Compare(since(b))
	case len(a) > 0:
		return -1
	case len(b) > 0:
		return 1
	}
	return 0
}

func infoOf(scope, name, path string, v queue.View) LockInfo {
	i := LockInfo{Scope: scope, Name: name, Path: path, Mode: modeOf(v.Mode, v.Held)}
	if i.Mode == ModeReader {
		i.Readers = v.Holders
	}
	for _, w := range v.Waits {
		i.Waiters = append(i.Waiters, waiterInfo(w.Subject, w.Context, w.Mode, w.Fair, w.Since, w.Stack))
	}
	return i
}

// waiterInfo asks the context, which is the caller's: no mutex may be held.
func waiterInfo(
	about queue.Subject, ctx context.Context, m queue.Mode, fair bool, since time.Duration, stack []uintptr,
) WaiterInfo {
	stack = callers(stack)
	return WaiterInfo{
		Mode: modeOf(m, true), Fair: fair, Since: queue.At(since), Holds: HeldLocks(ctx),
		By: cmp.Or(about.By, functionOf(stack)), Stack: stack,
	}
}

// Waits outside of locks: in the kernel, or at a service.

type resourceName struct{ path, service, name string }

type outsideWait struct {
	scope, name string
	info        WaiterInfo
}

func outsideWaits() map[resourceName][]outsideWait {
	type waitWithStack struct {
		waitCopy
		stack []uintptr
	}
	var listed []waitWithStack
	eachWait(func(w *wait) {
		if c := w.copy(); c.lock == nil {
			listed = append(listed, waitWithStack{c, c.request.Stack()})
		}
	})
	found := make(map[resourceName][]outsideWait)
	for _, c := range listed {
		at := resourceName{path: c.about.Path}
		if s, ok := c.about.In.(serviceID); ok {
			at = resourceName{service: s.service.Name(), name: s.name}
		}
		info := waiterInfo(c.about, c.ctx, c.mode, c.fair, c.since, c.stack)
		found[at] = append(found[at], outsideWait{c.about.Scope, c.about.Name, info})
	}
	for _, waits := range found {
		slices.SortFunc(waits, func(a, b outsideWait) int { return a.info.Since.Compare(b.info.Since) })
	}
	// Those that wait for their turn come after those whose turn it is.
	servicelock.Visit(func(s driver.Service, name string, v queue.View) {
		at := resourceName{service: s.Name(), name: name}
		for _, w := range v.Waits {
			info := waiterInfo(w.Subject, w.Context, w.Mode, w.Fair, w.Since, w.Stack)
			found[at] = append(found[at], outsideWait{w.Scope, w.Name, info})
		}
	})
	return found
}

func infosOf(waits []outsideWait) []WaiterInfo {
	var infos []WaiterInfo
	for _, w := range waits {
		infos = append(infos, w.info)
	}
	return infos
}

// The tables of the process: that of named locks, and those of containers, as long as those are in use
// by the program.

var (
	containersMu sync.Mutex
	containers   []containerTable // guarded by containersMu
	manyTables   = 64             // when to look for those that are gone; guarded by containersMu
)

type containerTable struct {
	table weak.Pointer[names.Table]
	scope string
}

// A scopedTable is a table with the scope of its container, which is "" for named locks.
type scopedTable struct {
	table *names.Table
	scope string
}

// remember adds the table of a container.
func remember(t *names.Table, scope string) {
	containersMu.Lock()
	defer containersMu.Unlock()
	containers = append(containers, containerTable{weak.Make(t), scope})
	if len(containers) >= manyTables {
		containers = slices.DeleteFunc(containers, func(c containerTable) bool { return c.table.Value() == nil })
		manyTables = max(64, 2*len(containers))
	}
}

func allTables() []scopedTable {
	containersMu.Lock()
	defer containersMu.Unlock()
	tables := []scopedTable{{table: internalLocks}}
	for _, c := range containers {
		if t := c.table.Value(); t != nil {
			tables = append(tables, scopedTable{t, c.scope})
		}
	}
	return tables
}

// scopeOf returns the scope of what is waited for, as settings.scope does.
func scopeOf(about queue.Subject) string {
	if t, ok := about.In.(*names.Table); ok && t != internalLocks {
		for _, c := range allTables() {
			if c.table == t {
				return scopeWithin(c.scope, about.Scope)
			}
		}
	}
	return about.Scope
}

// scopeWithin returns the scope of a prefix in a container. Either may be "".
func scopeWithin(container, prefix string) string {
	if container == "" || prefix == "" {
		return container + prefix
	}
	return container + "/" + prefix
}

// traceWaits makes the goroutines that wait tell their stacks, if they have not yet, and gives them the
// time for that. Goroutines in bubbles have told them already, and must not be woken.
func traceWaits(tables []scopedTable) {
	if queue.Clock() < 0 {
		return
	}
	traced := false
	for _, t := range tables {
		traced = t.table.Trace() || traced
	}
	traced = filelock.Trace() || traced
	traced = servicelock.Trace() || traced
	if traced {
		time.Sleep(time.Millisecond)
	}
}

// Tracking.

// SetTracking makes the package record when and where locks are acquired: all of them (1), one in so many
// (n), or none (0, the default). It panics if oneIn is negative. Locks that are held already are not
// affected. To record one costs about two microseconds, see docs/when-it-hangs.md.
func SetTracking(oneIn int) {
	if oneIn < 0 {
		panic("lockutils: SetTracking: negative oneIn")
	}
	tracking.Store(int64(oneIn))
	updateDetour()
}

var (
	tracking atomic.Int64
	untilOne atomic.Int64 // counts acquisitions while one in many is tracked
)

// tracked reports whether to track an acquisition.
func tracked() bool {
	n := tracking.Load()
	return n == 1 || n > 1 && untilOne.Add(1)%n == 0
}

// A track is the record of one hold.
type track struct {
	part *trackPart // never changed

	// Guarded by part.mu.
	prev, next *track
	ended      uint64 // how many holds it has been the record of that have ended

	// Written before it is on the list.
	lock    *queue.Lock // inside the process; nil if there is none
	named   namedLock   // for a hold that is known by name alone
	mode    queue.Mode  // guarded by namedMu for a hold that is known by name alone
	path    string
	service string
	name    names.Key
	since   time.Duration
	by      string
	stack   [trackDepth]uintptr
	depth   int
}

const trackDepth = 24

type namedLock struct {
	table *names.Table
	key   names.Key
}

var trackParts [8]trackPart

type trackPart struct {
	mu   sync.Mutex
	head *track // guarded by mu
	_    [48]byte
}

var (
	lastTrackPart atomic.Uint32
	tracks        = sync.Pool{New: func() any {
		return &track{part: &trackParts[lastTrackPart.Add(1)%uint32(len(trackParts))]}
	}}
)

// newTrack records a hold that has just begun. The caller fills in what is held and lists it.
func newTrack(by string) *track {
	t := tracks.Get().(*track)
	t.by, t.since = by, queue.Clock()
	t.depth = runtime.Callers(2, t.stack[:])
	return t
}

func (t *track) list() {
	t.part.mu.Lock()
	t.prev, t.next = nil, t.part.head
	if t.next != nil {
		t.next.prev = t
	}
	t.part.head = t
	t.part.mu.Unlock()
}

// end takes the record of a hold away before the hold ends. A nil track records nothing.
func (t *track) end() {
	if t == nil {
		return
	}
	t.part.mu.Lock()
	t.unlist()
	t.part.mu.Unlock()
	tracks.Put(t)
}

// unlist takes the record off the list; part.mu is held.
func (t *track) unlist() {
	if t.prev == nil {
		t.part.head = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.ended++
	t.next, t.prev, t.lock, t.named = nil, nil, nil, namedLock{}
	t.path, t.service, t.name, t.by = "", "", names.Key{}, ""
}

// observeHold is for acquisitions while they are observed. It releases what is held if the classifier of
// a test panics or ends its goroutine.
func observeHold(ctx context.Context, name, path string, held *layers, s *settings) {
	seen := false
	defer func() {
		if !seen {
			_ = held.release()
		}
	}()
	if tracked() {
		trackHold(name, path, held, s)
	}
	if s.waits() {
		watchOrder(ctx, s.key(name), s.mode())
	}
	seen = true
}

// watchOrder tells package lockutilstest of an acquisition that could wait, if it wants to know.
func watchOrder(ctx context.Context, k names.Key, m queue.Mode) {
	watch := order.Get()
	if watch == nil {
		return
	}
	var held []order.Lock
	for c := innermost(ctx); c != nil; c = c.outer {
		if of, is := c.key(); is {
			_, mode := c.of()
			held = append(held, order.Lock{Scope: of.Scope, Name: of.Name, Shared: mode == queue.Shared})
		}
	}
	if held != nil {
		slices.Reverse(held)
		watch(held, order.Lock{Scope: k.Scope, Name: k.Name, Shared: m == queue.Shared})
	}
}

// trackHold records the hold of a guard to be.
func trackHold(name, path string, held *layers, s *settings) {
	t := newTrack(s.by)
	t.lock, _ = held.internal.Of()
	t.mode, t.path, t.service, t.name = s.mode(), path, s.serviceKind(), s.key(name)
	t.list()
	held.track = t
}

// Holds that are known by name alone. The record that goes when one is released may be that of another
// holder of the same mode.
var (
	namedMu     sync.Mutex
	namedTracks = make(map[namedLock][]*track) // guarded by namedMu
	namedCount  atomic.Int64                   // records in namedTracks
)

func trackNamed(table *names.Table, key names.Key, m queue.Mode) {
	t := newTrack("")
	t.named, t.mode = namedLock{table, key}, m
	t.list()
	namedMu.Lock()
	namedTracks[t.named] = append(namedTracks[t.named], t)
	namedMu.Unlock()
	namedCount.Add(1)
}

// downgradeNamed notes that a writer's hold has become a reader's.
func downgradeNamed(table *names.Table, key names.Key) {
	namedMu.Lock()
	defer namedMu.Unlock()
	for _, t := range namedTracks[namedLock{table, key}] {
		if t.mode == queue.Exclusive {
			t.mode = queue.Shared
			return
		}
	}
}

func untrackNamed(table *names.Table, key names.Key, m queue.Mode) {
	k := namedLock{table, key}
	namedMu.Lock()
	list := namedTracks[k]
	i := slices.IndexFunc(list, func(t *track) bool { return t.mode == m })
	var t *track
	if i >= 0 {
		t = list[i]
		if list = slices.Delete(list, i, i+1); len(list) == 0 {
			delete(namedTracks, k)
		} else {
			namedTracks[k] = list
		}
	}
	namedMu.Unlock()
	if t != nil {
		namedCount.Add(-1)
		t.end()
	}
}

// A heldLock is a lock that is held by a name, since it may come to serve another one.
type heldLock struct {
	*queue.Lock
	name string
}

// holders are those that are known.
type holders struct {
	locks    map[heldLock][]knownHolder
	named    map[namedLock][]knownHolder
	files    map[string]fileHolders
	services []LockInfo
}

// A knownHolder is one that was a holder when it was found.
type knownHolder struct {
	HolderInfo
	track *track     // nil for a holder that waits
	ended uint64     // as the track had it
	hold  queue.Hold // of a holder that waits
}

// holds reports whether it is a holder still.
func (k knownHolder) holds() bool {
	if k.track == nil {
		return k.hold.Held()
	}
	k.track.part.mu.Lock()
	defer k.track.part.mu.Unlock()
	return k.track.ended == k.ended
}

// stillHolding returns those that are holders still.
func stillHolding(lists ...[]knownHolder) (infos []HolderInfo) {
	for _, list := range lists {
		for _, k := range list {
			if k.holds() {
				infos = append(infos, k.HolderInfo)
			}
		}
	}
	return infos
}

// fileHolders are the holders of a lock file, and the name that it has among locks if it has one.
type fileHolders struct {
	key   names.Key
	known []knownHolder
}

// knownHolders returns the holders that are tracked, and those that wait.
func knownHolders() holders {
	h := holders{
		make(map[heldLock][]knownHolder), make(map[namedLock][]knownHolder),
		make(map[string]fileHolders), nil,
	}
	seen := make(map[queue.Hold]bool)
	for i := range trackParts {
		p := &trackParts[i]
		p.mu.Lock()
		for t := p.head; t != nil; t = t.next {
			stack := callers(append([]uintptr(nil), t.stack[:t.depth]...))
			info := HolderInfo{queue.At(t.since), cmp.Or(t.by, functionOf(stack)), stack}
			h.addTracked(t, knownHolder{HolderInfo: info, track: t, ended: t.ended})
		}
		p.mu.Unlock()
	}
	eachWait(func(w *wait) {
		if w.chain == nil {
			return
		}
		stack := callers(w.request.Stack())
		info := HolderInfo{By: cmp.Or(w.request.By, functionOf(stack)), Stack: stack}
		for c := w.chain; c != nil; c = c.outer {
			if c.tracked || seen[c.hold] {
				continue
			}
			if key, held := c.key(); held {
				seen[c.hold] = true
				h.addLink(c, key, knownHolder{HolderInfo: info, hold: c.hold})
			}
		}
	})
	return h
}

func (h *holders) addTracked(t *track, k knownHolder) {
	if t.lock != nil {
		l := heldLock{t.lock, t.name.Name}
		h.locks[l] = append(h.locks[l], k)
	}
	if t.named.table != nil {
		h.named[t.named] = append(h.named[t.named], k)
	}
	if t.path != "" {
		h.addToFile(t.path, t.name, k)
	}
	if t.service != "" {
		h.services = append(h.services, LockInfo{
			Scope: t.name.Scope, Name: t.name.Name, Service: t.service, Mode: modeOf(t.mode, true),
			Holders: []HolderInfo{k.HolderInfo},
		})
	}
}

func (h *holders) addLink(c *holdingContext, key names.Key, k knownHolder) {
	if lock, _ := c.of(); lock != nil {
		l := heldLock{lock, key.Name}
		h.locks[l] = append(h.locks[l], k)
	}
	if c.path != "" {
		if c.keyless {
			key = names.Key{} // its scope is not known
		}
		h.addToFile(c.path, key, k)
	}
}

func (h *holders) addToFile(path string, key names.Key, k knownHolder) {
	f := h.files[path]
	if key.Name != "" {
		f.key = key
	}
	f.known = append(f.known, k)
	h.files[path] = f
}

// Stacks.

// internalPackages are those whose frames say nothing about who waits or holds.
var internalPackages = []string{
	"github.com/lockutils/lockutils.",
	"github.com/lockutils/lockutils/internal/names.",
	"github.com/lockutils/lockutils/internal/queue.",
	"github.com/lockutils/lockutils/internal/filelock.",
	"github.com/lockutils/lockutils/internal/servicelock.",
	"reflect.", "sync.", "runtime.",
}

// callers returns the stack without the innermost frames that belong to this package.
func callers(stack []uintptr) []uintptr {
	for len(stack) > 0 {
		frames := runtime.CallersFrames(stack[:1])
		for more := true; more; {
			var f runtime.Frame
			if f, more = frames.Next(); !isInternal(f) {
				return stack
			}
		}
		stack = stack[1:]
	}
	return nil
}

func isInternal(f runtime.Frame) bool {
	return !strings.HasSuffix(f.File, "_test.go") &&
		slices.ContainsFunc(internalPackages, func(p string) bool { return strings.HasPrefix(f.Function, p) })
}

// functionOf returns the innermost function of a stack of callers, or "".
func functionOf(stack []uintptr) string {
	if len(stack) == 0 {
		return ""
	}
	f, _ := runtime.CallersFrames(stack).Next()
	return f.Function
}

// placeOf returns file and line of the innermost function of a stack, or "".
func placeOf(stack []uintptr) string {
	if len(stack) == 0 {
		return ""
	}
	f, _ := runtime.CallersFrames(stack).Next()
	return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
}

// Slow waits.

// SetSlowWait makes the package warn, through the logger, about waits that last longer than d, and again
// at 2d, 4d and so on. The message says which lock is waited for, how long, at which place of the queue,
// and what is known of the holders. Zero, the default, turns it off. It panics if d is negative. Waits
// that are under way are not affected. [WithLogging] turns the warnings of a call off too. Warnings that
// are due while the logger still writes earlier ones are left out.
func SetSlowWait(d time.Duration) {
	if d < 0 {
		panic("lockutils: SetSlowWait: negative duration")
	}
	slowWait.Store(int64(d))
}

var slowWait atomic.Int64

// warnOf warns of waits, in a goroutine of its own, since a handler may take any time. It does nothing
// while it is about earlier ones still.
func (a *watcher) warnOf(late []waitCopy, now time.Duration) {
	if !a.warning.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer a.warning.Store(false)
		traceWaits(allTables()) // so that holders that wait tell where
		known := knownHolders()
		views := make(map[*queue.Lock]queue.View)
		for _, w := range late {
			w.tryWarn(now, known, views)
		}
	}()
}

// tryWarn is warn, also if the log handler panics: there is nobody whom the panic could reach.
func (w *waitCopy) tryWarn(now time.Duration, known holders, views map[*queue.Lock]queue.View) {
	defer func() { _ = recover() }()
	w.warn(now, known, views)
}

func (w *waitCopy) warn(now time.Duration, known holders, views map[*queue.Lock]queue.View) {
	w.id.part.mu.Lock()
	over := !w.id.isListed()
	w.id.part.mu.Unlock()
	if over {
		return
	}
	position := 1
	if w.lock != nil {
		v, ok := views[w.lock]
		if !ok {
			v = w.lock.View()
			views[w.lock] = v
		}
		position += slices.IndexFunc(v.Waits, func(q queue.WaitView) bool { return q.Is(w.request) })
		if position == 0 {
			return // It is over.
		}
	}
	attrs := make([]slog.Attr, 0, 8)
	if w.about.Name != "" || w.about.Path == "" {
		attrs = append(attrs, slog.String("lock", w.about.Name))
	}
	if scope := scopeOf(w.about); scope != "" {
		attrs = append(attrs, slog.String("scope", scope))
	}
	if w.about.By != "" {
		attrs = append(attrs, slog.String("by", w.about.By))
	}
	if w.about.Path != "" {
		attrs = append(attrs, slog.String("path", w.about.Path))
	}
	if s := serviceOf(w.about.In); s != nil {
		attrs = append(attrs, slog.String("service", s.Name()))
	}
	attrs = append(attrs, slog.Duration("waited", now-w.since), slog.Int("position", position))
	if holders := w.holders(now, known); len(holders) > 0 {
		attrs = append(attrs, slog.Any("holders", holders))
	}
	logger().LogAttrs(w.ctx, slog.LevelWarn, "Waiting for lock", attrs...)
}

// holders describes those of what the wait is for.
func (w *waitCopy) holders(now time.Duration, known holders) []string {
	found := known.locks[heldLock{w.lock, w.about.Name}]
	if t, ok := w.about.In.(*names.Table); ok {
		key := names.Key{Scope: w.about.Scope, Name: w.about.Name}
		found = slices.Concat(found, known.named[namedLock{t, key}])
	}
	var described []string
	if w.about.Path != "" {
		found = known.files[w.about.Path].known
		processes, _ := filelock.Holders(w.about.Path)
		for _, p := range processes {
			described = append(described, describeProcess(p))
		}
	}
	for _, i := range stillHolding(found) {
		described = append(described, i.describe(now))
	}
	return described
}

func describeProcess(p filelock.Holder) string {
	if p.PID == UnknownPID {
		return "a process that cannot be told"
	}
	return strings.TrimSpace(fmt.Sprintf("PID %d %s", p.PID, p.Command))
}

func (i HolderInfo) describe(now time.Duration) string {
	by := cmp.Or(i.By[strings.LastIndexByte(i.By, '/')+1:], "a goroutine")
	if place := placeOf(i.Stack); place != "" {
		by += " at " + place
	}
	if i.Since.IsZero() {
		return by + ", which waits for another lock"
	}
	return fmt.Sprintf("%s, since %v", by, queue.At(now).Sub(i.Since).Round(time.Millisecond))
}

// FileInfo is what [HostLocks] tells of one lock file.
type FileInfo struct {
	Path     string
	Holders  []Holder
	Waiters  []Holder // those that wait in the kernel; those that poll are not seen
	LastUsed time.Time
}

// shortFunction is functionOf without the directory of the package.
func shortFunction(stack []uintptr) string {
	f := functionOf(stack)
	return f[strings.LastIndexByte(f, '/')+1:]
}
