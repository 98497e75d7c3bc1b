package filelock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

func mustLock(t testing.TB, r Request) *Hold {
	t.Helper()
	h, err := Lock(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func mustUnlock(t testing.TB, h *Hold) {
	t.Helper()
	if err := h.Unlock(); err != nil {
		t.Fatal(err)
	}
}

// needs skips the test if this system cannot serve r.
func needs(t testing.TB, r Request) {
	t.Helper()
	h, err := TryLock(r)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, h)
}

// mustRefuse fails the test unless the lock of r is held elsewhere.
func mustRefuse(t testing.TB, r Request) {
	t.Helper()
	h, err := TryLock(r)
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("TryLock of a lock held: %v, %v", h, err)
	}
}

// mustGrant fails the test unless the lock of r is free.
func mustGrant(t testing.TB, r Request) {
	t.Helper()
	h, err := TryLock(r)
	if err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, h)
}

func TestExclusiveExcludesEverybody(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		path := lockPath(t)
		other := newPeer(t)
		for range 3 { // with a new file, a new descriptor, a kept one
			h := mustLock(t, Request{Path: path})
			for _, mode := range []Mode{Exclusive, Shared} {
				r := Request{Path: path, Mode: mode}
				mustRefuse(t, r)
				if other.send("trylock", r); other.answer() != ErrLocked.Error() {
					t.Error("another process got a lock held here")
				}
			}
			mustUnlock(t, h)
			other.must("lock", Request{Path: path})
			mustRefuse(t, Request{Path: path})
			mustRefuse(t, Request{Path: path, Mode: Shared})
			other.must("unlock", Request{Path: path})
		}
	})
}

func TestSharedExcludesExclusiveOnly(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		path := lockPath(t)
		shared := Request{Path: path, Mode: Shared}
		other := newPeer(t)
		first, second := mustLock(t, shared), mustLock(t, shared)
		other.must("lock", shared)
		mustRefuse(t, Request{Path: path})
		other.must("unlock", shared)
		mustRefuse(t, Request{Path: path})
		mustUnlock(t, first)
		mustRefuse(t, Request{Path: path})
		mustUnlock(t, second)
		mustGrant(t, Request{Path: path})
	})
}

func TestReadersOfAProcessShareADescriptor(t *testing.T) {
	path := lockPath(t)
	shared := Request{Path: path, Mode: Shared}
	mustGrant(t, shared) // makes the file
	CloseIdle()
	before := openFiles(t)
	other := newPeer(t)
	other.must("lock", Request{Path: path})
	var holds [100]*Hold
	var readers errgroup.Group
	for i := range holds {
		readers.Go(func() (err error) {
			holds[i], err = Lock(t.Context(), shared)
			return err
		})
	}
	awaitWaiters(t, shared, len(holds))
	if n := openFiles(t) - before; n != 1 {
		t.Errorf("%d waiting readers have %d descriptors open", len(holds), n)
	}
	other.must("unlock", Request{Path: path})
	if err := readers.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := openFiles(t) - before; n != 1 {
		t.Errorf("%d readers have %d descriptors open", len(holds), n)
	}
	for _, h := range holds {
		mustUnlock(t, h)
	}
	mustGrant(t, Request{Path: path})
}

// awaitWaiters returns when n goroutines wait for r.
func awaitWaiters(t testing.TB, r Request, n int) {
	t.Helper()
	for !t.Failed() && t.Context().Err() == nil {
		if waitersOf(r) == n {
			return
		}
	}
}

// waitersOf counts the goroutines of this process that wait for r.
func waitersOf(r Request) int {
	p := paths.enter(r.Path)
	defer paths.leave(p)
	waiting := 0
	for _, q := range p.turn.View().Waits {
		if q.Mode == r.Mode {
			waiting++
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.waits[kindOf(r)]; w != nil {
		waiting += w.requests
	}
	return waiting
}

func TestGoroutinesExcludeEachOther(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		path := lockPath(t)
		linked := filepath.Join(t.TempDir(), "linked")
		if err := os.Symlink(filepath.Dir(path), linked); err != nil {
			t.Skip(err)
		}
		spellings := []string{path, filepath.Join(linked, filepath.Base(path))}
		var writers, readers, overlaps atomic.Int64
		var group errgroup.Group
		for i := range 8 {
			r := Request{Path: spellings[i%2], Mode: Mode(i / 2 % 2), Delay: 1e6}
			group.Go(func() error {
				for range 50 {
					h, err := Lock(t.Context(), r)
					if err != nil {
						return err
					}
					count := &readers
					if r.Mode == Exclusive {
						count = &writers
					}
					count.Add(1)
					if n := writers.Load(); n > 1 || n == 1 && readers.Load() > 0 {
						overlaps.Add(1)
					}
					count.Add(-1)
					if err := h.Unlock(); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		if n := overlaps.Load(); n > 0 {
			t.Errorf("%d overlaps", n)
		}
	})
}

func TestContextEndsTheWait(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		for _, mode := range []Mode{Exclusive, Shared} {
			r := Request{Path: lockPath(t), Mode: mode}
			other := newPeer(t)
			other.must("lock", Request{Path: r.Path})
			ctx := cancelWait(t, r)
			mustRefuse(t, r)
			// The abandoned wait is in nobody's way.
			other.must("unlock", Request{Path: r.Path})
			mustGrant(t, r)
			if _, err := Lock(ctx, r); err != context.Canceled {
				t.Errorf("Lock with a context that has ended returned %v", err)
			}
		}
	})
}

// cancelWait joins the waiters for r, whose lock is held, and cancels. It returns the context
// that has ended.
func cancelWait(t testing.TB, r Request) context.Context {
	t.Helper()
	others := waitersOf(r)
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error, 1)
	go func() {
		_, err := Lock(ctx, r)
		failed <- err
	}()
	awaitWaiters(t, r, others+1)
	cancel()
	if err := <-failed; err != context.Canceled {
		t.Errorf("a cancelled Lock returned %v", err)
	}
	return ctx
}

func TestNextWaiterAdoptsAnAbandonedWait(t *testing.T) {
	r := Request{Path: lockPath(t)}
	other := newPeer(t)
	other.must("lock", r)
	before := openFiles(t)
	for range 20 {
		cancelWait(t, r)
	}
	if n := openFiles(t) - before; n > 1 {
		t.Errorf("%d descriptors for the abandoned waits for one lock", n)
	}
	granted := make(chan *Hold)
	go func() {
		h, err := Lock(t.Context(), r)
		if err != nil {
			t.Error(err)
		}
		granted <- h
	}()
	awaitWaiters(t, r, 1)
	other.must("unlock", r)
	h := <-granted
	mustRefuse(t, r)
	mustUnlock(t, h)
}

func TestKilledHolderLosesTheLock(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		r := Request{Path: lockPath(t)}
		other := newPeer(t)
		other.must("lock", r)
		mustRefuse(t, r)
		other.kill()
		mustUnlock(t, mustLock(t, r))
	})
}
