package lockutils_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/lockutils/lockutils"
)

// At most two downloads from each mirror at a time.
func ExampleWithSemaphores() {
	downloads := lockutils.NewSemaphores(2)
	for range 3 {
		_, err := lockutils.TryLock("mirror.example", lockutils.WithSemaphores(downloads))
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// <nil>
	// lockutils: cannot acquire lock "mirror.example" of "semaphores": locked by another holder
}

func ExampleSemaphores() {
	var connections lockutils.Semaphores // one permit for each name
	mirror := connections.Get("mirror.example")
	if err := mirror.Acquire(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("names in use:", connections.Len())
	fmt.Println("the same handle:", mirror == connections.Get("mirror.example"))
	fmt.Println("a permit to spare:", mirror.TryAcquire())
	mirror.Release()
	fmt.Println("names in use:", connections.Len())
	// Output:
	// names in use: 1
	// the same handle: true
	// a permit to spare: false
	// names in use: 0
}

func ExampleNewSemaphores() {
	builds := lockutils.NewSemaphores(2).Get("builds")
	fmt.Println(builds.TryAcquire(), builds.TryAcquire(), builds.TryAcquire())
	// Output: true true false
}

func ExampleSemaphore() {
	builds := lockutils.NewSemaphores(1).Get("builds")
	if err := builds.Acquire(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	defer builds.Release()
	fmt.Println("with a permit for", builds.Name())
	// Output: with a permit for builds
}

func ExampleFairLocks() {
	var gpus lockutils.FairLocks
	gpu := gpus.Get("gpu-0")
	gpu.Lock()
	fmt.Println(gpus.Len(), gpus.Get("gpu-0").TryLock(), gpus.Get("gpu-1").TryLock())
	gpu.Unlock()
	// Output: 1 false true
}

// It is a sync.Locker.
func ExampleFairLock() {
	var gpus lockutils.FairLocks
	var gpu sync.Locker = gpus.Get("gpu-0")
	gpu.Lock()
	defer gpu.Unlock()
	fmt.Println("it was my turn")
	// Output: it was my turn
}

func ExampleReaderWriterLocks() {
	var tables lockutils.ReaderWriterLocks
	users := tables.Get("users")
	users.RLock()
	fmt.Println("another reader:", tables.Get("users").TryRLock())
	fmt.Println("a writer:", tables.Get("users").TryLock())
	fmt.Println("a writer elsewhere:", tables.Get("groups").TryLock())
	// Output:
	// another reader: true
	// a writer: false
	// a writer elsewhere: true
}

func ExampleNamedReaderWriterLock() {
	var tables lockutils.ReaderWriterLocks
	users := tables.Get("users")
	if err := users.LockContext(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	defer users.Unlock()
	fmt.Println("writing", users.Name())
	// Output: writing users
}

// A writer that goes on as a reader lets no other writer in between.
func ExampleReaderWriterLock() {
	var l lockutils.ReaderWriterLock
	l.Lock()
	fmt.Println(l.Owner())
	l.Downgrade()
	fmt.Println(l.Owner(), l.TryRLock())
	l.RUnlock()
	l.RUnlock()
	fmt.Println(l.Owner())
	// Output:
	// writer
	// reader true
	// none
}

func ExampleMode() {
	var l lockutils.ReaderWriterLock
	l.RLock()
	if l.Owner() == lockutils.ModeReader {
		fmt.Println("held by a", l.Owner())
	}
	l.RUnlock()
	// Output: held by a reader
}
