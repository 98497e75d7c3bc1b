package lockutilstest

import (
	"cmp"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/internal/order"
)

// patience is how long goroutines may take to release their locks after the test.
const patience = time.Second

// NoneHeld fails the test if locks are held or waited for when it ends, and says which, by whom
// and where, as far as that is known. Locks that were in use when NoneHeld was called do not
// count. Goroutines that are about to release theirs have a second for it.
//
// Locks are process-wide: those of tests that run in parallel count as well.
func NoneHeld(t testing.TB) {
	t.Helper()
	before := make(map[string]bool)
	for _, i := range lockutils.Snapshot() {
		before[identity(i)] = true
	}
	t.Cleanup(func() {
		t.Helper()
		var left []lockutils.LockInfo
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			left = nil
			for _, i := range lockutils.Snapshot() {
				if !before[identity(i)] {
					left = append(left, i)
				}
			}
			if len(left) == 0 || time.Now().After(deadline) {
				break
			}
		}
		for _, i := range left {
			t.Errorf("lockutilstest: left by the test: %s", describe(i))
		}
	})
}

func identity(i lockutils.LockInfo) string {
	return strings.Join([]string{i.Scope, i.Name, i.Path, i.Service}, "\x00")
}

func describe(i lockutils.LockInfo) string {
	var b strings.Builder
	fmt.Fprintf(&b, "lock %q", i.Name)
	if i.Scope != "" {
		fmt.Fprintf(&b, " of %q", i.Scope)
	}
	if i.Path != "" {
		fmt.Fprintf(&b, " (file %q)", i.Path)
	}
	if i.Service != "" {
		fmt.Fprintf(&b, " at %s", i.Service)
	}
	if i.Mode != lockutils.ModeNone {
		fmt.Fprintf(&b, ", held by a %v", i.Mode)
	}
	for _, h := range i.Holders {
		fmt.Fprintf(&b, "\n\tholder: %s", place(h.By, h.Stack))
	}
	for _, w := range i.Waiters {
		fmt.Fprintf(&b, "\n\twaiting %v: %s", w.Mode, place(w.By, w.Stack))
	}
	return b.String()
}

func place(by string, stack []uintptr) string {
	if len(stack) == 0 {
		return by
	}
	f, _ := runtime.CallersFrames(stack).Next()
	return fmt.Sprintf("%s at %s:%d", by, f.File, f.Line)
}

// CheckOrder fails the test, when it ends, if locks were acquired in both orders while it ran:
// the one with a context that holds the other, and the other way round, directly or over further
// locks. Such code can deadlock, also if nothing has hung. Contexts are those of lockutils.Do,
// DoAll, Synchronized and Guard.Context.
//
// Locks of one class are one to CheckOrder, so that it need not meet the very locks that could
// deadlock. classify says the class by prefix and name; nil means the prefix, or the name without
// a prefix. Containers do not tell locks apart. Locks of one class may be acquired in the ascending
// order of their names, and of their prefixes if those are the same. Orders in which all locks are
// Shared are ignored, since readers do not wait for each other. So are requests that do not wait,
// such as those with NonBlocking.
//
// Locks are process-wide: those of tests that run in parallel count as well.
func CheckOrder(t testing.TB, classify func(scope, name string) string) {
	t.Helper()
	if classify == nil {
		classify = func(scope, name string) string {
			if scope == "" {
				return name
			}
			return scope
		}
	}
	c := &orderCheck{classify: classify, after: make(map[string]map[string]acquisition)}
	add(c)
	t.Cleanup(func() {
		t.Helper()
		remove(c)
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, violation := range c.violations {
			t.Errorf("lockutilstest: %s", violation)
		}
	})
}

// An orderCheck is what one CheckOrder has seen.
type orderCheck struct {
	classify func(scope, name string) string

	mu         sync.Mutex
	after      map[string]map[string]acquisition // by the class held and the class acquired; guarded by mu
	violations []string                          // guarded by mu
}

// An acquisition is the first one of its kind.
type acquisition struct {
	held, acquired order.Lock
	exclusive      bool
	where          string
}

func (a acquisition) String() string {
	return fmt.Sprintf("%q was acquired with %q held, at %s", a.acquired.Name, a.held.Name, a.where)
}

func (c *orderCheck) see(held []order.Lock, acquired order.Lock) {
	to := c.classify(acquired.Scope, acquired.Name)
	for _, h := range held {
		from := c.classify(h.Scope, h.Name)
		if from == to && cmp.Or(cmp.Compare(h.Name, acquired.Name), cmp.Compare(h.Scope, acquired.Scope)) <= 0 {
			continue
		}
		c.mu.Lock()
		c.add(from, to, acquisition{h, acquired, !h.Shared || !acquired.Shared, ""})
		c.mu.Unlock()
	}
}

// add notes an order; mu is held.
func (c *orderCheck) add(from, to string, a acquisition) {
	if known, ok := c.after[from][to]; ok && (known.exclusive || !a.exclusive) {
		return
	}
	a.where = caller()
	if c.after[from] == nil {
		c.after[from] = make(map[string]acquisition)
	}
	c.after[from][to] = a
	if from == to {
		if a.exclusive {
			c.violations = append(c.violations, fmt.Sprintf(
				"locks of class %q in descending order: %v", from, a))
		}
		return
	}
	for _, path := range c.paths(to, from, map[string]bool{}) {
		exclusive := a.exclusive
		lines := []string{a.String()}
		for _, p := range path {
			exclusive = exclusive || p.exclusive
			lines = append(lines, p.String())
		}
		if exclusive {
			c.violations = append(c.violations, fmt.Sprintf(
				"locks of classes %q and %q in both orders:\n\t%s", from, to, strings.Join(lines, "\n\t")))
			return
		}
	}
}

// paths returns orders that lead from one class to another; mu is held.
func (c *orderCheck) paths(from, to string, seen map[string]bool) (found [][]acquisition) {
	if from == to {
		return [][]acquisition{nil}
	}
	if seen[from] {
		return nil
	}
	seen[from] = true
	for next, a := range c.after[from] {
		if next == from {
			continue
		}
		for _, p := range c.paths(next, to, seen) {
			found = append(found, append([]acquisition{a}, p...))
		}
	}
	return found
}

// caller returns the place of the acquisition, which is the first outside of this module's
// packages.
func caller() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		internal := strings.HasPrefix(f.Function, "github.com/lockutils/lockutils.") ||
			strings.HasPrefix(f.Function, "github.com/lockutils/lockutils/lockutilstest.")
		if !internal || strings.HasSuffix(f.File, "_test.go") || !more {
			return fmt.Sprintf("%s:%d", f.File, f.Line)
		}
	}
}

// All checks that are on.
var (
	checksMu sync.RWMutex
	checks   = make(map[*orderCheck]bool) // guarded by checksMu
)

func add(c *orderCheck) {
	checksMu.Lock()
	defer checksMu.Unlock()
	checks[c] = true
	order.Set(seeAll)
}

func remove(c *orderCheck) {
	checksMu.Lock()
	defer checksMu.Unlock()
	if delete(checks, c); len(checks) == 0 {
		order.Set(nil)
	}
}

func seeAll(held []order.Lock, acquired order.Lock) {
	checksMu.RLock()
	defer checksMu.RUnlock()
	for c := range checks {
		c.see(held, acquired)
	}
}
