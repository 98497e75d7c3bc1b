package lockutils_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/drivertest"
)

// statsOf returns the figures of a class.
func statsOf(class string, m lockutils.Mode, l lockutils.Layer) lockutils.LockStats {
	var s lockutils.Stats
	lockutils.ReadStats(&s)
	for _, f := range s.Locks {
		if f.Class == class && f.Mode == m && f.Layer == l {
			return f
		}
	}
	return lockutils.LockStats{}
}

func total(h lockutils.Histogram) (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

func TestStatsCountWaitsAndHowTheyEnd(t *testing.T) {
	lockutils.ResetFigures()
	synctest.Test(t, func(t *testing.T) {
		p := lockutils.WithPrefix("stats-ends")
		writers := func() lockutils.LockStats {
			return statsOf("stats-ends", lockutils.ModeWriter, lockutils.LayerProcess)
		}
		holder := mustLock(t, "x", p)
		mustUnlock(t, mustLock(t, "free", p))
		if f := writers(); f.Contentions != 0 {
			t.Errorf("free locks are counted: %+v", f)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { _, _ = lockutils.LockContext(ctx, "x", p) })
		group.Go(func() { _, _ = lockutils.Lock("x", p, lockutils.WithTimeout(2*time.Second)) })
		group.Go(func() { mustUnlock(t, mustLock(t, "x", p)) })
		synctest.Wait()
		if f := writers(); f.Waiting != 3 || f.Contentions != 3 || total(f.Wait) != 0 {
			t.Errorf("three wait: %+v", f)
		}
		time.Sleep(time.Second)
		cancel()
		time.Sleep(3 * time.Second)
		_ = holder.Unlock()
		group.Wait()
		f := writers()
		if f.Waiting != 0 || f.Contentions != 3 || f.Cancellations != 1 || f.Timeouts != 1 || f.Deadlocks != 0 {
			t.Errorf("%+v", f)
		}
		if total(f.Wait) != 3 || math.Abs(f.Wait.Sum-7) > 1e-9 || len(f.Wait.Counts) != len(f.Wait.Bounds)+1 {
			t.Errorf("waits: %+v", f.Wait)
		}
		if total(f.ContendedHold) != 1 || math.Abs(f.ContendedHold.Sum-4) > 1e-9 {
			t.Errorf("contended holds: %+v", f.ContendedHold)
		}
	})
}

func TestStatsCountDeadlocks(t *testing.T) {
	lockutils.ResetFigures()
	synctest.Test(t, func(t *testing.T) {
		p := lockutils.WithPrefix("stats-deadlock")
		runCycle(t, doStep("a", "b", p), doStep("b", "a", p))
		f := statsOf("stats-deadlock", lockutils.ModeWriter, lockutils.LayerProcess)
		if f.Deadlocks != 1 || f.Contentions != 2 {
			t.Errorf("%+v", f)
		}
	})
}

// A hold is contended from the arrival of the first waiter, or from its beginning if some wait
// already.
func TestContendedHoldRunsFromTheFirstWaiter(t *testing.T) {
	lockutils.ResetFigures()
	synctest.Test(t, func(t *testing.T) {
		p := lockutils.WithPrefix("stats-holds")
		holder := mustLock(t, "x", p)
		time.Sleep(10 * time.Second)
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() {
				g := mustLock(t, "x", p, lockutils.Fair())
				time.Sleep(5 * time.Second)
				mustUnlock(t, g)
			})
			synctest.Wait()
			time.Sleep(time.Second)
		}
		mustUnlock(t, holder)
		group.Wait()
		// 2 s of the first hold, and 5 s of the second, for which one waited; nobody waited for
		// the third.
		f := statsOf("stats-holds", lockutils.ModeWriter, lockutils.LayerProcess)
		if total(f.ContendedHold) != 2 || math.Abs(f.ContendedHold.Sum-7) > 1e-9 {
			t.Errorf("%+v", f.ContendedHold)
		}
	})
}

func TestStatsAgreeWithAStopwatch(t *testing.T) {
	lockutils.ResetFigures()
	synctest.Test(t, func(t *testing.T) {
		p := lockutils.WithPrefix("stats-watch")
		var mu sync.Mutex
		var sum time.Duration
		var timeouts atomic.Uint64
		var group sync.WaitGroup
		for i := range 50 {
			group.Go(func() {
				for range 20 {
					start := time.Now()
					g, err := lockutils.Lock(fmt.Sprint(i%3), p,
						lockutils.WithTimeout(time.Duration(i+1)*10*time.Millisecond))
					mu.Lock()
					sum += time.Since(start)
					mu.Unlock()
					if errors.Is(err, lockutils.ErrTimeout) {
						timeouts.Add(1)
						continue
					}
					time.Sleep(time.Duration(i) * time.Millisecond)
					mustUnlock(t, g)
				}
			})
		}
		group.Wait()
		f := statsOf("stats-watch", lockutils.ModeWriter, lockutils.LayerProcess)
		if got, want := f.Wait.Sum, sum.Seconds(); math.Abs(got-want) > 1e-9 || want == 0 {
			t.Errorf("%v s of waits, and %v s by the stopwatch", got, want)
		}
		if n := timeouts.Load(); f.Timeouts != n || n == 0 {
			t.Errorf("%d timeouts are counted of %d", f.Timeouts, n)
		}
	})
}

// contend makes one request wait.
func contend(t *testing.T, name string, opts ...lockutils.Option) {
	holder := mustLock(t, name, opts...)
	timeout := lockutils.WithTimeout(time.Microsecond)
	_, err := lockutils.Lock(name, append([]lockutils.Option{timeout}, opts...)...)
	wantError(t, err, lockutils.ErrTimeout)
	mustUnlock(t, holder)
}

func TestClassifierSaysTheClass(t *testing.T) {
	lockutils.ResetFigures()
	defer lockutils.SetClassifier(nil)
	others := func() uint64 {
		return statsOf("other", lockutils.ModeWriter, lockutils.LayerProcess).Contentions
	}
	for name, f := range map[string]func(scope, name string) string{
		"panic":     func(string, string) string { panic("no") },
		"megabyte":  func(string, string) string { return strings.Repeat("x", 1<<20) },
		"control":   func(string, string) string { return "a\nb" },
		"not UTF-8": func(string, string) string { return "\xff" },
	} {
		lockutils.SetClassifier(f)
		before := others()
		contend(t, "x")
		if n := others() - before; n != 1 {
			t.Errorf("%s: %d count as other", name, n)
		}
	}
	lockutils.SetClassifier(func(scope, name string) string { return scope + "/" + name[:1] })
	contend(t, "xyz", lockutils.WithPrefix("p"))
	if f := statsOf("p/x", lockutils.ModeWriter, lockutils.LayerProcess); f.Timeouts != 1 {
		t.Errorf("%+v", f)
	}
	lockutils.SetClassifier(nil)
	contend(t, "xyz", lockutils.WithPrefix("default-class"))
	if f := statsOf("default-class", lockutils.ModeWriter, lockutils.LayerProcess); f.Timeouts != 1 {
		t.Errorf("%+v", f)
	}
}

func TestStatsKnowFilesApart(t *testing.T) {
	lockutils.ResetFigures()
	setLockPath(t)
	contend(t, "x", lockutils.External(), lockutils.WithPrefix("stats-internal"))
	if f := statsOf("stats-internal", lockutils.ModeWriter, lockutils.LayerProcess); f.Timeouts != 1 {
		t.Errorf("%+v", f)
	}
	g, err := lockutils.ExternalLock("x", lockutils.WithPrefix("stats-file"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockutils.ExternalLock("x", lockutils.WithPrefix("stats-file"),
		lockutils.WithTimeout(time.Millisecond))
	wantError(t, err, lockutils.ErrTimeout)
	mustUnlock(t, g)
	if f := statsOf("stats-file", lockutils.ModeWriter, lockutils.LayerFile); f.Timeouts != 1 {
		t.Errorf("%+v", f)
	}
}

func TestThereAreNoMoreThan201Classes(t *testing.T) {
	lockutils.ResetFigures()
	defer lockutils.ResetFigures()
	defer lockutils.SetClassifier(nil)
	lockutils.SetClassifier(func(_, name string) string { return name })
	for i := range 500 {
		contend(t, fmt.Sprint("class-", i))
	}
	for i := range 1_000_000 {
		lockutils.ClassifyWait(strconv.Itoa(i))
	}
	var s lockutils.Stats
	lockutils.ReadStats(&s)
	lockutils.ReadStats(&s)
	classes := map[string]bool{}
	for _, f := range s.Locks {
		classes[f.Class] = true
	}
	if len(classes) != 201 || !classes["other"] {
		t.Errorf("%d classes", len(classes))
	}
	if f := statsOf("other", lockutils.ModeWriter, lockutils.LayerProcess); f.Contentions != 300 {
		t.Errorf("%d waits count as other", f.Contentions)
	}
}

// A classifier that ends the goroutine of a request does not leave it in the queue.
func TestClassifierThatEndsTheGoroutineLeavesNothingBehind(t *testing.T) {
	setLockPath(t)
	defer lockutils.SetClassifier(nil)
	service := drivertest.NewMemory()
	s := service.Open()
	for _, test := range []struct {
		name          string
		holder, later []lockutils.Option
	}{
		{"inside", nil, nil},
		{"fair", nil, []lockutils.Option{lockutils.Fair()}},
		{"file, at its turn", []lockutils.Option{lockutils.External()}, []lockutils.Option{
			lockutils.External(), lockutils.WithSemaphores(new(lockutils.Semaphores)),
		}},
		{"service, at its turn", []lockutils.Option{lockutils.On(s)}, []lockutils.Option{
			lockutils.On(s), lockutils.WithSemaphores(new(lockutils.Semaphores)),
		}},
		{"service", []lockutils.Option{lockutils.On(service.Open())}, []lockutils.Option{
			lockutils.On(s), lockutils.WithSemaphores(new(lockutils.Semaphores)),
		}},
	} {
		g := mustLock(t, "x", test.holder...)
		lockutils.SetClassifier(func(string, string) string {
			runtime.Goexit()
			return ""
		})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, err := lockutils.Lock("x", test.later...)
			t.Errorf("%s: %v", test.name, err)
		}()
		<-ended
		lockutils.SetClassifier(nil)
		mustUnlock(t, g)
		wantFree(t, "x", test.holder...)
		wantFree(t, "x", test.later...)
		for _, i := range lockutils.Snapshot() {
			t.Errorf("%s: still in use: %+v", test.name, i)
		}
	}
}

// A foreignContext is of another program, and has an end of its own.
type foreignContext struct {
	context.Context
	done chan struct{}
}

func (c foreignContext) Done() <-chan struct{} { return c.done }

func TestClassifierThatEndsTheGoroutineLeavesNothingAtItsContext(t *testing.T) {
	lockutils.SetClassifier(func(string, string) string {
		runtime.Goexit()
		return ""
	})
	defer lockutils.SetClassifier(nil)
	synctest.Test(t, func(t *testing.T) { // which ends only if all its goroutines do
		m := drivertest.NewMemory()
		s := m.Open()
		otherHost(t, m, driver.Request{Name: "x"})
		ctx := foreignContext{t.Context(), make(chan struct{})}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = lockutils.Do(ctx, "w", func(ctx context.Context) error {
				_, err := lockutils.LockContext(ctx, "x", lockutils.On(s))
				t.Error(err)
				return nil
			})
		}()
		<-ended
	})
}

// A classifier that ends the goroutine of a request for a lock file ends it at once, although another
// request has joined its wait in the kernel.
func TestClassifierThatEndsTheGoroutineOfAJoinedWait(t *testing.T) {
	dir := setLockPath(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Skip(err)
	}
	other, err := lockutils.ExternalLock("x", lockutils.WithLockPath(link))
	if err != nil {
		t.Fatal(err)
	}
	defer lockutils.SetClassifier(nil)
	var calls atomic.Int32
	exit := make(chan struct{})
	lockutils.SetClassifier(func(string, string) string {
		if calls.Add(1) == 1 {
			<-exit
			runtime.Goexit()
		}
		return ""
	})
	ended, joined := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_, err := lockutils.ExternalLock("x", lockutils.Shared())
		t.Error(err)
	}()
	for calls.Load() < 1 {
		time.Sleep(time.Millisecond)
	}
	go func() {
		defer close(joined)
		g, err := lockutils.ExternalLock("x", lockutils.Shared())
		if err != nil {
			t.Error(err)
		}
		_ = g.Unlock()
	}()
	for calls.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	close(exit)
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("the goroutine waits for the lock all the same")
	}
	_ = other.Unlock()
	<-ended
	<-joined
}
