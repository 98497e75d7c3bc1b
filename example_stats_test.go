package lockutils_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/lockutils/lockutils"
)

func ExampleReadStats() {
	nova := lockutils.WithPrefix("example-nova")
	busy, _ := lockutils.Lock("instance-4711", nova)
	_, _ = lockutils.Lock("instance-4711", nova, lockutils.WithTimeout(time.Millisecond))
	_ = busy.Unlock()

	var stats lockutils.Stats
	lockutils.ReadStats(&stats)
	for _, s := range stats.Locks {
		if s.Class == "example-nova" {
			fmt.Println(s.Class, s.Mode, s.Layer, "with timeouts:", s.Timeouts > 0)
		}
	}
	// Output: example-nova writer process with timeouts: true
}

// How many requests wait at this moment, for locks of one project.
func ExampleStats() {
	var stats lockutils.Stats
	waiting := func() (n int64) {
		lockutils.ReadStats(&stats) // reuses the memory
		for _, s := range stats.Locks {
			if s.Class == "example-glance" {
				n += s.Waiting
			}
		}
		return n
	}

	glance := lockutils.WithPrefix("example-glance")
	guard, _ := lockutils.Lock("image-4711", glance)
	var waiter sync.WaitGroup
	waiter.Go(func() {
		guard, _ := lockutils.Lock("image-4711", glance)
		_ = guard.Unlock()
	})
	for waiting() == 0 {
		runtime.Gosched()
	}
	fmt.Println("waiting:", waiting())
	_ = guard.Unlock()
	waiter.Wait()
	fmt.Println("waiting:", waiting())
	// Output:
	// waiting: 1
	// waiting: 0
}

func ExampleLockStats() {
	s := lockutils.LockStats{
		Class: "nova", Mode: lockutils.ModeWriter, Layer: lockutils.LayerFile,
		Contentions: 200, Timeouts: 3, Wait: lockutils.Histogram{Sum: 12.5},
	}
	average := time.Duration(s.Wait.Sum / float64(s.Contentions) * float64(time.Second))
	fmt.Printf("%s (%v, %v): %d waits of %v, %d timeouts\n",
		s.Class, s.Mode, s.Layer, s.Contentions, average, s.Timeouts)
	// Output: nova (writer, file): 200 waits of 62.5ms, 3 timeouts
}

// How many waits took longer than a tenth of a second.
func ExampleHistogram() {
	waits := lockutils.Histogram{
		Bounds: []float64{0.001, 0.01, 0.1, 1}, // seconds
		Counts: []uint64{180, 15, 2, 2, 1},
	}
	var long, all uint64
	for i, n := range waits.Counts {
		all += n
		if i > 0 && waits.Bounds[i-1] >= 0.1 {
			long += n
		}
	}
	fmt.Println(long, "of", all)
	// Output: 3 of 200
}

func ExampleLayer() {
	fmt.Println("another goroutine:", lockutils.LayerProcess)
	fmt.Println("another process:", lockutils.LayerFile)
	fmt.Println("another host:", lockutils.LayerService)
	// Output:
	// another goroutine: process
	// another process: file
	// another host: service
}

// The class of a lock is its prefix and what kind of thing the lock is for.
func ExampleSetClassifier() {
	lockutils.SetClassifier(func(scope, name string) string {
		kind, _, _ := strings.Cut(name, "-")
		return scope + "/" + kind
	})
	defer lockutils.SetClassifier(nil)

	cinder := lockutils.WithPrefix("example-cinder")
	for _, name := range []string{"volume-1", "volume-2", "backup-1"} {
		busy, _ := lockutils.Lock(name, cinder)
		_, _ = lockutils.Lock(name, cinder, lockutils.WithTimeout(time.Millisecond))
		_ = busy.Unlock()
	}
	var stats lockutils.Stats
	lockutils.ReadStats(&stats)
	for _, s := range stats.Locks {
		if strings.HasPrefix(s.Class, "example-cinder/") {
			fmt.Println(s.Class)
		}
	}
	// Output:
	// example-cinder/backup
	// example-cinder/volume
}
