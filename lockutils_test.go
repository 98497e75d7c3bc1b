package lockutils_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/drivers/drivertest"
)

// kinds are the ways to take a lock named "x" alone, all of which exclude each other.
var kinds = []struct {
	name string
	opts []lockutils.Option
}{
	{"default", nil},
	{"fair", []lockutils.Option{lockutils.Fair()}},
	{"external", []lockutils.Option{lockutils.External()}},
	{"with a timeout", []lockutils.Option{lockutils.WithTimeout(time.Hour)}},
	{"with its empty prefix", []lockutils.Option{lockutils.WithPrefix("")}},
	{"with no container", []lockutils.Option{lockutils.WithSemaphores(nil)}},
	{"with the zero option", []lockutils.Option{{}}},
}

func TestAllKindsOfRequestsExcludeEachOther(t *testing.T) {
	setLockPath(t)
	for _, first := range kinds {
		t.Run(first.name, func(t *testing.T) {
			g := mustLock(t, "x", first.opts...)
			for _, second := range kinds {
				alone := append(second.opts[:len(second.opts):len(second.opts)], lockutils.WithTimeout(0))
				shared := append(alone[:len(alone):len(alone)], lockutils.Shared())
				for _, opts := range [][]lockutils.Option{alone, shared} {
					if _, err := lockutils.Lock("x", opts...); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("then one %s got %v", second.name, err)
					}
				}
			}
			mustUnlock(t, g)
			for _, second := range kinds {
				g := mustLock(t, "x", second.opts...)
				mustUnlock(t, g)
			}
		})
	}
}

func TestLocksOfOtherNamesAreFree(t *testing.T) {
	names := []string{"", "a", "A", "a ", "b", "a/b", "a_b", "ü", "\x00", "\xff"}
	for _, name := range names {
		mustLock(t, name)
	}
	for _, name := range names {
		wantTaken(t, name)
	}
}

func TestSharedHoldersComeTogetherAndExcludeOthers(t *testing.T) {
	setLockPath(t)
	for _, extra := range [][]lockutils.Option{nil, {lockutils.External()}, {lockutils.Fair()},
		{lockutils.WithSemaphores(lockutils.NewSemaphores(3))}} {
		shared := append([]lockutils.Option{lockutils.Shared()}, extra...)
		first := mustLock(t, "x", shared...)
		second := mustLock(t, "x", shared...)
		wantTaken(t, "x", extra...)
		mustUnlock(t, first)
		wantTaken(t, "x", extra...)
		mustUnlock(t, second)
		alone := mustLock(t, "x", extra...)
		wantTaken(t, "x", shared...)
		mustUnlock(t, alone)
	}
}

// Overlaps are counted, and the race detector looks at a variable that only the lock guards.
func TestHoldersNeverOverlap(t *testing.T) {
	setLockPath(t)
	for _, rounds := range []struct {
		n    int
		opts []lockutils.Option
	}{
		{2000, nil},
		{500, []lockutils.Option{lockutils.Fair()}},
		{200, []lockutils.Option{lockutils.External()}},
	} {
		var inside, overlaps atomic.Int32
		count := 0
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range rounds.n {
					g, err := lockutils.Lock("x", rounds.opts...)
					if err != nil {
						t.Error(err)
						return
					}
					if inside.Add(1) > 1 {
						overlaps.Add(1)
					}
					count++
					inside.Add(-1)
					if err := g.Unlock(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if overlaps.Load() > 0 || count != 8*rounds.n {
			t.Errorf("%d overlaps, %d of %d counted", overlaps.Load(), count, 8*rounds.n)
		}
	}
}

// The race detector checks it, by a plain number that writers change and readers read.
func TestReleaseSynchronizesBeforeAcquisition(t *testing.T) {
	setLockPath(t)
	service := drivertest.NewMemory().Open()
	defer service.Close()
	var unnamed lockutils.ReaderWriterLock
	named := new(lockutils.ReaderWriterLocks).Get("x")
	fair := new(lockutils.FairLocks).Get("x")
	permit := lockutils.NewSemaphores(1).Get("x")
	file := lockutils.NewInterProcessLock(filepath.Join(t.TempDir(), "x"))

	type way func(f func()) error
	lock := func(opts ...lockutils.Option) way {
		return func(f func()) error {
			g, err := lockutils.Lock("x", opts...)
			if err != nil {
				return err
			}
			f()
			return g.Unlock()
		}
	}
	locker := func(l sync.Locker) way {
		return func(f func()) error { l.Lock(); f(); l.Unlock(); return nil }
	}
	do := func(f func()) error {
		return lockutils.Do(t.Context(), "x", func(context.Context) error { f(); return nil })
	}
	synchronized := func(f func()) error { lockutils.Synchronized("x", f)(); return nil }
	semaphore := func(f func()) error {
		if err := permit.Acquire(t.Context()); err != nil {
			return err
		}
		f()
		permit.Release()
		return nil
	}
	fileWriter := func(f func()) error {
		if err := file.Lock(); err != nil {
			return err
		}
		f()
		return file.Unlock()
	}
	fileReader := func(f func()) error {
		if err := file.RLock(); err != nil {
			return err
		}
		f()
		return file.RUnlock()
	}
	external, on := lockutils.External(), lockutils.On(service)
	for name, w := range map[string]struct{ write, read way }{
		"no option":    {lock(), lock(lockutils.Shared())},
		"Fair":         {lock(lockutils.Fair()), lock(lockutils.Shared(), lockutils.Fair())},
		"External":     {lock(external), lock(external, lockutils.Shared())},
		"On":           {lock(on), lock(on, lockutils.Shared())},
		"Do":           {do, do},
		"Synchronized": {synchronized, synchronized},
		"FairLock":     {locker(fair), locker(fair.RLocker())},
		"named":        {locker(named), locker(named.RLocker())},
		"unnamed":      {locker(&unnamed), locker(unnamed.RLocker())},
		"Semaphore":    {semaphore, semaphore},
		"InterProcess": {fileWriter, fileReader},
	} {
		t.Run(name, func(t *testing.T) {
			n, seen := 0, make([]int, 2)
			var all sync.WaitGroup
			for i := range seen {
				all.Go(func() {
					for range 50 {
						if err := w.write(func() { n++ }); err != nil {
							t.Error(err)
						}
						if err := w.read(func() { seen[i] = n }); err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			if want := 50 * len(seen); n != want || slices.Max(seen) != want {
				t.Errorf("%d written, %v read", n, seen)
			}
		})
	}
}

func TestTryLockFailsAtOnceWhenTheLockIsTaken(t *testing.T) {
	dir := setLockPath(t)
	mustLock(t, "x", lockutils.External())
	_, err := lockutils.TryLock("x")
	wantAcquireError(t, err, "x", "", lockutils.ErrLocked)
	_, err = lockutils.TryLock("x", lockutils.External())
	wantAcquireError(t, err, "x", filepath.Join(dir, "x"), lockutils.ErrLocked)
	_, err = lockutils.Lock("x", lockutils.NonBlocking())
	wantAcquireError(t, err, "x", "", lockutils.ErrLocked)
}

func TestTimeoutEndsTheWait(t *testing.T) {
	container := lockutils.WithSemaphores(new(lockutils.Semaphores))
	for _, test := range []struct{ holder, waiter []lockutils.Option }{
		{nil, nil},
		{nil, []lockutils.Option{lockutils.Fair()}},
		{nil, []lockutils.Option{lockutils.Shared()}},
		{[]lockutils.Option{lockutils.Shared()}, nil},
		{[]lockutils.Option{container}, []lockutils.Option{container}},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := mustLock(t, "x", test.holder...)
			start := time.Now()
			_, err := lockutils.Lock("x", append(test.waiter, lockutils.WithTimeout(time.Minute))...)
			wantAcquireError(t, err, "x", "", context.DeadlineExceeded)
			if waited := time.Since(start); waited != time.Minute {
				t.Errorf("waited %v for a timeout of a minute", waited)
			}
			mustUnlock(t, g)
			wantFree(t, "x", test.waiter...)
		})
	}
}

func TestTimeoutLetsAWaiterInThatIsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := mustLock(t, "x")
		time.AfterFunc(time.Minute-1, func() { mustUnlock(t, g) })
		second, err := lockutils.Lock("x", lockutils.WithTimeout(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		mustUnlock(t, second)
	})
}

func TestFreeLockIsHadHoweverShortTheTimeout(t *testing.T) {
	setLockPath(t)
	for _, d := range []time.Duration{0, 1, 1<<63 - 1} {
		g := mustLock(t, "x", lockutils.WithTimeout(d))
		mustUnlock(t, g)
		g = mustLock(t, "x", lockutils.WithTimeout(d), lockutils.External())
		mustUnlock(t, g)
	}
}

func TestContextThatIsDoneNeverAcquires(t *testing.T) {
	setLockPath(t)
	reason := errors.New("the reason")
	cancelled, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	late, cancelLate := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancelLate()
	file := lockutils.NewInterProcessLock(filepath.Join(t.TempDir(), "file"))
	rw := new(lockutils.ReaderWriterLock)
	named := new(lockutils.ReaderWriterLocks)
	calls := map[string]func(ctx context.Context) error{
		"LockContext": func(ctx context.Context) error { _, err := lockutils.LockContext(ctx, "x"); return err },
		"LockContext, non-blocking": func(ctx context.Context) error {
			_, err := lockutils.LockContext(ctx, "x", lockutils.NonBlocking())
			return err
		},
		"LockContext, timeout": func(ctx context.Context) error {
			_, err := lockutils.LockContext(ctx, "x", lockutils.WithTimeout(time.Hour))
			return err
		},
		"LockContext, shared": func(ctx context.Context) error {
			_, err := lockutils.LockContext(ctx, "x", lockutils.Shared())
			return err
		},
		"LockContext, external": func(ctx context.Context) error {
			_, err := lockutils.LockContext(ctx, "x", lockutils.External())
			return err
		},
		"Do": func(ctx context.Context) error {
			return lockutils.Do(ctx, "x", func(context.Context) error { t.Error("fn has run"); return nil })
		},
		"Synchronized": lockutils.Synchronized("x",
			func(context.Context) error { t.Error("fn has run"); return nil }),
		"Synchronized, by reflection": func(ctx context.Context) error {
			_, err := lockutils.Synchronized("x", func(context.Context) (int,
				error) {
				t.Error("fn has run")
				return 0, nil
			})(ctx)
			return err
		},
		"Semaphore":                   new(lockutils.Semaphores).Get("x").Acquire,
		"FairLock":                    new(lockutils.FairLocks).Get("x").LockContext,
		"ReaderWriterLock":            rw.LockContext,
		"ReaderWriterLock, read":      rw.RLockContext,
		"NamedReaderWriterLock":       named.Get("x").LockContext,
		"NamedReaderWriterLock, read": named.Get("x").RLockContext,
		"InterProcessLock":            file.LockContext,
		"InterProcessLock, read":      file.RLockContext,
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			for _, test := range []struct {
				ctx     context.Context
				matches []error
			}{
				{cancelled, []error{context.Canceled, reason}},
				{late, []error{context.DeadlineExceeded}},
				{nil, []error{lockutils.ErrOptions}},
			} {
				err := call(test.ctx)
				var failed *lockutils.AcquireError
				if !errors.As(err, &failed) {
					t.Fatalf("error %T %v, want an *AcquireError", err, err)
				}
				for _, target := range test.matches {
					wantError(t, err, target)
				}
			}
		})
	}
	wantFree(t, "x", lockutils.External())
	if rw.Owner() != lockutils.ModeNone || named.Len() != 0 || file.Exists() {
		t.Error("something is left of the calls")
	}
}

func TestContextEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reason := errors.New("the reason")
		for _, opts := range [][]lockutils.Option{nil, {lockutils.Fair()}, {lockutils.Shared()}} {
			g := mustLock(t, "x")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(reason) })
			start := time.Now()
			_, err := lockutils.LockContext(ctx, "x", opts...)
			wantAcquireError(t, err, "x", "", context.Canceled)
			wantError(t, err, reason)
			if time.Since(start) != time.Second {
				t.Errorf("the wait took %v", time.Since(start))
			}

			ctx, cancelTimeout := context.WithTimeoutCause(t.Context(), time.Second, reason)
			defer cancelTimeout()
			_, err = lockutils.LockContext(ctx, "x", append(opts, lockutils.WithTimeout(time.Hour))...)
			wantAcquireError(t, err, "x", "", context.DeadlineExceeded)
			wantError(t, err, reason)
			mustUnlock(t, g)
		}
	})
}

func TestExternalWaitEndsWithTheContext(t *testing.T) {
	dir := setLockPath(t)
	holder := startPeer(t)
	holder.must("lock", "x", dir, "external")
	reason := errors.New("the reason")
	for _, opts := range [][]lockutils.Option{
		{lockutils.External()},
		{lockutils.External(), lockutils.Shared()},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error)
		go func() {
			_, err := lockutils.LockContext(ctx, "x", opts...)
			ended <- err
		}()
		cancel(reason)
		err := <-ended
		wantError(t, err, context.Canceled)
		wantError(t, err, reason)

		_, err = lockutils.Lock("x", append(opts, lockutils.WithTimeout(time.Millisecond))...)
		wantAcquireError(t, err, "x", filepath.Join(dir, "x"), context.DeadlineExceeded)
	}
	wantFree(t, "x") // nothing stays held of the internal layer
	holder.must("unlock", "x", dir)
	mustUnlock(t, mustLock(t, "x", lockutils.External()))
}

func TestSecondUnlockIsRefusedAndDisturbsNobody(t *testing.T) {
	setLockPath(t)
	pair := lockutils.NewSemaphores(2)
	for _, opts := range [][]lockutils.Option{
		nil,
		{lockutils.Fair()},
		{lockutils.Shared()},
		{lockutils.External()},
		{lockutils.External(), lockutils.Shared()},
		{lockutils.WithSemaphores(pair)},
	} {
		g := mustLock(t, "x", opts...)
		clone := g
		mustUnlock(t, clone)
		wantError(t, g.Unlock(), lockutils.ErrNotHeld)

		// The same name, and so the same record, in somebody else's hands.
		other := mustLock(t, "x", opts...)
		for range 3 {
			wantError(t, g.Unlock(), lockutils.ErrNotHeld)
			wantError(t, clone.Unlock(), lockutils.ErrNotHeld)
		}
		if pair.Len() == 0 {
			wantTaken(t, "x")
		}
		mustUnlock(t, other)
		wantError(t, other.Unlock(), lockutils.ErrNotHeld)
		wantFree(t, "x", opts...)
	}
	if pair.Len() != 0 {
		t.Errorf("%d names in use", pair.Len())
	}
}

func TestZeroGuardHoldsNothing(t *testing.T) {
	var g lockutils.Guard
	if err := g.Unlock(); err != lockutils.ErrNotHeld {
		t.Errorf("Unlock: %v", err)
	}
	if g.Name() != "" || g.Path() != "" {
		t.Errorf("name %q, path %q", g.Name(), g.Path())
	}
	failed, err := lockutils.Lock("x", lockutils.WithTimeout(-1))
	if err == nil || failed != (lockutils.Guard{}) {
		t.Errorf("a call that fails returns guard %v", failed)
	}
}

func TestGuardKnowsItsNameAndFile(t *testing.T) {
	dir := setLockPath(t)
	g := mustLock(t, "a/b", lockutils.External(), lockutils.WithPrefix("p"))
	if g.Name() != "a/b" || g.Path() != filepath.Join(dir, "p-a_b") {
		t.Errorf("name %q, path %q", g.Name(), g.Path())
	}
	mustUnlock(t, g)
	if g.Path() != filepath.Join(dir, "p-a_b") {
		t.Errorf("path %q after Unlock", g.Path())
	}
	if g := mustLock(t, "a/b"); g.Name() != "a/b" || g.Path() != "" {
		t.Errorf("name %q, path %q of a lock without a file", g.Name(), g.Path())
	}
}

func TestGuardMayBeUnlockedByAnotherGoroutine(t *testing.T) {
	setLockPath(t)
	for _, opts := range [][]lockutils.Option{nil, {lockutils.Shared()}, {lockutils.External()}} {
		g := mustLock(t, "x", opts...)
		done := make(chan error)
		go func() { done <- g.Unlock() }()
		if err := <-done; err != nil {
			t.Error(err)
		}
		wantFree(t, "x", opts...)
	}
}

// Exactly one of those that unlock copies of one guard at the same moment does it. The guards are
// kept and used again later, when their records serve others.
func TestStaleGuardNeverFreesAnotherHold(t *testing.T) {
	const goroutines, rounds = 8, 400
	setLockPath(t)
	names := []string{
		"a", "b", "c", "a name that is far too long to be kept beside the lock's state in its slot",
	}
	kinds := [][]lockutils.Option{nil, {lockutils.Fair()}, {lockutils.Shared()},
		{lockutils.WithSemaphores(lockutils.NewSemaphores(1))}}
	inside := make([]atomic.Int32, len(names)) // -1: a writer, n: readers
	var all sync.WaitGroup
	stale := make(chan lockutils.Guard, goroutines*rounds)
	for me := range goroutines {
		all.Go(func() {
			for i := range rounds {
				n, opts := (i+me)%len(names), kinds[i%3]
				g, err := lockutils.Lock(names[n], opts...)
				if err != nil {
					t.Error(err)
					return
				}
				change := int32(-1)
				if i%3 == 2 {
					change = 1
				}
				if now := inside[n].Add(change); change < 0 && now != -1 || change > 0 && now < 1 {
					t.Errorf("%d inside", now)
				}
				select {
				case old := <-stale:
					if err := old.Unlock(); !errors.Is(err, lockutils.ErrNotHeld) {
						t.Errorf("a stale guard's Unlock: %v", err)
					}
				default:
				}
				runtime.Gosched()
				inside[n].Add(-change)
				if err := g.Unlock(); err != nil {
					t.Error(err)
				}
				stale <- g
			}
		})
	}
	all.Wait()

	for range rounds {
		g := mustLock(t, "a")
		var unlocked atomic.Int32
		for range 4 {
			all.Go(func() {
				if g.Unlock() == nil {
					unlocked.Add(1)
				}
			})
		}
		all.Wait()
		if unlocked.Load() != 1 {
			t.Fatalf("%d of four unlocked one hold", unlocked.Load())
		}
	}
}

func TestLayersCanBeTakenAlone(t *testing.T) {
	dir := setLockPath(t)
	internal, err := lockutils.InternalLock("x")
	if err != nil {
		t.Fatal(err)
	}
	wantTaken(t, "x")
	if _, err := lockutils.InternalFairLock("x", lockutils.NonBlocking()); !errors.Is(err, lockutils.ErrLocked) {
		t.Error("the internal fair lock and the internal lock should be one:", err)
	}
	external, err := lockutils.ExternalLock("x")
	if err != nil {
		t.Fatal("the lock file is another layer:", err)
	}
	if internal.Path() != "" || external.Path() != filepath.Join(dir, "x") {
		t.Errorf("paths %q, %q", internal.Path(), external.Path())
	}
	mustUnlock(t, internal)
	wantFree(t, "x")
	wantTaken(t, "x", lockutils.External())
	if _, err := lockutils.ExternalLock("x", lockutils.NonBlocking()); !errors.Is(err, lockutils.ErrLocked) {
		t.Error("the lock file is held in this process:", err)
	}
	mustUnlock(t, external)
	wantError(t, external.Unlock(), lockutils.ErrNotHeld)
	wantFree(t, "x", lockutils.External())

	fair, err := lockutils.InternalFairLock("x")
	if err != nil {
		t.Fatal(err)
	}
	wantTaken(t, "x")
	mustUnlock(t, fair)

	for name, take := range map[string]func() (lockutils.Guard, error){
		"InternalLock, External": func() (lockutils.Guard,
			error) {
			return lockutils.InternalLock("x", lockutils.External())
		},
		"InternalFairLock, External": func() (lockutils.Guard,
			error) {
			return lockutils.InternalFairLock("x", lockutils.External())
		},
		"InternalFairLock, WithSemaphores": func() (lockutils.Guard, error) {
			return lockutils.InternalFairLock("x", lockutils.WithSemaphores(new(lockutils.Semaphores)))
		},
		"ExternalLock, WithSemaphores": func() (lockutils.Guard, error) {
			return lockutils.ExternalLock("x", lockutils.WithSemaphores(new(lockutils.Semaphores)))
		},
	} {
		if _, err := take(); !errors.Is(err, lockutils.ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantFree(t, "x", lockutils.External())
}

// Waiters come, are cancelled at any moment, and are served. Those not cancelled must get
// the lock, or the test ends only by its bound; and nothing may be left at the end.
func TestCancellingAnyWaiterAtAnyMomentLosesNoWakeUp(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	two := lockutils.NewSemaphores(2)
	var fair lockutils.FairLocks
	var rw lockutils.ReaderWriterLock
	named := func(opts ...lockutils.Option) func(ctx context.Context, i int) (func() error, error) {
		return func(ctx context.Context, i int) (func() error, error) {
			if i%3 == 0 {
				opts := append(opts[:len(opts):len(opts)], lockutils.Shared())
				g, err := lockutils.LockContext(ctx, "x", opts...)
				return g.Unlock, err
			}
			g, err := lockutils.LockContext(ctx, "x", opts...)
			return g.Unlock, err
		}
	}
	for name, acquire := range map[string]func(ctx context.Context, i int) (release func() error, err error){
		"default":   named(),
		"fair":      named(lockutils.Fair()),
		"container": named(lockutils.WithSemaphores(two)),
		"timeout":   named(lockutils.WithTimeout(time.Hour)),
		"default and fair": func(ctx context.Context, i int) (func() error, error) {
			if i%2 == 0 {
				return named(lockutils.Fair())(ctx, i)
			}
			return named()(ctx, i)
		},
		"FairLock": func(ctx context.Context, _ int) (func() error, error) {
			l := fair.Get("x")
			return func() error { l.Unlock(); return nil }, l.LockContext(ctx)
		},
		"ReaderWriterLock": func(ctx context.Context, i int) (func() error, error) {
			if i%2 == 0 {
				return func() error { rw.RUnlock(); return nil }, rw.RLockContext(ctx)
			}
			return func() error { rw.Unlock(); return nil }, rw.LockContext(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var cancelled atomic.Int32
			for range rounds {
				release, err := acquire(t.Context(), 1)
				if err != nil {
					t.Fatal(err)
				}
				var all sync.WaitGroup
				for i := range 10 {
					ctx, cancel := t.Context(), context.CancelFunc(func() {})
					if i%2 == 0 {
						ctx, cancel = context.WithCancel(ctx)
						time.AfterFunc(time.Duration(rand.IntN(100))*time.Microsecond, cancel)
					}
					all.Go(func() {
						defer cancel()
						release, err := acquire(ctx, i)
						if err == nil {
							err = release()
						} else if errors.Is(err, context.Canceled) && ctx.Err() != nil {
							cancelled.Add(1)
							return
						}
						if err != nil {
							t.Error(err)
						}
					})
				}
				if err := release(); err != nil {
					t.Error(err)
				}
				finish(t, &all)
				release, err = acquire(t.Context(), 1)
				if err != nil {
					t.Fatal(err)
				}
				if err := release(); err != nil {
					t.Error(err)
				}
			}
			t.Logf("%d cancelled, %d served", cancelled.Load(), rounds*10-int(cancelled.Load()))
		})
	}
	if two.Len()+fair.Len() != 0 || rw.Owner() != lockutils.ModeNone || rw.HasPendingWriters() {
		t.Error("something is left")
	}
	wantFree(t, "x")
}

func TestLenCountsTheLocksInUse(t *testing.T) {
	setLockPath(t)
	before := lockutils.Len()
	a := mustLock(t, "len-a")
	b := mustLock(t, "len-a", lockutils.WithPrefix("p"), lockutils.External())
	mustLock(t, "len-a", lockutils.WithSemaphores(new(lockutils.Semaphores)))
	if n := lockutils.Len(); n != before+2 {
		t.Errorf("Len %d with two locks more than at %d", n, before)
	}
	mustUnlock(t, a)
	mustUnlock(t, b)
	if n := lockutils.Len(); n != before {
		t.Errorf("Len %d, want %d", n, before)
	}
}

// The race detector sees what this test is for.
func TestGuardsMayBeUsedWhileTheyAreUnlocked(t *testing.T) {
	setLockPath(t)
	external := lockutils.External()
	for _, opts := range [][]lockutils.Option{{external}, {external, lockutils.Shared()}, {lockutils.Shared()}} {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 50 {
					g := mustLock(t, "x", opts...)
					var both sync.WaitGroup
					both.Go(func() { mustUnlock(t, g) })
					both.Go(func() {
						_, cancel := g.Context(t.Context())
						cancel()
						if err := g.Err(); err != nil && !errors.Is(err, lockutils.ErrNotHeld) {
							t.Error(err)
						}
						if g.Lost() != nil || g.Token() != 0 {
							t.Error("a lock without a service can be lost, or has a token")
						}
					})
					both.Wait()
				}
			})
		}
		all.Wait()
	}
}
