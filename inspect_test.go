package lockutils_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofrs/flock"

	"github.com/lockutils/lockutils"
)

// find returns what the snapshot says of a lock.
func find(scope, name, path string) (lockutils.LockInfo, bool) {
	for _, i := range lockutils.Snapshot() {
		if i.Scope == scope && i.Name == name && (path == "" || i.Path == path) {
			return i, true
		}
	}
	return lockutils.LockInfo{}, false
}

// plant makes a hold of a lock and three waiters, one after the other: a writer, a reader that
// holds "other", and a fair writer.
func plant(t *testing.T, settle func()) (release func()) {
	p := lockutils.WithPrefix("nova")
	holder := mustLock(t, "x", p)
	var group sync.WaitGroup
	wait := func(ctx context.Context, opts ...lockutils.Option) {
		g, err := lockutils.LockContext(ctx, "x", append(opts, p)...)
		if err != nil {
			t.Error(err)
		}
		_ = g.Unlock()
	}
	group.Go(func() { wait(t.Context()) })
	settle()
	group.Go(func() {
		_ = lockutils.Do(t.Context(), "other", func(ctx context.Context) error {
			wait(ctx, lockutils.Shared())
			return nil
		})
	})
	settle()
	group.Go(func() { wait(t.Context(), lockutils.Fair()) })
	settle()
	return func() {
		_ = holder.Unlock()
		group.Wait()
	}
}

func TestSnapshotShowsHoldersAndWaitersInOrder(t *testing.T) {
	lockutils.SetTracking(1)
	defer lockutils.SetTracking(0)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		release := plant(t, func() { synctest.Wait(); time.Sleep(time.Second) })
		all := lockutils.Snapshot()
		i := all[0]
		if i.Scope != "nova" || i.Name != "x" || i.Mode != lockutils.ModeWriter || i.Path != "" ||
			len(i.Waiters) != 3 {
			t.Fatalf("the longest wait: %+v", i)
		}
		modes := []lockutils.Mode{lockutils.ModeWriter, lockutils.ModeReader, lockutils.ModeWriter}
		for k, w := range i.Waiters {
			if w.Mode != modes[k] || !w.Since.Equal(start.Add(time.Duration(k)*time.Second)) ||
				!strings.Contains(w.By, "plant") || len(w.Stack) == 0 {
				t.Errorf("waiter %d: %+v", k, w)
			}
		}
		if !i.Waiters[2].Fair || i.Waiters[1].Fair || !slices.Equal(i.Waiters[1].Holds, []string{"other"}) {
			t.Errorf("%+v", i.Waiters)
		}
		if len(i.Holders) != 1 || !i.Holders[0].Since.Equal(start) ||
			!strings.Contains(placed(i.Holders[0].Stack), "mustLock") {
			t.Errorf("holders: %+v", i.Holders)
		}
		if o, ok := find("", "other", ""); !ok || o.Mode != lockutils.ModeWriter || len(o.Holders) != 1 ||
			len(o.Waiters) != 0 {
			t.Errorf("other: %+v", o)
		}
		release()
		if left := lockutils.Snapshot(); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
	})
}

// Tracking counts from the moment at which a lock is acquired, also for requests that wait already.
func TestTrackingIncludesHoldsOfEarlierRequests(t *testing.T) {
	defer lockutils.SetTracking(0)
	synctest.Test(t, func(t *testing.T) {
		first := mustLock(t, "x")
		second := make(chan lockutils.Guard)
		go func() {
			g, err := lockutils.Lock("x")
			if err != nil {
				t.Error(err)
			}
			second <- g
		}()
		synctest.Wait()
		lockutils.SetTracking(1)
		_ = first.Unlock()
		g := <-second
		if i, _ := find("", "x", ""); len(i.Holders) != 1 {
			t.Errorf("%+v", i)
		}
		if err := g.Unlock(); err != nil {
			t.Error(err)
		}
	})
}

func placed(stack []uintptr) string {
	var b strings.Builder
	frames := runtime.CallersFrames(stack)
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		fmt.Fprintln(&b, f.Function)
	}
	return b.String()
}

// Outside of bubbles the stacks of waiters are taken when somebody wants to see them.
func TestSnapshotShowsWhereWaitersWait(t *testing.T) {
	queued := 0
	release := plant(t, func() {
		queued++
		for {
			if i, _ := find("nova", "x", ""); len(i.Waiters) == queued {
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	defer release()
	deadline := time.Now().Add(10 * time.Second)
	for {
		i, _ := find("nova", "x", "")
		known := 0
		for _, w := range i.Waiters {
			if strings.Contains(w.By, "plant") {
				known++
			}
		}
		if known == 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", i)
		}
	}
	// The holder of "other" waits itself, and so is known.
	if o, ok := find("", "other", ""); !ok || len(o.Holders) != 1 ||
		!strings.Contains(o.Holders[0].By, "plant") {
		t.Errorf("other: %+v", o)
	}
}

func TestSnapshotShowsContainersAndFiles(t *testing.T) {
	dir := setLockPath(t)
	lockutils.SetTracking(1)
	defer lockutils.SetTracking(0)
	semaphores := lockutils.NewSemaphores(2)
	if !semaphores.Get("s").TryAcquire() {
		t.Fatal("not free")
	}
	var locks lockutils.ReaderWriterLocks
	locks.Name = "images"
	locks.Get("r").RLock()
	locks.Get("r").RLock()
	g := mustLock(t, "a/b", lockutils.External(), lockutils.Shared())
	scoped := mustLock(t, "s", lockutils.WithSemaphores(semaphores), lockutils.WithPrefix("nova"))
	alone := lockutils.NewInterProcessLock(filepath.Join(dir, "alone"))
	if err := alone.Lock(); err != nil {
		t.Fatal(err)
	}
	if i, ok := find("semaphores", "s", ""); !ok || i.Mode != lockutils.ModeWriter || len(i.Holders) != 1 {
		t.Errorf("semaphore: %+v", i)
	}
	if i, ok := find("semaphores/nova", "s", ""); !ok || i.Mode != lockutils.ModeWriter || len(i.Holders) != 1 {
		t.Errorf("semaphore of a project: %+v", i)
	}
	if i, ok := find("images", "r", ""); !ok || i.Mode != lockutils.ModeReader || i.Readers != 2 ||
		len(i.Holders) != 2 {
		t.Errorf("readers: %+v", i)
	}
	if i, ok := find("", "a/b", ""); !ok || i.Mode != lockutils.ModeReader || i.Readers != 1 {
		t.Errorf("internal: %+v", i)
	}
	i, ok := find("", "a/b", filepath.Join(dir, "a_b"))
	if !ok || i.Mode != lockutils.ModeReader || i.Readers != 1 || len(i.Holders) != 1 {
		t.Errorf("lock file: %+v in %+v", i, lockutils.Snapshot())
	}
	if i, ok := find("", "", alone.Path()); !ok || i.Mode != lockutils.ModeWriter || len(i.Holders) != 1 {
		t.Errorf("lock file without a name: %+v", i)
	}
	semaphores.Get("s").Release()
	locks.Get("r").RUnlock()
	if i, ok := find("images", "r", ""); !ok || i.Readers != 1 || len(i.Holders) != 1 {
		t.Errorf("readers: %+v", i)
	}
	locks.Get("r").RUnlock()
	_ = g.Unlock()
	mustUnlock(t, scoped)
	if err := alone.Unlock(); err != nil {
		t.Error(err)
	}
	if left := lockutils.Snapshot(); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

func TestFreeLocksOfHandlesAreTracked(t *testing.T) {
	lockutils.SetTracking(1)
	defer lockutils.SetTracking(0)
	one, two := lockutils.NewSemaphores(1).Get("x"), lockutils.NewSemaphores(2).Get("x")
	var locks lockutils.ReaderWriterLocks
	for name, handle := range map[string]struct{ acquire, release func() }{
		"a single permit": {func() { _ = one.Acquire(t.Context()) }, one.Release},
		"one of two":      {func() { _ = two.Acquire(t.Context()) }, two.Release},
		"a writer":        {locks.Get("x").Lock, locks.Get("x").Unlock},
		"a reader":        {locks.Get("x").RLock, locks.Get("x").RUnlock},
	} {
		handle.acquire()
		if all := lockutils.Snapshot(); len(all) != 1 || len(all[0].Holders) != 1 {
			t.Errorf("%s: %+v", name, all)
		}
		handle.release()
		if left := lockutils.Snapshot(); len(left) != 0 {
			t.Errorf("%s is left: %+v", name, left)
		}
	}
}

// A file whose holder is not known is named by those that wait for it.
func TestSnapshotNamesTheLockOfAFile(t *testing.T) {
	path := filepath.Join(setLockPath(t), "nova-f")
	nova := lockutils.WithPrefix("nova")
	holder, err := lockutils.ExternalLock("f", nova)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		g, err := lockutils.ExternalLock("f", nova)
		_ = g.Unlock()
		done <- err
	}()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		i, ok := find("nova", "f", path)
		if ok && len(i.Waiters) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", lockutils.Snapshot())
		}
	}
	mustUnlock(t, holder)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSlowWaitForAContainerNamesIt(t *testing.T) {
	lockutils.SetSlowWait(time.Second)
	defer lockutils.SetSlowWait(0)
	r := record(t, slog.LevelWarn)
	synctest.Test(t, func(t *testing.T) {
		locks := lockutils.ReaderWriterLocks{Name: "images"}
		locks.Get("x").Lock()
		var group sync.WaitGroup
		group.Go(func() {
			l := locks.Get("x")
			l.Lock()
			defer l.Unlock()
		})
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		locks.Get("x").Unlock()
		group.Wait()
	})
	if m := r.take(); len(m) != 1 || m[0].attrs["scope"].String() != "images" {
		t.Errorf("%v", m)
	}
}

func TestSnapshotNeverShowsHalfOfALock(t *testing.T) {
	names := map[string]bool{}
	var group sync.WaitGroup
	stop := make(chan struct{})
	for g := range 4 {
		for i := range 50 {
			names[fmt.Sprintf("half-%d-%d", g, i)] = true
		}
		group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				guard, err := lockutils.Lock(fmt.Sprintf("half-%d-%d", g, i%50), lockutils.WithPrefix("p"))
				if err != nil {
					t.Error(err)
					return
				}
				_ = guard.Unlock()
			}
		})
	}
	for range 200 {
		for _, i := range lockutils.Snapshot() {
			if i.Scope != "p" || !names[i.Name] {
				t.Errorf("%+v", i)
			}
			if i.Mode == lockutils.ModeNone && len(i.Waiters) == 0 {
				t.Errorf("not in use: %+v", i)
			}
		}
	}
	close(stop)
	group.Wait()
}

// Snapshots and figures are right while locks of all kinds are acquired, waited for and given up.
func TestLookingUnderLoadShowsWhatCanBe(t *testing.T) {
	lockutils.ResetFigures()
	dir := setLockPath(t)
	lockutils.SetTracking(2)
	defer lockutils.SetTracking(0)
	lockutils.SetDeadlockCheck(time.Millisecond)
	defer lockutils.SetDeadlockCheck(50 * time.Millisecond)
	length := 2 * time.Second
	if testing.Short() {
		length /= 10
	}
	const scope, goroutines, names = "under-load", 24, 4
	permits := lockutils.WithSemaphores(lockutils.NewSemaphores(2))
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var group sync.WaitGroup
	for g := range goroutines {
		l := load{random: rand.New(rand.NewPCG(3, uint64(g))), names: names, kinds: [][]lockutils.Option{
			{lockutils.WithPrefix(scope)},
			{lockutils.WithPrefix(scope), lockutils.Fair()},
			{lockutils.WithPrefix(scope), lockutils.Shared()},
			{lockutils.WithPrefix(scope), lockutils.External()},
			{lockutils.WithPrefix(scope), lockutils.External(), permits},
			{lockutils.WithPrefix(scope), permits},
			{lockutils.WithPrefix(scope), lockutils.WithTimeout(100 * time.Microsecond)},
		}}
		group.Go(func() {
			for ctx.Err() == nil {
				if err := l.once(ctx); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var s lockutils.Stats
	contentions := make(map[string]uint64)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		for _, i := range lockutils.Snapshot() {
			known := strings.HasSuffix(i.Scope, scope) && len(i.Name) == 1 && i.Name[0]-'0' < names ||
				i.Name == "" && filepath.Dir(i.Path) == dir
			if !known {
				t.Errorf("of nobody: %+v", i)
			}
			if i.Mode == lockutils.ModeNone && len(i.Waiters) == 0 ||
				(i.Mode == lockutils.ModeReader) != (i.Readers > 0) {
				t.Errorf("not in use: %+v", i)
			}
			for _, w := range i.Waiters {
				if w.Since.IsZero() || w.Mode == lockutils.ModeNone {
					t.Errorf("half a waiter: %+v", w)
				}
			}
		}
		lockutils.ReadStats(&s)
		for _, f := range s.Locks {
			key := fmt.Sprint(f.Class, f.Mode, f.Layer)
			if f.Class != scope || f.Waiting < 0 || f.Waiting > goroutines || f.Contentions < contentions[key] {
				t.Errorf("before: %d contentions, then: %+v", contentions[key], f)
			}
			contentions[key] = f.Contentions
		}
	}
	group.Wait()
	lockutils.ReadStats(&s)
	for _, f := range s.Locks {
		if f.Waiting != 0 || total(f.Wait) != f.Contentions || f.Lost != 0 {
			t.Errorf("in the end: %+v", f)
		}
	}
	if len(s.Locks) < 3 {
		t.Errorf("only %d rows of figures", len(s.Locks))
	}
	for _, i := range lockutils.Snapshot() {
		t.Errorf("left in use: %+v", i)
	}
}

// A load is a goroutine that uses locks at random.
type load struct {
	random *rand.Rand
	names  int
	kinds  [][]lockutils.Option
}

func (l *load) once(ctx context.Context) error {
	name := func() string { return fmt.Sprint(l.random.IntN(l.names)) }
	opts := l.kinds[l.random.IntN(len(l.kinds))]
	ctx, cancel := context.WithTimeout(ctx, time.Duration(l.random.IntN(5000))*time.Microsecond)
	defer cancel()
	inside := func(context.Context) error {
		for range l.random.IntN(100) {
			runtime.Gosched()
		}
		return nil
	}
	var err error
	switch l.random.IntN(3) {
	case 0:
		err = lockutils.Do(ctx, name(), inside, opts...)
	case 1:
		err = lockutils.DoAll(ctx, []string{name(), name(), name()}, inside, opts...)
	default:
		err = lockutils.Do(ctx, name(), func(ctx context.Context) error {
			return lockutils.Do(ctx, name(), inside, opts...)
		}, opts...)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, lockutils.ErrDeadlock) {
		return nil
	}
	return err
}

func TestSlowWaitsAreWarnedOf(t *testing.T) {
	lockutils.SetSlowWait(time.Second)
	defer lockutils.SetSlowWait(0)
	lockutils.SetTracking(1)
	defer lockutils.SetTracking(0)
	r := record(t, slog.LevelWarn)
	synctest.Test(t, func(t *testing.T) {
		holder := mustLock(t, "x")
		var group sync.WaitGroup
		for _, opts := range [][]lockutils.Option{nil, {lockutils.WithLogging(false)}, {lockutils.Fair()}} {
			group.Go(func() { mustUnlock(t, mustLock(t, "x", opts...)) })
			synctest.Wait()
		}
		time.Sleep(4500 * time.Millisecond)
		synctest.Wait()
		_ = holder.Unlock()
		group.Wait()
	})
	var waited []string
	for _, m := range r.take() {
		waited = append(waited, fmt.Sprintf("%v %v", m.attrs["waited"], m.attrs["position"]))
		if m.Message != "Waiting for lock" || m.attrs["lock"].String() != "x" || m.Level != slog.LevelWarn {
			t.Errorf("%v", m)
		}
		if h := fmt.Sprint(m.attrs["holders"]); !strings.Contains(h, "mustLock") || !strings.Contains(h, "since") {
			t.Errorf("holders: %s", h)
		}
	}
	slices.Sort(waited)
	if want := []string{"1s 1", "1s 3", "2s 1", "2s 3", "4s 1", "4s 3"}; !slices.Equal(waited, want) {
		t.Errorf("warned after %q", waited)
	}
}

func TestSlowWaitForAFileTellsWhoHoldsIt(t *testing.T) {
	dir := setLockPath(t)
	p := startPeer(t)
	p.must("lock", "x", dir, "external")
	lockutils.SetSlowWait(20 * time.Millisecond)
	defer lockutils.SetSlowWait(0)
	r := record(t, slog.LevelWarn)
	done := make(chan struct{})
	go func() {
		defer close(done)
		g, err := lockutils.Lock("x", lockutils.External(), lockutils.WithTimeout(time.Minute))
		if err != nil {
			t.Error(err)
		}
		_ = g.Unlock()
	}()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		messages := r.take()
		if len(messages) > 0 {
			m := messages[0]
			if m.attrs["path"].String() != filepath.Join(dir, "x") || runtime.GOOS == "linux" &&
				!strings.Contains(fmt.Sprint(m.attrs["holders"]), "PID ") {
				t.Errorf("%v", m.attrs)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no warning")
		}
	}
	p.must("unlock", "x", dir)
	<-done
}

func TestSnapshotForgetsAHolderThatHasDowngraded(t *testing.T) {
	lockutils.SetTracking(1)
	t.Cleanup(func() { lockutils.SetTracking(0) })
	locks := lockutils.ReaderWriterLocks{Name: "downgraded"}
	l := locks.Get("x")
	l.Lock()
	l.Downgrade()
	if i, _ := find("downgraded", "x", ""); i.Mode != lockutils.ModeReader || len(i.Holders) != 1 {
		t.Errorf("after Downgrade: %+v", i)
	}
	l.RUnlock()
	l.RLock()
	defer l.RUnlock()
	if i, _ := find("downgraded", "x", ""); len(i.Holders) != 1 {
		t.Errorf("the former holder is still there: %+v", i)
	}
}

func TestTheLongestSlowWaitIsNever(t *testing.T) {
	r := record(t, slog.LevelWarn)
	t.Cleanup(func() { lockutils.SetSlowWait(0) })
	ctx, cancel := context.WithCancel(t.Context())
	var waits sync.WaitGroup
	wait := func(name string, slow time.Duration) {
		lockutils.SetSlowWait(slow)
		g := mustLock(t, name)
		t.Cleanup(func() { mustUnlock(t, g) })
		waits.Go(func() { _, _ = lockutils.LockContext(ctx, name) })
		for i, _ := find("", name, ""); len(i.Waiters) == 0; i, _ = find("", name, "") {
			runtime.Gosched()
		}
	}
	wait("never", math.MaxInt64)
	wait("soon", 1)
	var messages []message
	for !slices.ContainsFunc(messages, func(m message) bool { return m.attrs["lock"].String() == "soon" }) {
		messages = append(messages, r.take()...)
		runtime.Gosched()
	}
	cancel()
	waits.Wait()
	for _, m := range messages {
		if m.attrs["lock"].String() == "never" {
			t.Errorf("warned of a wait that is never slow: %v", m)
		}
	}
}

func TestSlowWaitTellsWhereAHolderWaits(t *testing.T) {
	r := record(t, slog.LevelWarn)
	lockutils.SetSlowWait(time.Millisecond)
	defer lockutils.SetSlowWait(0)
	warning := func(lock string) (found message) {
		for _, m := range r.take() {
			if m.attrs["lock"].String() == lock {
				found = m
			}
		}
		return found
	}
	outer := mustLock(t, "outer")
	done := make(chan error, 1)
	go func() {
		done <- lockutils.Do(t.Context(), "inner", func(ctx context.Context) error {
			return lockutils.Do(ctx, "outer", func(context.Context) error { return nil })
		})
	}()
	for warning("outer").attrs == nil {
		runtime.Gosched()
	}
	var m message
	for m.attrs == nil {
		_, err := lockutils.Lock("inner", lockutils.WithTimeout(50*time.Millisecond))
		wantError(t, err, lockutils.ErrTimeout)
		m = warning("inner")
	}
	if holders := fmt.Sprint(m.attrs["holders"]); !strings.Contains(holders, "inspect_test.go") {
		t.Errorf("holders %s", holders)
	}
	mustUnlock(t, outer)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A panicking handler panics once.
type panickingHandler struct {
	*recorder
	panicked atomic.Bool
}

func (h *panickingHandler) Handle(ctx context.Context, r slog.Record) error {
	if !h.panicked.Swap(true) {
		panic("broken handler")
	}
	return h.recorder.Handle(ctx, r)
}

func TestAHandlerThatPanicsLosesAWarningOnly(t *testing.T) {
	h := &panickingHandler{recorder: &recorder{level: slog.LevelWarn}}
	lockutils.SetLogger(slog.New(h))
	defer lockutils.SetLogger(nil)
	lockutils.SetSlowWait(time.Second)
	defer lockutils.SetSlowWait(0)
	synctest.Test(t, func(t *testing.T) {
		g := mustLock(t, "slow")
		time.AfterFunc(3*time.Second, func() { mustUnlock(t, g) })
		mustUnlock(t, mustLock(t, "slow"))
	})
	if !h.panicked.Load() {
		t.Error("no warning")
	}
	h.want(t, "Waiting for lock: lock position waited")
}

// The memory of a lock serves another name when the lock has been released.
func TestSnapshotTakesNoHolderForThatOfAnotherName(t *testing.T) {
	lockutils.SetTracking(1)
	defer lockutils.SetTracking(0)
	first := mustLock(t, "first")
	memory := lockutils.MemoryOf("first")
	var second lockutils.Guard
	infos := lockutils.SnapshotAfter(func() {
		mustUnlock(t, first)
		lockutils.SetTracking(0)
		for i := 0; ; i++ {
			second = mustLock(t, fmt.Sprint("second", i))
			if lockutils.MemoryOf(second.Name()) == memory {
				break
			}
			mustUnlock(t, second)
		}
	})
	for _, i := range infos {
		if i.Name == second.Name() && len(i.Holders) != 0 {
			t.Errorf("%+v", i)
		}
	}
	mustUnlock(t, second)
}

func writeShortly(name string) error {
	g, err := lockutils.Lock(name)
	if err != nil {
		return err
	}
	return g.Unlock()
}

func readShortly(name string) error {
	g, err := lockutils.Lock(name, lockutils.Shared())
	if err != nil {
		return err
	}
	return g.Unlock()
}

func TestSnapshotShowsHoldersThatFitTheirLock(t *testing.T) {
	lockutils.SetTracking(1)
	defer lockutils.SetTracking(0)
	name := t.Name()
	var ended atomic.Bool
	var users sync.WaitGroup
	defer users.Wait()
	defer ended.Store(true)
	for _, use := range []func(string) error{writeShortly, readShortly, readShortly} {
		users.Go(func() {
			for !ended.Load() {
				if err := use(name); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	// One processor alone shows few of them in a second.
	for seen, begun := 0, time.Now(); seen < 500 && time.Since(begun) < 2*time.Second; {
		i, _ := find("", name, "")
		seen += len(i.Holders)
		holders, of := i.Readers, "readShortly"
		if i.Mode == lockutils.ModeWriter {
			holders, of = 1, "writeShortly"
		}
		if len(i.Holders) > holders {
			t.Fatalf("%d holders of a lock that has %d", len(i.Holders), holders)
		}
		for _, h := range i.Holders {
			if !strings.HasSuffix(h.By, of) {
				t.Fatalf("%s holds a lock that is held as %v", h.By, i.Mode)
			}
		}
	}
}

// The contexts of the waiters hold locks of the very slots that are shown.
func TestSnapshotsOfWaitersThatHoldManyLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const held = 300 // of about a thousand slots
		var waits, snapshots sync.WaitGroup
		var nest func(ctx context.Context, n int) error
		nest = func(ctx context.Context, n int) error {
			if n > 0 {
				name := fmt.Sprint("held-", n)
				return lockutils.Do(ctx, name, func(ctx context.Context) error { return nest(ctx, n-1) })
			}
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			for i := range 50 {
				name := fmt.Sprint("waited for-", i)
				g, err := lockutils.Lock(name)
				if err != nil {
					return err
				}
				defer g.Unlock()
				waits.Go(func() {
					if _, err := lockutils.LockContext(ctx, name); !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			for range 4 {
				snapshots.Go(func() {
					for _, l := range lockutils.Snapshot() {
						if strings.HasPrefix(l.Name, "held-") && len(l.Holders) != 1 {
							t.Errorf("%q is shown with %d holders", l.Name, len(l.Holders))
						}
						for _, w := range l.Waiters {
							if len(w.Holds) != held {
								t.Errorf("the waiter for %q holds %d locks, want %d", l.Name, len(w.Holds), held)
							}
						}
					}
				})
			}
			snapshots.Wait()
			cancel()
			waits.Wait()
			return nil
		}
		if err := nest(t.Context(), held); err != nil {
			t.Error(err)
		}
	})
}

type contextThatPanics struct {
	context.Context
	now *atomic.Bool
}

func (c contextThatPanics) Value(key any) any {
	if c.now.Load() {
		panic("from Value")
	}
	return c.Context.Value(key)
}

func TestContextThatPanicsDuringASnapshotLeavesNothingLocked(t *testing.T) {
	setLockPath(t)
	inside, err := lockutils.Lock("x")
	if err != nil {
		t.Fatal(err)
	}
	file, err := lockutils.Lock("y", lockutils.External())
	if err != nil {
		t.Fatal(err)
	}
	path := file.Path()
	other := flock.New(path)
	if err := errors.Join(file.Unlock(), other.Lock()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		opts       []lockutils.Option
		unlock     func() error
	}{
		{"x", "", nil, inside.Unlock},
		{"y", path, []lockutils.Option{lockutils.External()}, other.Unlock},
	} {
		var now atomic.Bool
		waited := make(chan error)
		go func() {
			g, err := lockutils.LockContext(contextThatPanics{t.Context(), &now}, c.name, c.opts...)
			waited <- errors.Join(err, g.Unlock())
		}()
		for i, _ := find("", c.name, c.path); len(i.Waiters) == 0; i, _ = find("", c.name, c.path) {
			time.Sleep(time.Millisecond)
		}
		now.Store(true)
		func() {
			defer func() {
				if r := recover(); r != "from Value" {
					t.Errorf("Snapshot panicked with %v", r)
				}
			}()
			lockutils.Snapshot()
		}()
		now.Store(false)
		if err := errors.Join(c.unlock(), <-waited); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, used := find("", c.name, c.path); used {
			t.Errorf("%s is still in use", c.name)
		}
	}
}
