package prove

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

// Mutants of lock files. They wait in flock(2) and ignore contexts.

var fileMutants = []contender{
	{"a removal without the lock", 1, []request{plain}, fileMutant(bareFiles{checks: true})},
	{"an acquisition without the inode check", 1, []request{plain}, fileMutant(bareFiles{holds: true})},
	{
		"a file that is not locked at all",
		1,
		plainRequests,
		func(dir string) subject { return unlockedFile{} },
	},
	{"a release that leaves the file open", 1, []request{plain}, openLeaking},
	{"a wait that never ends", 1, []request{plain}, func(dir string) subject { return hung{} }},
	{
		"removal as it should be: the control",
		1,
		[]request{plain},
		fileMutant(bareFiles{checks: true, holds: true}),
	},
}

func fileMutant(f bareFiles) func(dir string) subject {
	return func(dir string) subject {
		f.dir = dir
		return f
	}
}

// bareFiles locks with flock(2) and nothing else.
type bareFiles struct {
	dir    string
	checks bool // an acquisition checks that the path still names the locked file
	holds  bool // a removal holds the lock of the file
}

func (b bareFiles) lock(_ context.Context, name string, _ request) (guard, error) {
	return b.take(name, syscall.LOCK_EX)
}

func (b bareFiles) try(name string, _ request) (guard, error) {
	return b.take(name, syscall.LOCK_EX|syscall.LOCK_NB)
}

func (b bareFiles) take(name string, how int) (guard, error) {
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return nil, err
	}
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		err = flock(file, how)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = lockutils.ErrLocked
		}
		if err == nil && (!b.checks || leadsTo(path, file)) {
			return &onceGuard{
				release: func() error { return errors.Join(flock(file, syscall.LOCK_UN), file.Close()) },
			}, nil
		}
		_ = file.Close()
		if err != nil {
			return nil, err
		}
	}
}

func (b bareFiles) remove(name string) error {
	if b.holds {
		g, err := b.try(name, request{})
		if err != nil {
			return err
		}
		defer g.Unlock()
	}
	err := os.Remove(filepath.Join(b.dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (b bareFiles) sweep() error { return nil }

func flock(file *os.File, how int) error {
	for {
		if err := syscall.Flock(int(file.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// leadsTo reports whether path names the file.
func leadsTo(path string, file *os.File) bool {
	now, err := os.Stat(path)
	ours, err2 := file.Stat()
	return err == nil && err2 == nil && os.SameFile(now, ours)
}

// unlockedFile grants every request.
type unlockedFile struct{}

func (unlockedFile) lock(context.Context, string, request) (guard, error) { return unlockedFile{}, nil }
func (unlockedFile) try(string, request) (guard, error)                   { return unlockedFile{}, nil }
func (unlockedFile) Unlock() error                                        { return nil }

// hung grants no request and ignores contexts.
type hung struct{}

func (hung) lock(context.Context, string, request) (guard, error) { select {} }
func (hung) try(string, request) (guard, error)                   { return nil, lockutils.ErrLocked }

// leakingFile leaves one descriptor of the file open after each release.
type leakingFile struct{ subject }

func openLeaking(dir string) subject {
	return leakingFile{bareFiles{dir: dir, checks: true, holds: true}}
}

func (l leakingFile) lock(ctx context.Context, name string, r request) (guard, error) {
	g, err := l.subject.lock(ctx, name, r)
	if err != nil {
		return nil, err
	}
	return &onceGuard{release: func() error {
		_, err := syscall.Open(filepath.Join(l.subject.(bareFiles).dir, name), syscall.O_RDONLY, 0)
		return errors.Join(err, g.Unlock())
	}}, nil
}

// expectCaughtAmongProcesses runs processes on the mutant until it is caught.
func expectCaughtAmongProcesses(t *testing.T, name string) {
	t.Helper()
	c, err := contenderNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	st := newStats(mutantTitle, name, catchLimit)
	group := newProcessGroup(t, c)
	for n := 0; st.timeLeft(); n++ {
		if v := group.round(st, n, t.TempDir()); v != nil {
			st.count(violations, 1)
			v.expectClear(t)
			return
		}
	}
	t.Errorf("not caught in %v", st)
}

func TestRemovalWithoutInodeCheckIsCaught(t *testing.T) {
	expectCaughtAmongProcesses(t, "an acquisition without the inode check")
}

func TestRemovalWithoutLockIsCaught(t *testing.T) {
	expectCaughtAmongProcesses(t, "a removal without the lock")
}

func TestSoundRemovalIsNotCaught(t *testing.T) {
	c, err := contenderNamed("removal as it should be: the control")
	if err != nil {
		t.Fatal(err)
	}
	st := newStats(mutantTitle, c.name, catchLimit/20)
	group := newProcessGroup(t, c)
	for n := 0; st.timeLeft(); n++ {
		if v := group.round(st, n, t.TempDir()); v != nil {
			t.Fatal(v)
		}
	}
}

// expectLedgerWrong runs workers on the mutant until the ledger is wrong.
func expectLedgerWrong(t *testing.T, name string) {
	t.Helper()
	st := newStats(mutantTitle, name+", seen in the ledger", catchLimit)
	pool := newWorkerPool(t, st, workerRequest{Contender: name, Removes: true})
	for st.timeLeft() {
		pool.wait(20 * time.Millisecond)
		a, err := auditLedger(pool.request.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if a.overlaps > 0 {
			t.Logf("%+v", a)
			st.count(overlaps, a.overlaps)
			st.count(updates, a.updates)
			return
		}
	}
	t.Errorf("not caught in %v", st)
}

func TestUnlockedFileIsSeenInLedger(t *testing.T) {
	expectLedgerWrong(t, "a file that is not locked at all")
}

func TestRemovalWithoutInodeCheckIsSeenInLedger(t *testing.T) {
	expectLedgerWrong(t, "an acquisition without the inode check")
}

func TestLostUpdateIsSeenInLedger(t *testing.T) {
	l, err := openLedger(t.TempDir(), "0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.file.Close()
	defer l.account.Close()
	other, err := openLedger(l.dir, "1")
	if err != nil {
		t.Fatal(err)
	}
	defer other.file.Close()
	defer other.account.Close()
	// The second process writes between the first one's read and write, without the witness.
	err = l.write(func() {
		err := errors.Join(flock(l.file, syscall.LOCK_UN), other.write(func() {}))
		if err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := auditLedger(l.dir)
	if want := (audit{updates: 1, lost: 1}); a != want || err != nil {
		t.Errorf("%+v, %v; want %+v", a, err, want)
	}
}

// startBrokenWorker starts a worker on the mutant and waits until it runs.
func startBrokenWorker(t *testing.T, st *stats, name string) *peer {
	t.Helper()
	dir, locks := t.TempDir(), t.TempDir()
	p := startPeer(t, "worker")
	p.send(t,
		workerRequest{Contender: name, Dir: dir, LockDir: locks, Account: "0", Seed: [2]uint64{st.seed}})
	var ready reply
	if err := p.receive(&ready, waitLimit); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestHangIsNoticed(t *testing.T) {
	const name = "a wait that never ends"
	st := newStats(mutantTitle, name, catchLimit)
	// On a busy machine the worker takes a while to come to its wait.
	for bound := 200 * time.Millisecond; bound < catchLimit; bound *= 2 {
		p := startBrokenWorker(t, st, name)
		p.send(t, workerRequest{Stop: true})
		var last reply
		err := p.receive(&last, bound)
		if !errors.Is(err, errHung) {
			t.Fatalf("%v, %+v", err, last)
		}
		if strings.Contains(err.Error(), "hung") {
			st.count(hangs, 1)
			return
		}
	}
	t.Error("no error shows the blocked function")
}

func TestLeftOpenFileIsNoticed(t *testing.T) {
	const name = "a release that leaves the file open"
	for st := newStats(mutantTitle, name, catchLimit); st.timeLeft(); {
		p := startBrokenWorker(t, st, name)
		p.send(t, workerRequest{Stop: true, Grace: 100 * time.Millisecond})
		var last reply
		if err := p.receive(&last, waitLimit); err != nil {
			t.Fatal(err)
		}
		if last.Leftover != "" {
			st.count(leftovers, 1)
			return
		}
	}
	t.Error("not caught")
}
