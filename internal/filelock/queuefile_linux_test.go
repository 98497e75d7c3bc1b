package filelock

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// TestQueueFileThatIsNoFile puts a directory in the queue file's place: that is an error for
// those who need a queue file, and for nobody else.
func TestQueueFileThatIsNoFile(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		plain := Request{Path: lockPath(t)}
		fair := Request{Path: plain.Path, Fair: true}
		if err := os.Mkdir(queueFileOf(plain.Path), 0o755); err != nil {
			t.Fatal(err)
		}
		mustGrant(t, plain)
		if files == engine(systemEngine{}) {
			mustFail(t, fair, syscall.EISDIR)
		}
		mustBeAbout(t, Remove(plain.Path), plain, syscall.EISDIR)
		if _, err := os.Lstat(plain.Path); err != nil {
			t.Error(err)
		}
		mustBeFree(t, plain)
		if err := os.Remove(queueFileOf(plain.Path)); err != nil {
			t.Fatal(err)
		}
		if files == engine(systemEngine{}) {
			mustGrant(t, fair)
		}
		if err := Remove(plain.Path); err != nil {
			t.Error(err)
		}
	})
}

// TestQueueFileLostWhileWaiting replaces the lock file, and its queue file by a directory, while
// a process waits for its turn. It has to enter the line of the new file, and cannot.
func TestQueueFileLostWhileWaiting(t *testing.T) {
	r := Request{Path: lockPath(t), Fair: true}
	queuePath := queueFileOf(r.Path)
	other := newPeer(t)
	other.must("lock", r)
	failed := waitForErrors(t, r, 2)
	awaitBlocked(t, r.Path)
	if err := errors.Join(os.Remove(r.Path), os.Remove(queuePath), os.Mkdir(queuePath, 0o755)); err != nil {
		t.Fatal(err)
	}
	other.must("unlock", r)
	for range 2 {
		mustBeAbout(t, <-failed, r, syscall.EISDIR)
	}
	mustBeFree(t, Request{Path: r.Path})
	if err := os.Remove(queuePath); err != nil {
		t.Fatal(err)
	}
	mustGrant(t, r)
}

// lockRecords has a record lock of its own on a whole file, as one who removes a queue file does
// and many programs do, and returns a function that closes it.
func lockRecords(t *testing.T, path string) (unlock func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if locked, err := setRecord(int(f.Fd()), unix.F_WRLCK, 0, 0); !locked || err != nil {
		t.Fatal(locked, err)
	}
	return func() { _ = f.Close() }
}

// TestQueueFileBeingRemoved lets somebody be about to remove the queue file: who comes then
// waits, and enters the line of the next queue file.
func TestQueueFileBeingRemoved(t *testing.T) {
	r := Request{Path: lockPath(t), Fair: true}
	mustGrant(t, r)
	queuePath := queueFileOf(r.Path)
	unlock := lockRecords(t, queuePath)
	mustRefuse(t, r)
	granted := make(chan *Hold)
	go func() { granted <- mustLock(t, r) }()
	awaitBlocked(t, queuePath)
	if err := os.Remove(queuePath); err != nil {
		t.Fatal(err)
	}
	unlock()
	h := <-granted
	if n := standing(t, r.Path); n != 2 {
		t.Errorf("the queue is %d long instead of 2", n)
	}
	later := enqueue(t, r, 1)[0]
	mustUnlock(t, h)
	if got := later.answer(); got != "ok" {
		t.Error(got)
	}
	later.must("unlock", r)
}

// TestFairRequestFollowsItsQueueFile removes the queue file of a descriptor that is kept, and lets
// somebody stand in the line of the next queue file. The clock is the test's own.
func TestFairRequestFollowsItsQueueFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := Request{Path: lockPath(t), Fair: true}
		mustGrant(t, r)
		mustGrant(t, r) // keeps its descriptors
		if err := os.Remove(queueFileOf(r.Path)); err != nil {
			t.Fatal(err)
		}
		q := queueFile{path: queueFileOf(r.Path), perm: 0o600, fd: -1}
		defer q.close()
		if first, err := q.isFirst(); !first || err != nil {
			t.Fatal(first, err)
		}
		time.Sleep(linkInterval)
		mustRefuse(t, r)
		if err := q.leave(); err != nil {
			t.Fatal(err)
		}
		mustGrant(t, r)
	})
}

// TestQueueFileInUseKeepsItsLockFile removes, with either engine, a lock file that somebody is in
// line for.
func TestQueueFileInUseKeepsItsLockFile(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		r := Request{Path: lockPath(t)}
		mustGrant(t, r)
		unlock := lockRecords(t, queueFileOf(r.Path))
		defer unlock()
		if err := Remove(r.Path); !errors.Is(err, ErrLocked) {
			t.Error(err)
		}
		if removed, err := removeIdle(r.Path, 0); removed || err != nil {
			t.Errorf("removed: %v, %v", removed, err)
		}
		if _, err := os.Lstat(r.Path); err != nil {
			t.Error(err)
		}
		mustBeFree(t, r)
	})
}

// TestFileWithRecordLocksStays removes a lock file that a program holds which knows record locks
// only.
func TestFileWithRecordLocksStays(t *testing.T) {
	r := Request{Path: lockPath(t)}
	mustGrant(t, r)
	unlock := lockRecords(t, r.Path)
	if err := Remove(r.Path); !errors.Is(err, ErrLocked) {
		t.Error(err)
	}
	if _, err := os.Lstat(r.Path); err != nil {
		t.Error(err)
	}
	mustBeFree(t, r)
	unlock()
	if err := Remove(r.Path); err != nil {
		t.Error(err)
	}
}

// TestRefusedRecordLockLeavesTheFirstLock tries for both locks while somebody has the record
// lock: whoever wants the other lock only must not be kept from it in the meantime.
func TestRefusedRecordLockLeavesTheFirstLock(t *testing.T) {
	plain := Request{Path: lockPath(t)}
	unlock := lockRecords(t, plain.Path)
	for _, mode := range []Mode{Exclusive, Shared} {
		f, err := files.open(Request{Path: plain.Path, Fcntl: true, Mode: mode}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		if granted, err := f.try(mode); granted || err != nil {
			t.Errorf("granted: %v, %v", granted, err)
		}
		mustBeFree(t, plain)
	}
	unlock()
	mustGrant(t, Request{Path: plain.Path, Fcntl: true})
}

// TestOrphanThatCannotBeRemoved sweeps a queue file without a lock file while somebody uses it,
// and where it cannot be looked up.
func TestOrphanThatCannotBeRemoved(t *testing.T) {
	d := newLinkedDirectory(t)
	r := Request{Path: filepath.Join(d.link, "lock")}
	queuePath := queueFileOf(r.Path)
	unlock := lockRecords(t, queuePath)
	if removed, err := removeIdle(queuePath, 0); removed || err != nil {
		t.Errorf("removed: %v, %v", removed, err)
	}
	unlock()
	d.breakLink()
	removed, err := removeIdle(queuePath, 0)
	if removed {
		t.Error("removed")
	}
	mustBeAbout(t, err, r, syscall.ELOOP)
	d.repair()
	if removed, err := removeIdle(queuePath, 0); !removed || err != nil {
		t.Errorf("not removed: %v, %v", removed, err)
	}
}

// TestWaitEndsWhileTheFileRests abandons a wait in the time for which this process leaves a file
// with record locks to others. A request that does not wait is not kept from the lock in that
// time.
func TestWaitEndsWhileTheFileRests(t *testing.T) {
	r := Request{Path: lockPath(t), Fcntl: true}
	mustGrant(t, r)
	mustGrant(t, r) // keeps its descriptor
	p := paths.enter(r.Path)
	defer paths.leave(p)
	f := p.idle.file.(*flockFile)
	f.backoffUntil = time.Now().Add(time.Hour)
	stop := make(chan struct{})
	close(stop)
	if err := f.wait(Exclusive, time.Hour, stop); err != errStopped {
		t.Error(err)
	}
	mustBeFree(t, r)
	mustGrant(t, r)
}
