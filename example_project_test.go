package lockutils_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/lockutils/lockutils"
)

func ExampleWithPrefix() {
	nova, _ := lockutils.Lock("instance-4711", lockutils.WithPrefix("nova"))
	defer nova.Unlock()
	// The same name in another project is another lock.
	cinder, err := lockutils.TryLock("instance-4711", lockutils.WithPrefix("cinder"))
	fmt.Println(err)
	defer cinder.Unlock()
	_, err = lockutils.TryLock("instance-4711", lockutils.WithPrefix("nova-"))
	fmt.Println(err)
	// Output:
	// <nil>
	// lockutils: cannot acquire lock "instance-4711" of "nova": locked by another holder
}

func ExampleLockWithPrefix() {
	lock := lockutils.LockWithPrefix("nova") // in one place of the project
	guard, err := lock("instance-4711")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	fmt.Println(guard.Name())
	// Output: instance-4711
}

func ExampleLockContextWithPrefix() {
	lock := lockutils.LockContextWithPrefix("nova", lockutils.WithTimeout(time.Minute))
	guard, err := lock(context.Background(), "instance-4711")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	fmt.Println(guard.Name())
	// Output: instance-4711
}

func ExampleDoWithPrefix() {
	do := lockutils.DoWithPrefix("nova")
	err := do(context.Background(), "instance-4711", func(ctx context.Context) error {
		fmt.Println(lockutils.HeldLocks(ctx))
		return do(ctx, "instance-4711", func(context.Context) error { return nil })
	})
	fmt.Println(err)
	// Output:
	// [instance-4711]
	// lockutils: cannot acquire lock "instance-4711" of "nova": deadlock: the context already holds this lock
}

func ExampleSynchronizedWithPrefix() {
	synchronized := lockutils.SynchronizedWithPrefix("nova", lockutils.WithTimeout(time.Minute))
	resize := synchronized("instance-4711", func() error {
		fmt.Println("resizing")
		return nil
	})
	fmt.Println(resize())
	// Output:
	// resizing
	// <nil>
}

func ExampleRemoveExternalLockFileWithPrefix() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	cleanup := lockutils.RemoveExternalLockFileWithPrefix("nova", lockutils.WithLockPath(dir))
	fmt.Println(cleanup("instance-4711")) // a missing file is no error
	// Output: <nil>
}

// The signature of a project's lock function, for those who pass it on.
func ExampleLockFunc() {
	withAll := func(lock lockutils.LockFunc, names ...string) error {
		for _, name := range names {
			guard, err := lock(name, lockutils.NonBlocking())
			if err != nil {
				return err
			}
			defer guard.Unlock()
		}
		fmt.Println("with all of", names)
		return nil
	}
	fmt.Println(withAll(lockutils.LockWithPrefix("nova"), "instance-1", "instance-2"))
	fmt.Println(withAll(lockutils.Lock, "instance-1", "instance-1"))
	// Output:
	// with all of [instance-1 instance-2]
	// <nil>
	// lockutils: cannot acquire lock "instance-1": locked by another holder
}

func ExampleLockContextFunc() {
	type service struct {
		lock lockutils.LockContextFunc // of the project
	}
	nova := service{lock: lockutils.LockContextWithPrefix("nova", lockutils.WithTimeout(time.Minute))}
	guard, err := nova.lock(context.Background(), "instance-4711")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	fmt.Println(guard.Name())
	// Output: instance-4711
}

func ExampleDoFunc() {
	resize := func(do lockutils.DoFunc, instance string) error {
		return do(context.Background(), instance, func(ctx context.Context) error {
			fmt.Println("resizing, with", lockutils.HeldLocks(ctx))
			return nil
		})
	}
	fmt.Println(resize(lockutils.DoWithPrefix("nova"), "instance-4711"))
	fmt.Println(resize(lockutils.Do, "instance-4711")) // without a project
	// Output:
	// resizing, with [instance-4711]
	// <nil>
	// resizing, with [instance-4711]
	// <nil>
}

func ExampleSynchronizedFunc() {
	var synchronized lockutils.SynchronizedFunc = lockutils.SynchronizedWithPrefix("nova")
	tasks := []func() error{
		synchronized("network", func() error { fmt.Println("plugging"); return nil }),
		synchronized("network", func() error { fmt.Println("unplugging"); return nil }),
	}
	for _, task := range tasks {
		_ = task()
	}
	// Output:
	// plugging
	// unplugging
}

func ExampleCleanupFunc() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	var cleanup lockutils.CleanupFunc = lockutils.RemoveExternalLockFileWithPrefix("nova",
		lockutils.WithLockPath(dir))
	for _, deleted := range []string{"instance-1", "instance-2"} {
		fmt.Println(deleted, cleanup(deleted))
	}
	// Output:
	// instance-1 <nil>
	// instance-2 <nil>
}
