package names

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/lockutils/lockutils/internal/queue"
)

// kept is how many bytes more are in use after f than before it.
func kept(f func()) int64 {
	heap := func() int64 {
		for range 3 { // what is in a pool goes with the second collection
			runtime.GC()
		}
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	before := heap()
	f()
	return heap() - before
}

const allowance = 256 << 10

func TestNothingIsKeptOfOneOffKeys(t *testing.T) {
	for _, m := range []queue.Mode{queue.Exclusive, queue.Shared} {
		table := NewTable(1024, 1)
		n := kept(func() {
			var group sync.WaitGroup
			for i := range 8 {
				group.Go(func() {
					for j := range 125_000 {
						h, _ := table.Acquire(background, Key{"", strconv.Itoa(i*125_000 + j)}, m, queue.Barging)
						h.Release()
					}
				})
			}
			group.Wait()
		})
		t.Logf("mode %d: %d bytes", m, n)
		if n > allowance {
			t.Errorf("mode %d: %d bytes are kept after a million keys", m, n)
		}
		table.checkIdle(t)
	}
}

func TestNothingIsKeptOfManyKeysAtOnce(t *testing.T) {
	for _, keys := range []int{3_000, 200_000} {
		table := NewTable(1024, 1)
		n := kept(func() {
			holds := make([]queue.Hold, keys)
			for i := range holds {
				holds[i], _ = table.TryAcquire(Key{"", fmt.Sprint("instance-", i)}, queue.Exclusive, queue.Barging)
			}
			if n := table.Len(); n != keys {
				t.Errorf("%d keys in use, want %d", n, keys)
			}
			for _, h := range holds {
				mustRelease(t, h)
			}
		})
		t.Logf("%d keys: %d bytes", keys, n)
		if n > allowance {
			t.Errorf("%d bytes are kept after %d keys at once", n, keys)
		}
		table.checkIdle(t)
	}
}

// A name may be a small piece of a large text, which must be free to go when the name is released.
func TestNamesPinNoText(t *testing.T) {
	for _, length := range []int{10, 1000} {
		table := collisions(4, 1, 1)
		n := kept(func() {
			for round := range 8 {
				var holds []queue.Hold
				for i := range 8 {
					text := strings.Repeat(fmt.Sprint(round, i, "-"), 1<<16)
					holds = append(holds, mustHold(t, table, Key{text[1 : 1+length/2], text[:length]}, queue.Mode(i%2)))
				}
				for _, h := range holds {
					mustRelease(t, h)
				}
			}
		})
		if n > allowance {
			t.Errorf("%d bytes are kept after names of %d bytes cut from large texts", n, length)
		}
		runtime.KeepAlive(table)
	}
}

func TestSlotFillsThreeCacheLines(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) < 8 {
		return // it is smaller, and not worth padding
	}
	if size := unsafe.Sizeof(slot{}); size != 192 {
		t.Errorf("a slot has %d bytes", size)
	}
	const line = 64 // the bytes of a cache line
	word := unsafe.Offsetof(slot{}.lock) + unsafe.Offsetof(lock{}.Lock)
	text := unsafe.Offsetof(slot{}.text)
	for table, bytes := range map[*Table]uintptr{Default: 22, NewTable(1024, 1): 46, NewTable(128, 1): 38} {
		start := uintptr(unsafe.Pointer(&table.slots[0]))
		at := (start + word) / line
		if start/line == at || (start+text+bytes-1)/line == at || (start+unsafe.Sizeof(slot{}))/line == at {
			t.Errorf("a table begins at %#x, so a name and a word are in one line", start)
		}
		if start/line != (start+text+bytes-1)/line {
			t.Errorf("a table begins at %#x, so the identity and %d bytes of the name are in two lines", start, bytes)
		}
	}
}
