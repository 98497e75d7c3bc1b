package lockutils_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/lockutils/lockutils"
)

// A readWriteLock is what the two kinds of reader-writer locks have in common.
type readWriteLock interface {
	Lock()
	Unlock()
	TryLock() bool
	LockContext(ctx context.Context) error
	RLock()
	RUnlock()
	TryRLock() bool
	RLockContext(ctx context.Context) error
	RLocker() sync.Locker
	Downgrade()
	Owner() lockutils.Mode
	HasPendingWriters() bool
}

func eachReadWriteLock(t *testing.T, test func(t *testing.T, name string, l readWriteLock)) {
	t.Run("unnamed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := new(lockutils.ReaderWriterLock)
			test(t, "", l)
			if l.Owner() != lockutils.ModeNone {
				t.Error("the lock is still held")
			}
		})
	})
	t.Run("named", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var locks lockutils.ReaderWriterLocks
			test(t, "x", locks.Get("x"))
			if locks.Len() != 0 {
				t.Errorf("Len %d", locks.Len())
			}
		})
	})
}

func TestReadersComeTogetherAndWritersAlone(t *testing.T) {
	eachReadWriteLock(t, func(t *testing.T, name string, l readWriteLock) {
		l.RLock()
		if err := l.RLockContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.RLocker().Lock()
		if !l.TryRLock() || l.TryLock() {
			t.Fatal("beside readers there is room for readers only")
		}
		for range 3 {
			l.RUnlock()
			if l.TryLock() {
				t.Fatal("a writer beside a reader")
			}
		}
		l.RLocker().Unlock()
		if !l.TryLock() {
			t.Fatal("the lock should be free")
		}
		if l.TryLock() || l.TryRLock() {
			t.Fatal("beside a writer there is room for nobody")
		}
		l.Unlock()
		if err := l.LockContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.Unlock()
		wantPanic(t, l.Unlock)
		wantPanic(t, l.RUnlock)
		wantPanic(t, l.RLocker().Unlock)
		l.Lock()
		wantPanic(t, l.RUnlock)
		l.Unlock()
		l.RLock()
		wantPanic(t, l.Unlock)
		l.RUnlock()
	})
}

func TestReadersAndWritersAreServedInOrderOfArrival(t *testing.T) {
	eachReadWriteLock(t, func(t *testing.T, name string, l readWriteLock) {
		var mu sync.Mutex
		var order []string
		var open []chan struct{}
		queue := func(id string, lock, unlock func()) {
			leave := make(chan struct{})
			open = append(open, leave)
			go func() {
				lock()
				mu.Lock()
				order = append(order, id)
				mu.Unlock()
				<-leave
				unlock()
			}()
			synctest.Wait()
		}
		inside := func(want ...string) {
			t.Helper()
			synctest.Wait()
			slices.Sort(order)
			if !slices.Equal(order, want) {
				t.Errorf("inside since the last look: %q, want %q", order, want)
			}
			order = nil
		}
		queue("r1", l.RLock, l.RUnlock)
		queue("w1", l.Lock, l.Unlock)
		queue("r2", l.RLock, l.RUnlock)
		queue("r3", l.RLock, l.RUnlock)
		queue("w2", l.Lock, l.Unlock)
		queue("r4", l.RLock, l.RUnlock)
		inside("r1")
		if l.TryRLock() {
			t.Error("a reader has passed a writer who waits")
		}
		close(open[0])
		inside("w1")
		close(open[1])
		inside("r2", "r3")
		close(open[2])
		inside()
		close(open[3])
		inside("w2")
		close(open[4])
		inside("r4")
		close(open[5])
		synctest.Wait()
	})
}

func TestReadWriteWaitEndsWithTheContext(t *testing.T) {
	eachReadWriteLock(t, func(t *testing.T, name string, l readWriteLock) {
		ctx, cancel := context.WithCancel(t.Context())
		l.RLock()
		readerIsIn := false
		go func() { wantAcquireError(t, l.LockContext(ctx), name, "", context.Canceled) }()
		synctest.Wait()
		go func() { l.RLock(); readerIsIn = true; l.RUnlock() }()
		synctest.Wait()
		if readerIsIn {
			t.Error("a reader has passed a writer who waits")
		}
		cancel()
		synctest.Wait()
		if !readerIsIn {
			t.Error("the writer has gone, the reader still waits")
		}
		l.RUnlock()

		l.Lock()
		ctx, cancel = context.WithCancel(t.Context())
		go func() { wantAcquireError(t, l.RLockContext(ctx), name, "", context.Canceled) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		l.Unlock()
	})
}

func TestReaderWriterLockTellsItsState(t *testing.T) {
	eachReadWriteLock(t, func(t *testing.T, _ string, l readWriteLock) {
		want := func(owner lockutils.Mode, pending bool) {
			t.Helper()
			if l.Owner() != owner || l.HasPendingWriters() != pending {
				t.Errorf("owner %v, pending writers %v; want %v, %v", l.Owner(), l.HasPendingWriters(), owner, pending)
			}
		}
		want(lockutils.ModeNone, false)
		l.RLock()
		want(lockutils.ModeReader, false)
		go func() { l.Lock() }()
		synctest.Wait()
		want(lockutils.ModeReader, true)
		l.RUnlock()
		synctest.Wait()
		want(lockutils.ModeWriter, false)
		go func() { l.RLock() }()
		synctest.Wait()
		want(lockutils.ModeWriter, false)
		l.Unlock()
		synctest.Wait()
		want(lockutils.ModeReader, false)
		l.RUnlock()
		want(lockutils.ModeNone, false)
	})
	for mode, name := range map[lockutils.Mode]string{
		lockutils.ModeNone: "none", lockutils.ModeReader: "reader", lockutils.ModeWriter: "writer",
		lockutils.Mode(9): "none",
	} {
		if mode.String() != name {
			t.Errorf("%d is called %q", int(mode), mode)
		}
	}
}

func TestDowngradeLetsTheNextReadersInButNoWriter(t *testing.T) {
	eachReadWriteLock(t, func(t *testing.T, _ string, l readWriteLock) {
		wantPanic(t, l.Downgrade)
		l.RLock()
		wantPanic(t, l.Downgrade)
		l.RUnlock()

		l.Lock()
		var readers atomic.Int32
		var writer atomic.Bool
		for range 2 {
			go func() { l.RLock(); readers.Add(1) }()
			synctest.Wait()
		}
		go func() { l.Lock(); writer.Store(true) }()
		synctest.Wait()
		go func() { l.RLock(); readers.Add(1) }()
		synctest.Wait()
		l.Downgrade()
		synctest.Wait()
		if readers.Load() != 2 || writer.Load() || l.Owner() != lockutils.ModeReader {
			t.Errorf("%d readers, writer %v, owner %v", readers.Load(), writer.Load(), l.Owner())
		}
		for range 3 {
			l.RUnlock()
		}
		synctest.Wait()
		if readers.Load() != 2 || !writer.Load() {
			t.Errorf("%d readers, writer %v", readers.Load(), writer.Load())
		}
		l.Unlock()
		synctest.Wait()
		if readers.Load() != 3 {
			t.Errorf("%d readers", readers.Load())
		}
		l.RUnlock()
	})
}

func TestReaderWriterLockUnderStress(t *testing.T) {
	var l lockutils.ReaderWriterLock
	var named lockutils.ReaderWriterLocks
	for _, l := range []readWriteLock{&l, named.Get("x")} {
		value := 0
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for range 500 {
					if i%4 == 0 {
						l.Lock()
						value++
						l.Unlock()
					} else {
						l.RLock()
						_ = value
						l.RUnlock()
					}
				}
			})
		}
		all.Wait()
		if value != 1000 {
			t.Errorf("%d of 1000 counted", value)
		}
	}
}
