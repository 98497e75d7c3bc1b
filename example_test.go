package lockutils_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lockutils/lockutils"
)

// tempDir stands for the directory that a real program would have for its locks, such as
// /run/lock/nova.
func tempDir() string {
	dir, err := os.MkdirTemp("", "locks")
	if err != nil {
		panic(err)
	}
	return dir
}

// Everything that changes an instance takes the lock that is named after it.
func Example() {
	resize := func(instance string) error {
		guard, err := lockutils.Lock("instance-" + instance)
		if err != nil {
			return err
		}
		defer guard.Unlock()
		fmt.Println("resizing", instance)
		return nil
	}
	if err := resize("4711"); err != nil {
		fmt.Println(err)
	}
	// Output: resizing 4711
}

func ExampleLock() {
	var inside int // needs no other protection
	var workers sync.WaitGroup
	for range 10 {
		workers.Go(func() {
			guard, err := lockutils.Lock("instance-4711")
			if err != nil {
				fmt.Println(err)
				return
			}
			defer guard.Unlock()
			inside++
		})
	}
	workers.Wait()
	fmt.Println(inside)
	// Output: 10
}

func ExampleLockContext() {
	busy, _ := lockutils.Lock("instance-4711")
	defer busy.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err := lockutils.LockContext(ctx, "instance-4711")
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	fmt.Println(err)
	// Output:
	// true
	// lockutils: cannot acquire lock "instance-4711": context deadline exceeded
}

// A tool that must not run twice at a time.
func ExampleTryLock() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	runTool := func() {
		guard, err := lockutils.TryLock("lvm", lockutils.External(), lockutils.WithLockPath(dir))
		if errors.Is(err, lockutils.ErrLocked) {
			fmt.Println("somebody else runs it")
			return
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		defer guard.Unlock()
		fmt.Println("running it")
	}
	runTool()
	busy, _ := lockutils.Lock("lvm")
	runTool()
	_ = busy.Unlock()
	// Output:
	// running it
	// somebody else runs it
}

func ExampleDo() {
	ctx := context.Background()
	err := lockutils.Do(ctx, "instance-4711", func(ctx context.Context) error {
		fmt.Println("with the lock of the instance")
		return lockutils.Do(ctx, "volume-42", func(ctx context.Context) error {
			fmt.Println("and with that of its volume")
			return errors.New("no space on it")
		})
	})
	fmt.Println("error:", err)
	// Output:
	// with the lock of the instance
	// and with that of its volume
	// error: no space on it
}

// Code that calls itself in circles does not hang.
func ExampleDo_deadlock() {
	err := lockutils.Do(context.Background(), "instance-4711", func(ctx context.Context) error {
		return lockutils.Do(ctx, "instance-4711", func(context.Context) error {
			return nil
		})
	})
	fmt.Println(errors.Is(err, lockutils.ErrDeadlock))
	fmt.Println(err)
	// Output:
	// true
	// lockutils: cannot acquire lock "instance-4711": deadlock: the context already holds this lock
}

func ExampleHeldLocks() {
	inner := func(ctx context.Context) error {
		fmt.Println("held:", lockutils.HeldLocks(ctx))
		return nil
	}
	outer := func(ctx context.Context) error {
		return lockutils.Do(ctx, "volume-42", inner)
	}
	_ = lockutils.Do(context.Background(), "instance-4711", outer)
	// Output: held: [instance-4711 volume-42]
}

func ExampleSynchronized() {
	resize := func(ctx context.Context, gigabytes int) (before int, err error) {
		fmt.Println("resizing, with", lockutils.HeldLocks(ctx))
		return 10, nil
	}
	// It has the type of resize, and takes the lock around each call.
	resize = lockutils.Synchronized("instance-4711", resize, lockutils.WithTimeout(time.Minute))

	before, err := resize(context.Background(), 20)
	fmt.Println(before, err)
	// Output:
	// resizing, with [instance-4711]
	// 10 <nil>
}

func ExampleGuard() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	guard, err := lockutils.Lock("images/debian", lockutils.External(), lockutils.WithLockPath(dir))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(guard.Name(), "is locked by the file", filepath.Base(guard.Path()))
	fmt.Println(guard.Unlock())
	fmt.Println(guard.Unlock())
	// Output:
	// images/debian is locked by the file images_debian
	// <nil>
	// lockutils: lock not held
}

// For those who compose locks themselves: first the goroutines of this process, and the others
// only if need be.
func ExampleInternalLock() {
	internal, err := lockutils.InternalLock("image-debian")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer internal.Unlock()
	fmt.Printf("locked without a file: %q\n", internal.Path())
	// Output: locked without a file: ""
}

func ExampleInternalFairLock() {
	guard, err := lockutils.InternalFairLock("queue")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	fmt.Println("it was my turn")
	// Output: it was my turn
}

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

// An Option is a value: projects keep those that all their locks have in common.
func ExampleOption() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	host := []lockutils.Option{lockutils.External(), lockutils.WithLockPath(dir),
		lockutils.WithTimeout(time.Minute)}

	guard, err := lockutils.Lock("iptables", host...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	fmt.Println(filepath.Base(guard.Path()))
	// Output: iptables
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

// Nobody who comes later is served earlier.
func ExampleFair() {
	guard, err := lockutils.Lock("gpu", lockutils.Fair())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	fmt.Println("it was my turn")
	// Output: it was my turn
}

// Several readers of a cache, one that cleans it.
func ExampleShared() {
	reader, _ := lockutils.Lock("cache", lockutils.Shared())
	another, err := lockutils.TryLock("cache", lockutils.Shared())
	fmt.Println("a second reader:", err)

	_, err = lockutils.TryLock("cache")
	fmt.Println("a cleaner meanwhile:", err)

	_ = reader.Unlock()
	_ = another.Unlock()
	cleaner, err := lockutils.TryLock("cache")
	fmt.Println("a cleaner afterwards:", err)
	_ = cleaner.Unlock()
	// Output:
	// a second reader: <nil>
	// a cleaner meanwhile: lockutils: cannot acquire lock "cache": locked by another holder
	// a cleaner afterwards: <nil>
}

func ExampleNonBlocking() {
	update := lockutils.Synchronized("update", func() error { return nil }, lockutils.NonBlocking())

	busy, _ := lockutils.Lock("update")
	fmt.Println(errors.Is(update(), lockutils.ErrLocked))
	_ = busy.Unlock()
	fmt.Println(update())
	// Output:
	// true
	// <nil>
}

func ExampleWithTimeout() {
	busy, _ := lockutils.Lock("x")
	defer busy.Unlock()
	_, err := lockutils.Lock("x", lockutils.WithTimeout(time.Millisecond))
	fmt.Println(errors.Is(err, lockutils.ErrTimeout), errors.Is(err, context.DeadlineExceeded))
	// Output: true true
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

// A lock that is taken many times a second need not fill the debug log.
func ExampleWithLogging() {
	log := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug})
	lockutils.SetLogger(slog.New(log))
	defer lockutils.SetLogger(nil)

	guard, err := lockutils.Lock("heartbeat", lockutils.WithLogging(false))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(guard.Unlock())
	// Output: <nil>
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

func ExampleSetDefaults() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	lockutils.SetDefaults(dir)
	defer lockutils.SetDefaults("")
	guard, err := lockutils.Lock("x", lockutils.External())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	fmt.Println(filepath.Dir(guard.Path()) == dir)
	// Output: true
}

// What SetDefaults has set goes before the environment.
func ExampleSetDefaultOptions() {
	// In main: this program shares its lock files with Python.
	lockutils.SetDefaultOptions(lockutils.WithFcntl(), lockutils.WithTimeout(time.Minute))
	defer lockutils.SetDefaultOptions()

	busy, _ := lockutils.Lock("x")
	defer busy.Unlock()
	_, err := lockutils.Lock("x", lockutils.NonBlocking()) // instead of the timeout
	fmt.Println(err)
	// Output: lockutils: cannot acquire lock "x": locked by another holder
}

func ExampleLockPath() {
	_ = os.Setenv("OSLO_LOCK_PATH", "/run/lock/environment")
	defer os.Unsetenv("OSLO_LOCK_PATH")
	fmt.Println(lockutils.LockPath())
	lockutils.SetDefaults("/run/lock/nova")
	fmt.Println(lockutils.LockPath())
	lockutils.SetDefaults("")
	fmt.Println(lockutils.LockPath())
	// Output:
	// /run/lock/environment
	// /run/lock/nova
	// /run/lock/environment
}

// A program that is known to run alone does without lock files, and so without a lock path.
func ExampleSetProcessLocking() {
	lockutils.SetProcessLocking(false)
	defer lockutils.SetProcessLocking(true)
	guard, err := lockutils.Lock("x", lockutils.External())
	fmt.Printf("%q %v\n", guard.Path(), err)
	_ = guard.Unlock()
	// Output: "" <nil>
}

func ExampleSetLogger() {
	log := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Value.Kind() == slog.KindDuration {
				return slog.Attr{} // another at each run
			}
			return a
		},
	})
	lockutils.SetLogger(slog.New(log))
	defer lockutils.SetLogger(nil)

	guard, err := lockutils.Lock("instance-4711")
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = guard.Unlock()
	// Output:
	// level=DEBUG msg="Acquiring lock" lock=instance-4711
	// level=DEBUG msg="Acquired lock" lock=instance-4711
	// level=DEBUG msg="Released lock" lock=instance-4711
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

func ExampleAcquireError() {
	_, err := lockutils.Lock("../../etc/passwd", lockutils.External())
	var failed *lockutils.AcquireError
	if errors.As(err, &failed) {
		fmt.Println("lock:", failed.Name)
		fmt.Println("no lock path:", errors.Is(err, lockutils.ErrLockPath))
	}
	// Output:
	// lock: ../../etc/passwd
	// no lock path: true
}
