package lockutils_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/lockutils/lockutils"
)

// await returns when the lock is listed and in that state.
func await(name string, state func(lockutils.LockInfo) bool) {
	for !slices.ContainsFunc(lockutils.Snapshot(), func(lock lockutils.LockInfo) bool {
		return lock.Name == name && state(lock)
	}) {
		runtime.Gosched()
	}
}

func hasWaiter(lock lockutils.LockInfo) bool { return len(lock.Waiters) > 0 }

// hasKnownHolder reports whether the holder is known, since it waits for another lock.
func hasKnownHolder(lock lockutils.LockInfo) bool { return len(lock.Holders) > 0 }

// In main: from now on, the log says which locks are waited for so long, and what is known of the holders.
func ExampleSetSlowWait() {
	lockutils.SetSlowWait(10 * time.Second)
	defer lockutils.SetSlowWait(0)

	guard, err := lockutils.Lock("instance-4711")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(guard.Unlock())
	// Output: <nil>
}

func ExampleSetSlowWait_message() {
	logged, log := io.Pipe()
	lockutils.SetLogger(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "waited" {
				return slog.Attr{} // another at each run
			}
			return a
		},
	})))
	defer lockutils.SetLogger(nil)
	lockutils.SetSlowWait(time.Millisecond)
	defer lockutils.SetSlowWait(0)

	guard, _ := lockutils.Lock("instance-4711", lockutils.WithPrefix("nova"))
	var waiter sync.WaitGroup
	waiter.Go(func() {
		guard, _ := lockutils.Lock("instance-4711", lockutils.WithPrefix("nova"))
		_ = guard.Unlock()
	})
	message, err := bufio.NewReader(logged).ReadString('\n')
	_ = guard.Unlock()
	waiter.Wait()
	_ = logged.Close()
	fmt.Print(message, err)
	// Output:
	// level=WARN msg="Waiting for lock" lock=instance-4711 scope=nova position=1
	// <nil>
}

func ExampleSnapshot() {
	guard, _ := lockutils.Lock("instance-4711", lockutils.WithPrefix("nova"))
	var resize sync.WaitGroup
	resize.Go(func() {
		guard, _ := lockutils.Lock("instance-4711", lockutils.WithPrefix("nova"))
		_ = guard.Unlock()
	})
	await("instance-4711", hasWaiter)

	for _, lock := range lockutils.Snapshot() { // the longest wait first
		if len(lock.Waiters) > 0 {
			fmt.Printf("%s of %s: held by a %v, %d waiting\n", lock.Name, lock.Scope, lock.Mode, len(lock.Waiters))
		}
	}
	_ = guard.Unlock()
	resize.Wait()
	// Output: instance-4711 of nova: held by a writer, 1 waiting
}

func ExampleLockInfo() {
	one, _ := lockutils.Lock("cache", lockutils.WithPrefix("glance"), lockutils.Shared())
	defer one.Unlock()
	two, _ := lockutils.Lock("cache", lockutils.WithPrefix("glance"), lockutils.Shared())
	defer two.Unlock()

	for _, lock := range lockutils.Snapshot() {
		if lock.Scope == "glance" && lock.Mode == lockutils.ModeReader {
			fmt.Println(lock.Name, "is held by", lock.Readers, "readers")
		}
	}
	// Output: cache is held by 2 readers
}

func ExampleWaiterInfo() {
	guard, _ := lockutils.Lock("instance-4711")
	var attach sync.WaitGroup
	attach.Go(func() {
		_ = lockutils.Do(context.Background(), "volume-42", func(ctx context.Context) error {
			return lockutils.Do(ctx, "instance-4711", func(context.Context) error { return nil })
		})
	})
	await("instance-4711", hasWaiter)

	for _, lock := range lockutils.Snapshot() {
		for _, waiter := range lock.Waiters {
			fmt.Printf("a %v waits for %s and holds %v\n", waiter.Mode, lock.Name, waiter.Holds)
		}
	}
	_ = guard.Unlock()
	attach.Wait()
	// Output: a writer waits for instance-4711 and holds [volume-42]
}

func ExampleHolderInfo() {
	lockutils.SetTracking(1)
	defer lockutils.SetTracking(0)
	guard, _ := lockutils.Lock("instance-4711", lockutils.WithPrefix("nova"))
	defer guard.Unlock()

	for _, lock := range lockutils.Snapshot() {
		for _, holder := range lock.Holders {
			call, _ := runtime.CallersFrames(holder.Stack).Next()
			fmt.Printf("%s was acquired in %s\n", lock.Name, filepath.Base(call.File))
		}
	}
	// Output: instance-4711 was acquired in example_debug_test.go
}

// With 1 all holders are known, and with 100 those of one acquisition in a hundred.
func ExampleSetTracking() {
	lockutils.SetTracking(1)
	defer lockutils.SetTracking(0)
	guard, _ := lockutils.Lock("instance-4711", lockutils.WithPrefix("nova"))
	defer guard.Unlock()

	for _, lock := range lockutils.Snapshot() {
		for _, holder := range lock.Holders {
			fmt.Println(lock.Name, "is held by", path.Base(holder.By))
		}
	}
	// Output: instance-4711 is held by lockutils_test.ExampleSetTracking
}

func ExampleLen() {
	before := lockutils.Len()
	guard, _ := lockutils.Lock("instance-4711")
	another, _ := lockutils.Lock("instance-42")
	fmt.Println("locks in use:", lockutils.Len()-before)
	_ = guard.Unlock()
	_ = another.Unlock()
	fmt.Println("locks in use:", lockutils.Len()-before)
	// Output:
	// locks in use: 2
	// locks in use: 0
}

// Two goroutines acquire the same locks in opposite orders. One of them gets an error, and the other one
// goes on.
func ExampleDeadlockError() {
	ctx := context.Background()
	done := func(context.Context) error { return nil }
	var detach sync.WaitGroup
	err := lockutils.Do(ctx, "instance-4711", func(attach context.Context) error {
		detach.Go(func() {
			_ = lockutils.Do(ctx, "volume-42", func(detach context.Context) error {
				return lockutils.Do(detach, "instance-4711", done)
			})
		})
		await("volume-42", hasKnownHolder) // waits for the instance
		return lockutils.Do(attach, "volume-42", done)
	})
	detach.Wait()

	var deadlock *lockutils.DeadlockError
	if errors.As(err, &deadlock) {
		for _, wait := range deadlock.Cycle {
			fmt.Printf("%s: waited for with %v held\n", wait.Name, wait.Holds)
		}
	}
	// Output:
	// volume-42: waited for with [instance-4711] held
	// instance-4711: waited for with [volume-42] held
}

func ExampleWait() {
	wait := lockutils.Wait{Name: "volume-42", Mode: lockutils.ModeWriter, Holds: []string{"instance-4711"}}
	fmt.Printf("a %v waits for %s and holds %v\n", wait.Mode, wait.Name, wait.Holds)
	// Output: a writer waits for volume-42 and holds [instance-4711]
}

// Tests of a program find its deadlocks sooner than after 50 ms.
func ExampleSetDeadlockCheck() {
	lockutils.SetDeadlockCheck(time.Millisecond)
	defer lockutils.SetDeadlockCheck(50 * time.Millisecond) // the default

	ctx := context.Background()
	done := func(context.Context) error { return nil }
	var other sync.WaitGroup
	err := lockutils.Do(ctx, "a", func(a context.Context) error {
		other.Go(func() {
			_ = lockutils.Do(ctx, "b", func(b context.Context) error { return lockutils.Do(b, "a", done) })
		})
		await("b", hasKnownHolder) // waits for a
		return lockutils.Do(a, "b", done)
	})
	other.Wait()
	fmt.Println(errors.Is(err, lockutils.ErrDeadlock))
	// Output: true
}
