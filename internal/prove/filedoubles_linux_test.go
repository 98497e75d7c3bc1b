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

// Broken lock files. They wait in flock(2) and ignore contexts.

var fileDoubles = []contender{
	{"a removal without the lock", 1, []request{plainAsk}, fileDouble(bareFiles{checks: true})},
	{"an acquisition without the inode check", 1, []request{plainAsk}, fileDouble(bareFiles{holds: true})},
	{"a file that is not locked at all", 1, plainAsks, func(dir string) subject { return unlocked{} }},
	{"a release that leaves the file open", 1, []request{plainAsk}, openLeaking},
	{"a wait that never ends", 1, []request{plainAsk}, func(dir string) subject { return deaf{} }},
	{"removal as it should be: the control", 1, []request{plainAsk}, fileDouble(bareFiles{checks: true, holds: true})},
}

func fileDouble(f bareFiles) func(dir string) subject {
	return func(dir string) subject {
		f.dir = dir
		return f
	}
}

// bareFiles locks with flock(2) and nothing else.
type bareFiles struct {
	dir    string
	checks bool // whoever gets a lock checks that the path still leads to its file
	holds  bool // whoever removes a file holds its lock
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
			return &onceGuard{release: func() error { return errors.Join(flock(file, syscall.LOCK_UN), file.Close()) }}, nil
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

// leadsTo reports whether the path leads to the file.
func leadsTo(path string, file *os.File) bool {
	now, err := os.Stat(path)
	ours, err2 := file.Stat()
	return err == nil && err2 == nil && os.SameFile(now, ours)
}

// unlocked lets everybody in.
type unlocked struct{}

func (unlocked) lock(context.Context, string, request) (guard, error) { return unlocked{}, nil }
func (unlocked) try(string, request) (guard, error)                   { return unlocked{}, nil }
func (unlocked) Unlock() error                                        { return nil }

// deaf lets nobody in, and does not mind a context.
type deaf struct{}

func (deaf) lock(context.Context, string, request) (guard, error) { select {} }
func (deaf) try(string, request) (guard, error)                   { return nil, lockutils.ErrLocked }

// leaking opens the file once more than it closes it.
type leaking struct{ subject }

func openLeaking(dir string) subject {
	return leaking{bareFiles{dir: dir, checks: true, holds: true}}
}

func (l leaking) lock(ctx context.Context, name string, r request) (guard, error) {
	g, err := l.subject.lock(ctx, name, r)
	if err != nil {
		return nil, err
	}
	return &onceGuard{release: func() error {
		_, err := syscall.Open(filepath.Join(l.subject.(bareFiles).dir, name), syscall.O_RDONLY, 0)
		return errors.Join(err, g.Unlock())
	}}, nil
}

// expectCaughtAmongProcesses lets processes loose on the double until it is caught.
func expectCaughtAmongProcesses(t *testing.T, name string) {
	t.Helper()
	c, err := contenderNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	e := newEffort(brokenTitle, name, allowance)
	crowd := newCrowd(t, c)
	for n := 0; e.goesOn(); n++ {
		if v := crowd.once(e, n, t.TempDir()); v != nil {
			e.count(violations, 1)
			v.expectClear(t)
			return
		}
	}
	t.Errorf("not caught in %v", e)
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
	e := newEffort(brokenTitle, c.name, allowance/20)
	crowd := newCrowd(t, c)
	for n := 0; e.goesOn(); n++ {
		if v := crowd.once(e, n, t.TempDir()); v != nil {
			t.Fatal(v)
		}
	}
}

// expectLedgerWrong lets clerks keep a ledger under the double until it is wrong.
func expectLedgerWrong(t *testing.T, name string) {
	t.Helper()
	e := newEffort(brokenTitle, name+", seen in the ledger", allowance)
	o := newOffice(t, e, charge{Contender: name, Removes: true})
	for e.goesOn() {
		o.wait(20 * time.Millisecond)
		a, err := auditLedger(o.charge.Desk)
		if err != nil {
			t.Fatal(err)
		}
		if a.overlaps > 0 {
			t.Logf("%+v", a)
			e.count(overlaps, a.overlaps)
			e.count(updates, a.updates)
			return
		}
	}
	t.Errorf("not caught in %v", e)
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
	// The second writes while the first is about to, and the witness looks the other way.
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

// clerkOf starts a clerk with a double that lets it work for a moment.
func clerkOf(t *testing.T, e *effort, name string) *peer {
	t.Helper()
	desk, locks := t.TempDir(), t.TempDir()
	p := startPeer(t, "clerk")
	p.order(t, charge{Contender: name, Desk: desk, Locks: locks, Account: "0", Seed: [2]uint64{e.seed}})
	var ready tale
	if err := p.answer(&ready, patience); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestHangIsNoticed(t *testing.T) {
	const name = "a wait that never ends"
	e := newEffort(brokenTitle, name, allowance)
	p := clerkOf(t, e, name)
	p.order(t, charge{Stop: true})
	var last tale
	err := p.answer(&last, 200*time.Millisecond)
	if !errors.Is(err, errHung) {
		t.Fatalf("%v, %+v", err, last)
	}
	e.count(hangs, 1)
	if !strings.Contains(err.Error(), "deaf") {
		t.Errorf("it is not said where it hangs: %v", err)
	}
}

func TestLeftOpenFileIsNoticed(t *testing.T) {
	const name = "a release that leaves the file open"
	for e := newEffort(brokenTitle, name, allowance); e.goesOn(); {
		p := clerkOf(t, e, name)
		p.order(t, charge{Stop: true, Grace: 100 * time.Millisecond})
		var last tale
		if err := p.answer(&last, patience); err != nil {
			t.Fatal(err)
		}
		if last.Leftover != "" {
			e.count(leftovers, 1)
			return
		}
	}
	t.Error("not noticed")
}
