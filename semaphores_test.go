package lockutils_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils"
)

func wantPanic(t testing.TB, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Helper()
			t.Error("no panic")
		}
	}()
	f()
}

func TestHandlesOfOneNameAreEqual(t *testing.T) {
	x := string([]byte("x")) // the same name in another place
	var s, other lockutils.Semaphores
	if s.Get("x") != s.Get(x) || s.Get("x") == s.Get("y") || s.Get("x") == other.Get("x") {
		t.Error("Semaphore")
	}
	var f, otherFair lockutils.FairLocks
	if f.Get("x") != f.Get(x) || f.Get("x") == f.Get("y") || f.Get("x") == otherFair.Get("x") {
		t.Error("FairLock")
	}
	var rw, otherRW lockutils.ReaderWriterLocks
	if rw.Get("x") != rw.Get(x) || rw.Get("x") == rw.Get("y") || rw.Get("x") == otherRW.Get("x") {
		t.Error("NamedReaderWriterLock")
	}
	if s.Get("x").Name() != "x" || f.Get("x").Name() != "x" || rw.Get("x").Name() != "x" {
		t.Error("names")
	}
	if s.Len()+f.Len()+rw.Len() != 0 {
		t.Error("a handle alone uses a name")
	}
}

func TestSemaphoreAdmitsAsManyAsItHasPermits(t *testing.T) {
	for _, test := range []struct {
		container *lockutils.Semaphores
		permits   int
	}{
		{new(lockutils.Semaphores), 1},
		{lockutils.NewSemaphores(1), 1},
		{lockutils.NewSemaphores(3), 3},
		{lockutils.NewSemaphores(1 << 40), 1000},
	} {
		s := test.container.Get("x")
		for range test.permits {
			if !s.TryAcquire() {
				t.Fatal("a permit should be free")
			}
		}
		if test.permits < 1000 && s.TryAcquire() {
			t.Fatal("more holders than permits")
		}
		if !test.container.Get("y").TryAcquire() {
			t.Error("another name should be free")
		}
		if test.container.Len() != 2 {
			t.Errorf("Len %d", test.container.Len())
		}
		test.container.Get("y").Release()
		for range test.permits {
			s.Release()
		}
		if test.container.Len() != 0 {
			t.Errorf("Len %d after all is released", test.container.Len())
		}
		wantPanic(t, s.Release)
		if !s.TryAcquire() {
			t.Error("after a refused Release")
		}
		s.Release()
	}
}

func TestSemaphoresNeedAPermit(t *testing.T) {
	wantPanic(t, func() { lockutils.NewSemaphores(0) })
	wantPanic(t, func() { lockutils.NewSemaphores(-1) })
}

func TestSemaphoreNeverAdmitsMore(t *testing.T) {
	const permits = 3
	s := lockutils.NewSemaphores(permits)
	var inside, most atomic.Int64
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			for range 300 {
				if err := s.Get("x").Acquire(t.Context()); err != nil {
					t.Error(err)
					return
				}
				if now := inside.Add(1); now > most.Load() {
					most.Store(now)
				}
				inside.Add(-1)
				s.Get("x").Release()
			}
		})
	}
	all.Wait()
	if most.Load() > permits || s.Len() != 0 {
		t.Errorf("up to %d inside, %d names in use", most.Load(), s.Len())
	}
}

func TestLenCountsTheNamesHeldOrWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := lockutils.NewSemaphores(1)
		const names = 1000 // more than a container has room for without a second thought
		for i := range names {
			if err := s.Get(fmt.Sprint(i)).Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if s.Len() != names {
			t.Errorf("Len %d", s.Len())
		}
		ctx, cancel := context.WithCancel(t.Context())
		for i := range names {
			go func() {
				err := s.Get(fmt.Sprint(i)).Acquire(ctx)
				wantAcquireError(t, err, fmt.Sprint(i), "", context.Canceled)
			}()
		}
		synctest.Wait()
		if s.Len() != names {
			t.Errorf("Len %d with a waiter each", s.Len())
		}
		cancel()
		synctest.Wait()
		for i := range names {
			s.Get(fmt.Sprint(i)).Release()
		}
		if s.Len() != 0 {
			t.Errorf("Len %d at the end", s.Len())
		}
	})
}

func TestLocksTakeAPermitOfTheContainerGiven(t *testing.T) {
	s := lockutils.NewSemaphores(2)
	with := lockutils.WithSemaphores(s)
	first := mustLock(t, "x", with)
	if err := s.Get("x").Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantTaken(t, "x", with)
	if s.Get("x").TryAcquire() {
		t.Error("a third permit")
	}
	wantFree(t, "x")
	s.Get("x").Release()
	mustUnlock(t, first)

	var reader lockutils.Guard
	for range 5 {
		reader = mustLock(t, "x", with, lockutils.Shared())
	}
	wantTaken(t, "x", with)
	if s.Len() != 1 {
		t.Errorf("Len %d", s.Len())
	}
	mustUnlock(t, reader)
}

func TestSemaphoreServesWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := lockutils.NewSemaphores(2).Get("x")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var all sync.WaitGroup
		start := time.Now()
		for range 10 {
			all.Go(func() {
				if err := s.Acquire(ctx); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second)
				s.Release()
			})
		}
		all.Wait()
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("ten seconds of work took two at a time %v", took)
		}
	})
}

// Permits that guards hold are known apart: giving back one too many by name
// cannot take them away.
func TestReleaseByNameLeavesGuardsAlone(t *testing.T) {
	s := lockutils.NewSemaphores(2)
	g := mustLock(t, "x", lockutils.WithSemaphores(s))
	wantPanic(t, s.Get("x").Release)
	if !s.Get("x").TryAcquire() {
		t.Fatal("a permit should be free")
	}
	s.Get("x").Release()
	wantPanic(t, s.Get("x").Release)
	mustUnlock(t, g)
}

func TestSemaphoreFindsADeadlockOfItsContext(t *testing.T) {
	for permits := range int64(3) {
		s := lockutils.NewSemaphores(permits + 1)
		var nest func(ctx context.Context, depth int64) error
		nest = func(ctx context.Context, depth int64) error {
			if depth == 0 {
				return s.Get("x").Acquire(ctx)
			}
			return lockutils.Do(ctx, "x", func(ctx context.Context) error { return nest(ctx, depth-1) },
				lockutils.WithSemaphores(s))
		}
		wantAcquireError(t, nest(t.Context(), permits+1), "x", "", lockutils.ErrDeadlock)
		if err := nest(t.Context(), permits); err != nil {
			t.Error("with a permit to spare:", err)
		}
		s.Get("x").Release()
		if s.Len() != 0 {
			t.Errorf("Len %d", s.Len())
		}
	}
}
