package lockutils_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/lockutils/lockutils"
)

func ExampleExternalLock() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	external, err := lockutils.ExternalLock("image-debian", lockutils.WithLockPath(dir))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer external.Unlock()
	fmt.Println("locked with the file", filepath.Base(external.Path()))
	// Output: locked with the file image-debian
}

// An image is built once, although several processes ask for it at once.
func ExampleExternal() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	image := filepath.Join(dir, "debian.img")
	fetch := func() error {
		guard, err := lockutils.Lock("debian.img", lockutils.External(),
			lockutils.WithLockPath(filepath.Join(dir, "locks")))
		if err != nil {
			return err
		}
		defer guard.Unlock()
		if _, err := os.Stat(image); err == nil {
			fmt.Println("it is there")
			return nil
		}
		fmt.Println("building it")
		return os.WriteFile(image, []byte("an image"), 0o600)
	}
	for range 3 { // in as many processes
		if err := fetch(); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// building it
	// it is there
	// it is there
}

func ExampleWithLockPath() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	guard, err := lockutils.Lock("x", lockutils.External(), lockutils.WithLockPath(filepath.Join(dir, "locks")))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	file, _ := filepath.Rel(dir, guard.Path())
	fmt.Println(filepath.ToSlash(file))
	// Output: locks/x
}

// On a network file system, where nobody wakes a waiter, look more seldom than usual.
func ExampleWithDelay() {
	dir := tempDir() // an NFS mount
	defer os.RemoveAll(dir)
	guard, err := lockutils.Lock("x", lockutils.External(), lockutils.WithLockPath(dir),
		lockutils.WithDelay(100*time.Millisecond))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	fmt.Println("locked")
	// Output: locked
}

// Lock files for processes of several users of one group.
func ExampleWithFileMode() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	guard, err := lockutils.Lock("x", lockutils.External(), lockutils.WithLockPath(dir),
		lockutils.WithFileMode(0o640))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	fmt.Println("locked")
	// Output: locked
}

// A lock that services in Python take with oslo.concurrency.
func ExampleWithFcntl() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	guard, err := lockutils.Lock("instance-4711", lockutils.External(), lockutils.WithLockPath(dir),
		lockutils.WithPrefix("nova"), lockutils.WithFcntl())
	if errors.Is(err, errors.ErrUnsupported) {
		fmt.Println("nova-instance-4711") // not on this system
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	fmt.Println(filepath.Base(guard.Path()))
	// Output: nova-instance-4711
}

// A lock file with a path of its own.
func ExampleInterProcessLock() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	l := lockutils.NewInterProcessLock(filepath.Join(dir, "service.pid"))
	if err := l.Lock(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("the file exists:", l.Exists())
	fmt.Println(l.Unlock())
	// Output:
	// the file exists: true
	// <nil>
}

func ExampleInterProcessLock_LockGuard() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	l := lockutils.NewInterProcessLock(filepath.Join(dir, "cache.lock"))
	guard, err := l.LockGuard(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	free, err := l.TryLock()
	fmt.Println(free, err)
	// Output: false <nil>
}

func ExampleNewInterProcessLock() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "cache")
	reader, writer := lockutils.NewInterProcessLock(path), lockutils.NewInterProcessLock(path)
	if err := reader.RLock(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(writer.TryLock())
	fmt.Println(writer.TryRLock())
	_ = reader.RUnlock()
	_ = writer.RUnlock()
	// Output:
	// false <nil>
	// true <nil>
}

func ExampleRemoveExternalLockFile() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	lockutils.SetDefaults(dir)
	defer lockutils.SetDefaults("")

	guard, _ := lockutils.Lock("instance-4711", lockutils.External())
	fmt.Println("in use:", errors.Is(lockutils.RemoveExternalLockFile("instance-4711"), lockutils.ErrLocked))
	_ = guard.Unlock()
	fmt.Println(lockutils.RemoveExternalLockFile("instance-4711"))
	// Output:
	// in use: true
	// <nil>
}

func ExampleSweepExternalLockFiles() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	opts := []lockutils.Option{lockutils.External(), lockutils.WithLockPath(dir), lockutils.WithPrefix("nova")}
	for _, name := range []string{"instance-1", "instance-2", "instance-3"} {
		guard, err := lockutils.Lock(name, opts...)
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = guard.Unlock()
	}
	result, err := lockutils.SweepExternalLockFiles(24*time.Hour, opts...)
	fmt.Println("not used for a day:", len(result.Removed), err)
	odd := lockutils.Matching(func(name string) bool { return name != "instance-2" })
	result, err = lockutils.SweepExternalLockFiles(0, append(opts, odd, lockutils.DryRun())...)
	fmt.Println("would go:", len(result.Removed), err)
	result, err = lockutils.SweepExternalLockFiles(0, opts...)
	fmt.Println("not in use:", len(result.Removed), err)
	// Output:
	// not used for a day: 0 <nil>
	// would go: 2 <nil>
	// not in use: 3 <nil>
}

func ExampleSweepResult() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	opts := []lockutils.Option{lockutils.External(), lockutils.WithLockPath(dir)}
	used, _ := lockutils.Lock("instance-1", opts...)
	defer used.Unlock()
	unused, _ := lockutils.Lock("instance-2", opts...)
	_ = unused.Unlock()
	_ = os.WriteFile(filepath.Join(dir, "service.pid"), []byte("4711"), 0o600) // not a lock file

	result, err := lockutils.SweepExternalLockFiles(0, opts...)
	if err != nil {
		fmt.Println(err)
	}
	for _, path := range result.Removed {
		fmt.Println("removed:", filepath.Base(path))
	}
	for _, path := range result.InUse {
		fmt.Println("in use:", filepath.Base(path))
	}
	for _, path := range result.NotEmpty {
		fmt.Println("not empty:", filepath.Base(path))
	}
	// Output:
	// removed: instance-2
	// in use: instance-1
	// not empty: service.pid
}

func ExampleDryRun() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	guard, _ := lockutils.Lock("instance-4711", lockutils.External(), lockutils.WithLockPath(dir))
	_ = guard.Unlock()

	path := lockutils.WithLockPath(dir)
	result, err := lockutils.SweepExternalLockFiles(0, path, lockutils.DryRun())
	fmt.Println("would be removed:", len(result.Removed), err)
	result, err = lockutils.SweepExternalLockFiles(0, path)
	fmt.Println("removed:", len(result.Removed), err)
	// Output:
	// would be removed: 1 <nil>
	// removed: 1 <nil>
}

// Keep the files of instances that still exist.
func ExampleMatching() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	opts := []lockutils.Option{lockutils.External(), lockutils.WithLockPath(dir), lockutils.WithPrefix("nova")}
	for _, name := range []string{"instance-1", "instance-2", "instance-3"} {
		guard, _ := lockutils.Lock(name, opts...)
		_ = guard.Unlock()
	}
	exists := map[string]bool{"instance-1": true}
	deleted := lockutils.Matching(func(name string) bool { return !exists[name] })
	result, err := lockutils.SweepExternalLockFiles(0, append(opts, deleted)...)
	for _, path := range result.Removed {
		fmt.Println(filepath.Base(path))
	}
	fmt.Println(err)
	// Output:
	// nova-instance-2
	// nova-instance-3
	// <nil>
}

func ExampleHolders() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	opts := []lockutils.Option{lockutils.External(), lockutils.WithLockPath(dir)}
	guard, err := lockutils.Lock("lvm", opts...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	holders, err := lockutils.Holders("lvm", opts...)
	if errors.Is(err, errors.ErrUnsupported) {
		holders = []lockutils.Holder{{PID: os.Getpid(), Mode: lockutils.ModeWriter}} // not on this system
	}
	for _, h := range holders {
		fmt.Println(h.PID == os.Getpid(), h.Mode)
	}
	// Output: true writer
}

func ExampleHolder() {
	h := lockutils.Holder{PID: 4711, Command: "lvcreate -L 10G vg0", Mode: lockutils.ModeWriter}
	fmt.Printf("process %d (%s) holds it as a %v\n", h.PID, h.Command, h.Mode)
	// Output: process 4711 (lvcreate -L 10G vg0) holds it as a writer
}

func ExampleHostLocks() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	guard, err := lockutils.Lock("lvm", lockutils.External(), lockutils.WithLockPath(dir))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	files, err := lockutils.HostLocks(lockutils.WithLockPath(dir))
	if errors.Is(err, errors.ErrUnsupported) {
		fmt.Println("lvm is held by this process: true") // not on this system
		return
	}
	for _, file := range files {
		for _, h := range file.Holders {
			fmt.Printf("%s is held by this process: %t\n", filepath.Base(file.Path), h.PID == os.Getpid())
		}
	}
	// Output: lvm is held by this process: true
}

func ExampleFileInfo() {
	file := lockutils.FileInfo{
		Path:    "/run/lock/nova/nova-lvm",
		Holders: []lockutils.Holder{{PID: 4711, Command: "lvcreate -L 10G vg0", Mode: lockutils.ModeWriter}},
		Waiters: []lockutils.Holder{{PID: 4712, Command: "lvremove vg0/old", Mode: lockutils.ModeWriter}},
	}
	for _, h := range file.Holders {
		fmt.Printf("%s: process %d (%s) holds it\n", path.Base(file.Path), h.PID, h.Command)
	}
	for _, w := range file.Waiters {
		fmt.Printf("%s: process %d (%s) waits for it\n", path.Base(file.Path), w.PID, w.Command)
	}
	// Output:
	// nova-lvm: process 4711 (lvcreate -L 10G vg0) holds it
	// nova-lvm: process 4712 (lvremove vg0/old) waits for it
}
