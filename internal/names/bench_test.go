package names

import (
	"fmt"
	"hash/maphash"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/lockutils/lockutils/internal/queue"
)

// Each scenario runs the table beside what a program with one lock and no names would use, so
// that a change of this package can be judged by the ratios of one run.

const hotName = "instance-4711-aaaa-bbbb-cccc"

// A pair takes and releases a lock once.
type pair func(held func())

func ofTable(t *Table, k Key, m queue.Mode, o queue.Order) pair {
	return func(held func()) {
		h, _ := t.Acquire(background, k, m, o)
		held()
		h.Release()
	}
}

func ofLocker(l sync.Locker) pair {
	return func(held func()) {
		l.Lock()
		held()
		l.Unlock()
	}
}

func ofWeighted(s *semaphore.Weighted) pair {
	return func(held func()) {
		_ = s.Acquire(background, 1)
		held()
		s.Release(1)
	}
}

func BenchmarkHot(b *testing.B) {
	b.Run("table", func(b *testing.B) {
		t, k := NewTable(1024, 1), Key{"", hotName}
		for b.Loop() {
			h, _ := t.Acquire(background, k, queue.Exclusive, queue.Barging)
			h.Release()
		}
	})
	b.Run("by name", func(b *testing.B) {
		t, k := NewTable(1024, 1), Key{"", hotName}
		for b.Loop() {
			_ = t.AcquireNamed(background, k, k.Hash(), queue.Exclusive, queue.Barging)
			t.Release(k, k.Hash(), queue.Exclusive)
		}
	})
	b.Run("shared", func(b *testing.B) {
		t, k := NewTable(1024, 1), Key{"", hotName}
		for b.Loop() {
			h, _ := t.Acquire(background, k, queue.Shared, queue.Barging)
			h.Release()
		}
	})
	b.Run("sync.Mutex", func(b *testing.B) {
		var mu sync.Mutex
		for b.Loop() {
			mu.Lock()
			mu.Unlock() //lint:ignore SA2001 it is the locking that is measured
		}
	})
}

func BenchmarkHash(b *testing.B) {
	b.Run("wyhash", func(b *testing.B) {
		for b.Loop() {
			_ = Key{Name: hotName}.Hash()
		}
	})
	b.Run("maphash", func(b *testing.B) {
		seed := maphash.MakeSeed()
		for b.Loop() {
			_ = maphash.String(seed, hotName)
		}
	})
}

// manyNames are so many that each use of one is the first in a long time.
var manyNames = sync.OnceValue(func() []string {
	n := make([]string, 1<<18)
	for i := range n {
		n[i] = "instance-" + strconv.Itoa(i*7919)
	}
	return n
})

func BenchmarkNewNames(b *testing.B) {
	b.Run("alone", func(b *testing.B) {
		t, n := NewTable(1024, 1), manyNames()
		i := 0
		for b.Loop() {
			h, _ := t.Acquire(background, Key{"", n[i%len(n)]}, queue.Exclusive, queue.Barging)
			h.Release()
			i++
		}
	})
	b.Run("parallel", func(b *testing.B) {
		t, n := NewTable(1024, 1), manyNames()
		var worker atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			i := int(worker.Add(1)) * 50000
			for pb.Next() {
				h, _ := t.Acquire(background, Key{"", n[i%len(n)]}, queue.Exclusive, queue.Barging)
				h.Release()
				i++
			}
		})
	})
}

func BenchmarkOwnNames(b *testing.B) {
	t := NewTable(1024, 1)
	var worker atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		k := Key{"", fmt.Sprint(hotName, worker.Add(1))}
		for pb.Next() {
			h, _ := t.Acquire(background, k, queue.Exclusive, queue.Barging)
			h.Release()
		}
	})
}

func BenchmarkOneName(b *testing.B) {
	var mu sync.Mutex
	b.Run("table", inParallel(ofTable(NewTable(1024, 1), Key{"", hotName}, queue.Exclusive, queue.Barging)))
	b.Run("sync.Mutex", inParallel(ofLocker(&mu)))
	b.Run("table fair", inParallel(ofTable(NewTable(1024, 1), Key{"", hotName}, queue.Exclusive, queue.Fair)))
	b.Run("semaphore.Weighted", inParallel(ofWeighted(semaphore.NewWeighted(1))))
}

func BenchmarkReaders(b *testing.B) {
	b.Run("table", func(b *testing.B) {
		t, k := NewTable(1024, 1), Key{"", hotName}
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				h, _ := t.Acquire(background, k, queue.Shared, queue.Barging)
				h.Release()
			}
		})
	})
	b.Run("by name", func(b *testing.B) {
		t, k := NewTable(1024, 1), Key{"", hotName}
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_ = t.AcquireNamed(background, k, k.Hash(), queue.Shared, queue.Barging)
				t.Release(k, k.Hash(), queue.Shared)
			}
		})
	})
	b.Run("lock", func(b *testing.B) {
		var l queue.Lock
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_, _ = l.Acquire(background, queue.Shared, queue.Barging, queue.Subject{})
				l.Release(queue.Shared)
			}
		})
	})
	b.Run("sync.RWMutex", func(b *testing.B) {
		var mu sync.RWMutex
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				mu.RLock()
				mu.RUnlock() //lint:ignore SA2001 it is the locking that is measured
			}
		})
	})
}

func inParallel(p pair) func(*testing.B) {
	return func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				p(func() {})
			}
		})
	}
}

// BenchmarkCrowd has 64 goroutines per processor that each hold the lock for about a microsecond,
// and reports how long the unlucky waited.
func BenchmarkCrowd(b *testing.B) {
	var mu sync.Mutex
	b.Run("table", crowd(ofTable(NewTable(1024, 1), Key{"", hotName}, queue.Exclusive, queue.Barging)))
	b.Run("sync.Mutex", crowd(ofLocker(&mu)))
	b.Run("table fair", crowd(ofTable(NewTable(1024, 1), Key{"", hotName}, queue.Exclusive, queue.Fair)))
	b.Run("semaphore.Weighted", crowd(ofWeighted(semaphore.NewWeighted(1))))
}

func crowd(p pair) func(*testing.B) {
	return func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(64)
		waits := make([]time.Duration, b.N) // written by holders only
		n := 0
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				asked := time.Now()
				p(func() {
					waits[n] = time.Since(asked)
					n++
					work()
				})
			}
		})
		slices.Sort(waits)
		for _, q := range []struct {
			name  string
			share float64
		}{{"p50-ns", 0.5}, {"p99-ns", 0.99}, {"p99.9-ns", 0.999}} {
			b.ReportMetric(float64(waits[int(q.share*float64(len(waits)-1))]), q.name)
		}
	}
}

// work takes about a microsecond.
func work() {
	x := 1
	for i := range 1100 {
		x = x*31 + i
	}
	runtime.KeepAlive(x)
}
