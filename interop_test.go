package lockutils_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/lockutils/lockutils"
)

// pythonPeer starts a Python program that reads lines and answers each with one.
func pythonPeer(t testing.TB, program string, arguments ...string) *peer {
	t.Helper()
	return startCommand(t, exec.Command(python, append([]string{"-u", "-c", program}, arguments...)...))
}

// osloPeer holds an external lock of oslo.concurrency on demand.
const osloPeer = `
import sys
from oslo_concurrency import lockutils
held = None
for line in sys.stdin:
    order, name, path = line.split()
    if order == "lock":
        held = lockutils.lock(name, "p", external=True, lock_path=path)
        held.__enter__()
        print("ok")
    elif order == "unlock":
        held.__exit__(None, None, None)
        print("ok")
    elif order == "try":
        try:
            with lockutils.lock(name, "p", external=True, lock_path=path, blocking=False):
                print("ok")
        except lockutils.AcquireLockFailedException:
            print("locked")
`

// ask sends a line to a peer that is no test binary, and returns its answer.
func (p *peer) ask(words ...any) string {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.orders, words...); err != nil {
		p.t.Fatal(err)
	}
	return p.line()
}

func TestInteropWithFcntlExcludesOsloConcurrency(t *testing.T) {
	needPython(t, "interop", "oslo_concurrency")
	dir := setLockPath(t)
	oslo := pythonPeer(t, osloPeer)
	opts := []lockutils.Option{lockutils.External(), lockutils.WithFcntl(), lockutils.WithPrefix("p")}
	for _, extra := range [][]lockutils.Option{nil, {lockutils.Fair()}, {lockutils.Shared()}} {
		opts := append(opts, extra...)
		g, err := lockutils.Lock("x", opts...)
		if err != nil && unsupported(t, err) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := oslo.ask("try", "x", dir); got != "locked" {
			t.Errorf("oslo.concurrency, while it is held here: %s", got)
		}
		mustUnlock(t, g)
		if got := oslo.ask("lock", "x", dir); got != "ok" {
			t.Errorf("oslo.concurrency, when it is free again: %s", got)
		}
		wantTaken(t, "x", opts...)
		l := lockutils.NewInterProcessLock(filepath.Join(dir, "p-x"), lockutils.WithFcntl())
		if got, err := l.TryLock(); got || err != nil {
			t.Errorf("TryLock: %v, %v", got, err)
		}
		oslo.ask("unlock", "x", dir)
		wantFree(t, "x", opts...)
	}
}

// mixed is the Python half of fifty processes: it forks twenty, which wait for the lock and do the same work as ours.
const mixed = `
import os, sys
from oslo_concurrency import lockutils

def work(directory):
    counter = os.path.join(directory, "counter")
    with open(counter) as f:
        count = int(f.read())
    for n in range(50):
        path = os.path.join(directory, "file-%d" % n)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with open(counter, "w") as f:
        f.write(str(count + 1))
    for n in range(50):
        os.remove(os.path.join(directory, "file-%d" % n))

def child(path):
    with lockutils.lock("external", "test-", external=True, lock_path=path):
        work(os.path.join(path, "work"))

path = sys.stdin.readline().strip()
children = []
for n in range(20):
    pid = os.fork()
    if pid == 0:
        try:
            child(path)
            os._exit(0)
        except BaseException as e:
            print(e, file=sys.stderr, flush=True)
            os._exit(1)
    children.append(pid)
failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in children)
print("%d failed" % failed)
`

func TestInteropRemovalLeavesWhatOsloConcurrencyHolds(t *testing.T) {
	needPython(t, "interop", "oslo_concurrency")
	dir := setLockPath(t)
	oslo := pythonPeer(t, osloPeer)
	if g, err := lockutils.Lock("y", lockutils.External(), lockutils.WithFcntl()); err != nil && unsupported(t, err) {
		return // it sees no record locks
	} else if err != nil {
		t.Fatal(err)
	} else {
		mustUnlock(t, g)
		if err := lockutils.RemoveExternalLockFile("y"); err != nil {
			t.Fatal(err)
		}
	}
	if a := oslo.ask("lock", "x", dir); a != "ok" {
		t.Fatal(a)
	}
	wantError(t, lockutils.RemoveExternalLockFile("x", lockutils.WithPrefix("p")), lockutils.ErrLocked)
	if n, err := lockutils.RemoveExternalLockFiles(0); n != 0 || err != nil {
		t.Errorf("swept %d files, error %v", n, err)
	}
	if a := oslo.ask("unlock", "x", dir); a != "ok" {
		t.Fatal(a)
	}
	if n, err := lockutils.RemoveExternalLockFiles(0); n != 1 || err != nil {
		t.Errorf("swept %d files that nobody holds, error %v", n, err)
	}
}

func TestInteropFiftyProcessesOfGoAndPythonNeverOverlap(t *testing.T) {
	needPython(t, "interop", "oslo_concurrency")
	dir := lockDir(t)
	g, err := lockutils.Lock("supported", lockutils.External(), lockutils.WithFcntl(), lockutils.WithLockPath(dir))
	if err != nil && unsupported(t, err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, g)
	count := workplace(t, dir)
	theirs := pythonPeer(t, mixed)
	var ours []*peer
	for range 30 {
		ours = append(ours, startPeer(t))
	}
	if _, err := fmt.Fprintln(theirs.orders, dir); err != nil {
		t.Fatal(err)
	}
	for _, p := range ours {
		p.send("work", "external", dir, "external", "fcntl", "test-")
	}
	for _, p := range ours {
		if a := p.answer(); a.Error != "" {
			t.Error(a.Error)
		}
	}
	if got := theirs.line(); got != "0 failed" {
		t.Errorf("of the Python processes %s", got)
	}
	if count() != "50" {
		t.Errorf("%s of 50 counted", count())
	}
}

// Programs that use flock(1) are excluded by every external lock.
func TestInteropFlockCommand(t *testing.T) {
	flock, err := exec.LookPath("flock")
	if err != nil {
		skip(t, "interop", "no flock(1)")
	}
	dir := setLockPath(t)
	try := func(mode string) bool {
		return exec.Command(flock, mode, "-n", filepath.Join(dir, "x"), "true").Run() == nil
	}
	g := mustLock(t, "x", lockutils.External())
	if try("-x") || try("-s") {
		t.Error("flock(1) has got a lock held here")
	}
	mustUnlock(t, g)
	g = mustLock(t, "x", lockutils.External(), lockutils.Shared())
	if try("-x") || !try("-s") {
		t.Error("a reader here excludes writers, not readers")
	}
	mustUnlock(t, g)

	holder := startCommand(t, exec.Command(flock, filepath.Join(dir, "x"), "sh", "-c", "echo held; read line; echo"))
	if holder.line() != "held" {
		t.Fatal("flock(1) does not run")
	}
	wantTaken(t, "x", lockutils.External())
	wantTaken(t, "x", lockutils.External(), lockutils.Shared())
	wantFree(t, "x") // nothing stays held of the internal layer
	holder.ask("go")
	mustUnlock(t, mustLock(t, "x", lockutils.External()))
}
