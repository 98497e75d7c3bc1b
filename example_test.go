package lockutils_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
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

// Volumes move between two instances in both directions at once, and the order of the names does not
// matter.
func ExampleLockAll() {
	move := func(from, to string) error {
		guards, err := lockutils.LockAll(context.Background(), []string{from, to})
		if err != nil {
			return err
		}
		defer guards.Unlock()
		fmt.Println("moving a volume")
		return nil
	}
	var moves sync.WaitGroup
	moves.Go(func() { _ = move("instance-1", "instance-2") })
	moves.Go(func() { _ = move("instance-2", "instance-1") })
	moves.Wait()
	// Output:
	// moving a volume
	// moving a volume
}

func ExampleDoAll() {
	ctx := context.Background()
	err := lockutils.DoAll(ctx, []string{"volume-42", "instance-4711"}, func(ctx context.Context) error {
		fmt.Println("attaching, with", lockutils.HeldLocks(ctx))
		return nil
	}, lockutils.WithTimeout(time.Minute)) // for both together
	fmt.Println(err)
	// Output:
	// attaching, with [instance-4711 volume-42]
	// <nil>
}

// All or none: the error names the lock that is held, and the other one is free again.
func ExampleGuards() {
	busy, _ := lockutils.Lock("volume-42")
	names := []string{"volume-42", "instance-4711"}
	guards, err := lockutils.LockAll(context.Background(), names, lockutils.NonBlocking())
	fmt.Println(len(guards), err)
	_ = busy.Unlock()

	guards, err = lockutils.LockAll(context.Background(), names, lockutils.NonBlocking())
	for _, guard := range guards {
		fmt.Println("locked:", guard.Name())
	}
	fmt.Println(err, guards.Unlock())
	// Output:
	// 0 lockutils: cannot acquire lock "volume-42": locked by another holder
	// locked: instance-4711
	// locked: volume-42
	// <nil> <nil>
}

// Work that goes on after the release takes a context that does not claim to hold the lock. With ctx
// itself, the request would fail with ErrDeadlock if the lock was still held.
func ExampleDetach() {
	var background sync.WaitGroup
	err := lockutils.Do(context.Background(), "instance-4711", func(ctx context.Context) error {
		detached := lockutils.Detach(ctx)
		background.Go(func() {
			_ = lockutils.Do(detached, "instance-4711", func(ctx context.Context) error {
				fmt.Println("removing the snapshot, with", lockutils.HeldLocks(ctx))
				return nil
			})
		})
		fmt.Println("resizing, with", lockutils.HeldLocks(ctx))
		return nil
	})
	background.Wait()
	fmt.Println(err)
	// Output:
	// resizing, with [instance-4711]
	// removing the snapshot, with [instance-4711]
	// <nil>
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

// A request further down the stack that needs the lock fails at once, instead of waiting for itself.
func ExampleGuard_Context() {
	guard, err := lockutils.Lock("instance-4711")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	ctx, cancel := guard.Context(context.Background())
	defer cancel()

	_, err = lockutils.LockContext(ctx, "instance-4711")
	fmt.Println(errors.Is(err, lockutils.ErrDeadlock))
	// Output: true
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

func TestEverythingExportedHasAnExample(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	pkg, err := doc.NewFromFiles(set, files, "github.com/lockutils/lockutils")
	if err != nil {
		t.Fatal(err)
	}
	funcs := pkg.Funcs
	for _, typ := range pkg.Types {
		funcs = append(funcs, typ.Funcs...) // which return the type
		if len(typ.Examples) == 0 {
			t.Errorf("type %s has no example", typ.Name)
		}
	}
	for _, f := range funcs {
		if len(f.Examples) == 0 {
			t.Errorf("function %s has no example", f.Name)
		}
	}
	if len(pkg.Types) == 0 || len(funcs) == 0 {
		t.Error("nothing is exported") // The files are not those of the package.
	}
}
