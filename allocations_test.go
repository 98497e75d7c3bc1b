//go:build !race

package lockutils_test

import (
	"context"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

// The race detector allocates on its own account, so this is for builds without it.
func TestAllocations(t *testing.T) {
	ctx := context.Background()
	container := lockutils.NewSemaphores(2)
	var fair lockutils.FairLocks
	var rws lockutils.ReaderWriterLocks
	var rw lockutils.ReaderWriterLock
	lock := func(opts ...lockutils.Option) func() {
		return func() {
			g, err := lockutils.Lock("x", opts...)
			if err != nil {
				t.Fatal(err)
			}
			_ = g.Unlock()
		}
	}
	nothing := func(context.Context) error { return nil }
	synchronized := lockutils.Synchronized("x", func() {})
	withError := lockutils.Synchronized("x", func() error { return nil })
	withContext := lockutils.Synchronized("x", nothing)
	inProject := lockutils.LockWithPrefix("nova")
	for _, test := range []struct {
		name string
		most float64
		f    func()
	}{
		{"Lock", 0, lock()},
		{"Lock, options written at the call", 0, func() {
			g, _ := lockutils.Lock("x", lockutils.Fair(), lockutils.WithPrefix("p"), lockutils.WithLogging(false))
			_ = g.Unlock()
		}},
		{"Lock, Fair", 0, lock(lockutils.Fair())},
		{"Lock, Shared", 0, lock(lockutils.Shared())},
		{"Lock, WithPrefix", 0, lock(lockutils.WithPrefix("p"))},
		{"Lock, NonBlocking", 0, lock(lockutils.NonBlocking())},
		{"Lock, WithTimeout", 0, lock(lockutils.WithTimeout(time.Second))},
		{"Lock, WithSemaphores", 0, lock(lockutils.WithSemaphores(container))},
		{"Lock, WithSemaphores written at the call", 0, func() {
			g, _ := lockutils.Lock("x", lockutils.WithSemaphores(container))
			_ = g.Unlock()
		}},
		{"Lock, a new name each time", 0, newNames()},
		{"LockContext", 0, func() { g, _ := lockutils.LockContext(ctx, "x"); _ = g.Unlock() }},
		{"TryLock", 0, func() { g, _ := lockutils.TryLock("x"); _ = g.Unlock() }},
		{"InternalFairLock", 0, func() { g, _ := lockutils.InternalFairLock("x"); _ = g.Unlock() }},
		{"LockWithPrefix", 0, func() { g, _ := inProject("x"); _ = g.Unlock() }},
		{"Do", 1, func() { _ = lockutils.Do(ctx, "x", nothing) }},
		{"Do, options", 1, func() {
			_ = lockutils.Do(ctx, "x", nothing, lockutils.Shared(),
				lockutils.WithPrefix("p"))
		}},
		{"Synchronized, func()", 0, synchronized},
		{"Synchronized, func() error", 0, func() { _ = withError() }},
		{"Synchronized, func(context.Context) error", 1, func() { _ = withContext(ctx) }},
		{"Semaphore", 0, func() { _ = container.Get("x").Acquire(ctx); container.Get("x").Release() }},
		{"FairLock", 0, func() { once(fair.Get("x")) }},
		{"NamedReaderWriterLock", 0, func() { once(rws.Get("x")) }},
		{"ReaderWriterLock", 0, func() { once(&rw) }},
	} {
		if got := testing.AllocsPerRun(1000, test.f); got > test.most {
			t.Errorf("%s: %v allocations, want at most %v", test.name, got, test.most)
		}
	}
}

// newNames returns a function that locks another name at each call.
func newNames() func() {
	names := make([]string, 2000)
	for i := range names {
		names[i] = string(rune('a'+i%26)) + string(rune('0'+i))
	}
	next := 0
	return func() {
		g, _ := lockutils.Lock(names[next%len(names)])
		_ = g.Unlock()
		next++
	}
}
