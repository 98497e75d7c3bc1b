package filelock

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

// BenchmarkUncontended measures acquire and release of a lock that nobody else wants.
func BenchmarkUncontended(b *testing.B) {
	for _, c := range []struct {
		name string
		r    Request
	}{{"exclusive", Request{}}, {"shared", Request{Mode: Shared}},
		{"fcntl", Request{Fcntl: true}}, {"fair", Request{Fair: true}}} {
		b.Run(c.name, func(b *testing.B) {
			r := c.r
			r.Path = filepath.Join(b.TempDir(), "lock")
			for b.Loop() {
				h, err := Lock(context.Background(), r)
				if err != nil {
					b.Fatal(err)
				}
				if err := h.Unlock(); err != nil {
					b.Fatal(err)
				}
			}
			CloseIdle()
		})
	}
	b.Run("exclusive, names used once", func(b *testing.B) {
		dir := b.TempDir()
		var paths [1000]string
		for i := range paths {
			paths[i] = filepath.Join(dir, strconv.Itoa(i))
		}
		i := 0
		for b.Loop() {
			h, err := Lock(context.Background(), Request{Path: paths[i%len(paths)]})
			if err != nil {
				b.Fatal(err)
			}
			if err := h.Unlock(); err != nil {
				b.Fatal(err)
			}
			i++
		}
		CloseIdle()
	})
	b.Run("gofrs, new object", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "lock")
		for b.Loop() {
			l := flock.New(path)
			if err := l.Lock(); err != nil {
				b.Fatal(err)
			}
			if err := l.Unlock(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("oslo.concurrency", func(b *testing.B) {
		python(b)
		const n = 5000
		out, err := exec.Command(pythonPath, "-c", `
import sys, time, logging
from oslo_concurrency import lockutils
n, path = int(sys.argv[1]), sys.argv[2]
start = time.perf_counter()
for _ in range(n):
    with lockutils.lock("lock", external=True, lock_path=path):
        pass
print((time.perf_counter() - start) / n * 1e9)
`, strconv.Itoa(n), b.TempDir()).Output()
		if err != nil {
			b.Fatal(err)
		}
		ns, err := strconv.ParseFloat(string(out[:len(out)-1]), 64)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(ns, "ns/op")
	})
}

// contest is what each of several processes does in a measurement.
type contest struct {
	Way         string // see way
	Path        string
	Hold, Think time.Duration
	For         time.Duration
	Board       string // the file with the board
}

// board is memory that the processes of a contest share.
type board struct {
	ready    atomic.Int64 // processes that have started
	released atomic.Int64 // when the lock was released last, on the clock of all processes; 0 while it is held
	by       atomic.Int64 // who released it
}

func openBoard(path string) (*board, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(4096); err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*board)(unsafe.Pointer(&memory[0])), nil
}

// clock reads a clock that all processes share.
func clock() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// outcome is what one process of a contest reports.
type outcome struct {
	Acquired  int
	HandOvers []int64 // nanoseconds from another process's release to this one's acquisition
}

func init() {
	roles["contest"] = func(in *bufio.Scanner, out io.Writer, arguments []byte) error {
		var c contest
		if err := json.Unmarshal(arguments, &c); err != nil {
			return err
		}
		o, err := c.run()
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(o)
	}
}

func (c contest) run() (o outcome, err error) {
	shared, err := openBoard(c.Board)
	if err != nil {
		return o, err
	}
	lock, err := way(c.Way, c.Path)
	if err != nil {
		return o, err
	}
	o.HandOvers = make([]int64, 0, 1<<20)
	self := int64(os.Getpid())
	shared.ready.Add(1)
	for shared.ready.Load() < 1000 { // the sign to begin
		time.Sleep(100 * time.Microsecond)
	}
	for end := time.Now().Add(c.For); time.Now().Before(end); o.Acquired++ {
		unlock, err := lock()
		if err != nil {
			return o, err
		}
		if since := shared.released.Load(); since != 0 && shared.by.Load() != self {
			o.HandOvers = append(o.HandOvers, clock()-since)
		}
		pause(c.Hold)
		shared.by.Store(self)
		shared.released.Store(clock())
		if err := unlock(); err != nil {
			return o, err
		}
		pause(c.Think)
	}
	return o, nil
}

// way returns a function that takes the lock and returns one that releases it.
func way(name, path string) (func() (func() error, error), error) {
	switch name {
	case "blocking": // flock(2) as it is: what the kernel can do, without a way to cancel
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		return func() (func() error, error) {
			err := retry(func() error { return unix.Flock(fd, unix.LOCK_EX) })
			return func() error { return unix.Flock(fd, unix.LOCK_UN) }, err
		}, err
	case "gofrs":
		l := flock.New(path)
		return func() (func() error, error) {
			_, err := l.TryLockContext(context.Background(), 10*time.Millisecond)
			return l.Unlock, err
		}, nil
	}
	ctx := context.Background()
	if name == "cancellable" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		_ = cancel // by the end of the process
	}
	r := Request{Path: path, Fair: name == "fair", Fcntl: name == "fcntl"}
	return func() (func() error, error) {
		h, err := Lock(ctx, r)
		if err != nil {
			return nil, err
		}
		return h.Unlock, nil
	}, nil
}

// hold runs a contest of n processes.
func (c contest) hold(b *testing.B, n int) (outcomes []outcome) {
	b.Helper()
	dir := b.TempDir()
	c.Path, c.Board = filepath.Join(dir, "lock"), filepath.Join(dir, "board")
	shared, err := openBoard(c.Board)
	if err != nil {
		b.Fatal(err)
	}
	var processes []*process
	for range n {
		processes = append(processes, start(b, "contest", c))
	}
	for shared.ready.Load() < int64(n) {
		time.Sleep(time.Millisecond)
	}
	shared.ready.Store(1000)
	for _, p := range processes {
		p.lines.Buffer(nil, 1<<26)
		var o outcome
		if err := json.Unmarshal([]byte(p.line()), &o); err != nil {
			b.Fatal(err)
		}
		outcomes = append(outcomes, o)
	}
	return outcomes
}

// BenchmarkThroughput counts the acquisitions a second of processes that contend for one lock.
func BenchmarkThroughput(b *testing.B) {
	for _, times := range [][2]time.Duration{{50 * time.Microsecond, 50 * time.Microsecond}, {0, 0}} {
		for _, n := range []int{2, 4, 16} {
			for _, way := range []string{"blocking", "ours", "cancellable", "fair", "gofrs"} {
				b.Run(fmt.Sprintf("hold=%v,think=%v/processes=%d/%s", times[0], times[1], n, way), func(b *testing.B) {
					for range b.N {
						c := contest{Way: way, Hold: times[0], Think: times[1], For: 2 * time.Second}
						outcomes := c.hold(b, n)
						total, handOvers, least, most := 0, 0, outcomes[0].Acquired, 0
						for _, o := range outcomes {
							total += o.Acquired
							handOvers += len(o.HandOvers)
							least, most = min(least, o.Acquired), max(most, o.Acquired)
						}
						mean := float64(total) / float64(n)
						b.ReportMetric(float64(total)/c.For.Seconds(), "acq/s")
						b.ReportMetric(float64(handOvers)/c.For.Seconds(), "hand-overs/s")
						b.ReportMetric(float64(least)/mean, "least-share")
						b.ReportMetric(float64(most)/mean, "most-share")
						b.ReportMetric(0, "ns/op")
					}
				})
			}
		}
	}
}

// BenchmarkHandOver measures the time from one process's release to the acquisition by another,
// which sleeps by then.
func BenchmarkHandOver(b *testing.B) {
	for _, way := range []string{"blocking", "ours", "cancellable", "fair"} {
		b.Run(way, func(b *testing.B) {
			for range b.N {
				c := contest{Way: way, Hold: 300 * time.Microsecond, Think: 100 * time.Microsecond, For: 2 * time.Second}
				var times []int64
				for _, o := range c.hold(b, 2) {
					times = append(times, o.HandOvers...)
				}
				reportPercentiles(b, times)
			}
		})
	}
}

func reportPercentiles(b *testing.B, times []int64) {
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2])/1e3, "p50-µs")
	b.ReportMetric(float64(times[len(times)*99/100])/1e3, "p99-µs")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkCancel measures the time from the end of a context to the return of the wait.
func BenchmarkCancel(b *testing.B) {
	r := Request{Path: filepath.Join(b.TempDir(), "lock")}
	other := newPeer(b)
	other.must("lock", r)
	for range b.N {
		var times []int64
		for range 1000 {
			ctx, cancel := context.WithCancel(context.Background())
			returned := make(chan int64)
			go func() {
				_, _ = Lock(ctx, r)
				returned <- clock()
			}()
			awaitWaiters(b, r, 1)
			start := clock()
			cancel()
			times = append(times, <-returned-start)
		}
		reportPercentiles(b, times)
	}
	other.must("unlock", r)
}

// BenchmarkTakeOver measures the time from SIGKILL of a holder to the acquisition by a process
// that waits.
func BenchmarkTakeOver(b *testing.B) {
	for _, name := range []string{"blocking", "ours", "cancellable", "fair"} {
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "lock")
			lock, err := way(name, path)
			if err != nil {
				b.Fatal(err)
			}
			for range b.N {
				var times []int64
				for range 200 {
					victim := newPeer(b)
					victim.must("lock", Request{Path: path, Fair: name == "fair"})
					acquired := make(chan int64)
					go func() {
						unlock, err := lock()
						now := clock()
						if err == nil {
							err = unlock()
						}
						if err != nil {
							b.Error(err)
						}
						acquired <- now
					}()
					time.Sleep(2 * time.Millisecond) // the waiter falls asleep
					start := clock()
					_ = victim.cmd.Process.Kill()
					times = append(times, <-acquired-start)
					victim.kill()
				}
				reportPercentiles(b, times)
			}
		})
	}
}

// BenchmarkBusy counts the acquisitions a second of a process that does nothing but hold the lock
// for 100 µs at a time, with nobody beside it.
func BenchmarkBusy(b *testing.B) {
	for _, way := range []string{"blocking", "ours", "fair"} {
		b.Run(way, func(b *testing.B) {
			for range b.N {
				c := contest{Way: way, Hold: 100 * time.Microsecond, For: time.Second}
				b.ReportMetric(float64(c.hold(b, 1)[0].Acquired)/c.For.Seconds(), "acq/s")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

// BenchmarkPollerTurns measures how long a program that polls needs for five turns beside a
// process that does nothing but hold the lock for 100 µs at a time. It gives up after ten
// seconds.
func BenchmarkPollerTurns(b *testing.B) {
	for _, way := range []string{"ours", "fair", "fcntl", "gofrs"} {
		b.Run(way, func(b *testing.B) {
			for range b.N {
				dir := b.TempDir()
				c := contest{
					Way: way, Hold: 100 * time.Microsecond, For: 10 * time.Second,
					Path: filepath.Join(dir, "lock"), Board: filepath.Join(dir, "board"),
				}
				shared, err := openBoard(c.Board)
				if err != nil {
					b.Fatal(err)
				}
				busy := start(b, "contest", c)
				for shared.ready.Load() < 1 {
					time.Sleep(time.Millisecond)
				}
				shared.ready.Store(1000)
				time.Sleep(10 * time.Millisecond)
				ctx, cancel := context.WithTimeout(b.Context(), c.For)
				poller := flock.New(c.Path)
				begin, turns := time.Now(), 0
				for ; turns < 5; turns++ {
					if _, err := poller.TryLockContext(ctx, 10*time.Millisecond); err != nil {
						break
					}
					if err := poller.Unlock(); err != nil {
						b.Fatal(err)
					}
					time.Sleep(5 * time.Millisecond)
				}
				b.ReportMetric(time.Since(begin).Seconds(), "s")
				b.ReportMetric(float64(turns), "turns")
				b.ReportMetric(0, "ns/op")
				cancel()
				busy.kill()
			}
		})
	}
}
