package lockutils_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/internal/queuetest"
)

// heap returns the size of all that is reachable.
func heap() int64 {
	var m runtime.MemStats
	for range 3 { // pools give their content up at the second collection
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// wantSameHeap fails the test if f leaves more than a little behind.
func wantSameHeap(t *testing.T, f func()) {
	t.Helper()
	before := heap()
	f()
	if grown := heap() - before; grown > 2<<20 {
		t.Errorf("the heap has grown by %d KiB", grown>>10)
	}
}

func once[L sync.Locker](l L) {
	l.Lock()
	defer l.Unlock()
}

func TestOneOffNamesLeaveNothingBehind(t *testing.T) {
	container, fair, rw := lockutils.NewSemaphores(2), new(lockutils.FairLocks), new(lockutils.ReaderWriterLocks)
	each := func(n int, use func(name string)) func() {
		return func() {
			for i := range n {
				use(fmt.Sprint("instance-", i))
			}
		}
	}
	for name, f := range map[string]func(){
		"Lock": each(1_000_000, func(name string) {
			g, _ := lockutils.Lock(name)
			_ = g.Unlock()
		}),
		"Do": each(100_000, func(name string) {
			_ = lockutils.Do(context.Background(), name, func(context.Context) error { return nil },
				lockutils.Shared())
		}),
		"Semaphores": each(100_000, func(name string) {
			_ = container.Get(name).Acquire(context.Background())
			container.Get(name).Release()
		}),
		"FairLocks":         each(100_000, func(name string) { once(fair.Get(name)) }),
		"ReaderWriterLocks": each(100_000, func(name string) { once(rw.Get(name).RLocker()) }),
		"containers": each(10_000, func(name string) {
			c := lockutils.NewSemaphores(1)
			_ = c.Get(name).TryAcquire() // and forgotten with its container
		}),
	} {
		t.Run(name, func(t *testing.T) { wantSameHeap(t, f) })
	}
}

func TestNamesHeldAtOnceAndReleasedLeaveNothingBehind(t *testing.T) {
	container := new(lockutils.Semaphores)
	for name, opts := range map[string][]lockutils.Option{
		"default":   nil,
		"shared":    {lockutils.Shared()},
		"container": {lockutils.WithSemaphores(container), lockutils.WithPrefix("p")},
	} {
		t.Run(name, func(t *testing.T) {
			wantSameHeap(t, func() {
				guards := make([]lockutils.Guard, 100_000)
				for i := range guards {
					var err error
					if guards[i], err = lockutils.Lock(fmt.Sprint("instance-", i), opts...); err != nil {
						t.Fatal(err)
					}
				}
				for _, g := range guards {
					if err := g.Unlock(); err != nil {
						t.Fatal(err)
					}
				}
			})
		})
	}
	if container.Len() != 0 {
		t.Errorf("Len %d", container.Len())
	}
}

// The runtime tells what the initialisation of each package has allocated.
func TestImportingThePackageTakesLittleMemory(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^$")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	trace, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, trace)
	}
	const module = "github.com/lockutils/lockutils"
	total, found := 0, false
	for _, line := range regexp.MustCompile(`(?m)^init (\S+) @.* (\d+) bytes`).FindAllSubmatch(trace, -1) {
		switch path := string(line[1]); {
		case path == module:
			found = true
		case strings.HasPrefix(path, module+"/"),
			strings.HasPrefix(path, "github.com/gofrs/flock"), strings.HasPrefix(path, "golang.org/x/"):
		default:
			continue
		}
		n, err := strconv.Atoi(string(line[2]))
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	if !found || total >= 8<<10 {
		t.Errorf("%d bytes are allocated; found: %v:\n%s", total, found, trace)
	}
}

func TestOneOffLockFilesLeaveNothingBehind(t *testing.T) {
	dir := setLockPath(t)
	wantSameHeap(t, func() {
		for i := range 2_000 {
			name := fmt.Sprint("instance-", i)
			g, err := lockutils.Lock(name, lockutils.External())
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Unlock(); err != nil {
				t.Fatal(err)
			}
		}
	})
	if removed, err := sweep(0); removed != 2_000 || err != nil || len(files(t, dir)) > 0 {
		t.Errorf("%d removed, error %v", removed, err)
	}
}

func TestAllocations(t *testing.T) {
	if queuetest.RaceDetector() {
		return // it allocates on its own account
	}
	ctx := context.Background()
	ends, cancel := context.WithCancel(ctx)
	defer cancel()
	container, single := lockutils.NewSemaphores(2), lockutils.NewSemaphores(1)
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
		{"LockContext, a context that can end", 0, func() {
			g, _ := lockutils.LockContext(ends, "x")
			_ = g.Unlock()
		}},
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
		{"Semaphore of one permit, a context that can end", 0, func() {
			_ = single.Get("x").Acquire(ends)
			single.Get("x").Release()
		}},
		{"FairLock", 0, func() { once(fair.Get("x")) }},
		{"NamedReaderWriterLock", 0, func() { once(rws.Get("x")) }},
		{"NamedReaderWriterLock, a reader", 0, func() { l := rws.Get("x"); l.RLock(); defer l.RUnlock() }},
		{"ReaderWriterLock", 0, func() { once(&rw) }},
		{"ReaderWriterLock, a reader", 0, func() { rw.RLock(); defer rw.RUnlock() }},
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
