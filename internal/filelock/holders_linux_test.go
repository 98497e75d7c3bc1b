package filelock

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mustBeHeldBy fails the test unless just the processes with the PIDs given hold the lock at path.
func mustBeHeldBy(t *testing.T, path string, mode Mode, pids ...int) {
	t.Helper()
	holders, err := Holders(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, h := range holders {
		got = append(got, h.PID)
		if h.Mode != mode {
			t.Errorf("process %d has mode %v", h.PID, h.Mode)
		}
		if h.Command == "" {
			t.Errorf("process %d has no command", h.PID)
		}
	}
	slices.Sort(got)
	slices.Sort(pids)
	if !slices.Equal(got, pids) {
		t.Errorf("held by %v instead of %v", got, pids)
	}
}

func TestHoldersNamesProcesses(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		path := lockPath(t)
		mustBeHeldBy(t, path, Exclusive)
		first, second := newPeer(t), newPeer(t)
		one, two := first.cmd.Process.Pid, second.cmd.Process.Pid

		exclusive := Request{Path: path}
		first.must("lock", exclusive)
		second.send("lock", exclusive) // who waits does not hold
		mustBeHeldBy(t, path, Exclusive, one)
		first.must("unlock", exclusive)
		if got := second.answer(); got != "ok" {
			t.Fatal(got)
		}
		mustBeHeldBy(t, path, Exclusive, two)
		second.must("unlock", exclusive)
		mustBeHeldBy(t, path, Exclusive)

		shared := Request{Path: path, Mode: Shared}
		first.must("lock", shared)
		second.must("lock", shared)
		h := mustLock(t, shared)
		mustBeHeldBy(t, path, Shared, one, two, os.Getpid())
		mustUnlock(t, h)
	})
}

func TestHoldersNamesOwnersOfRecordLocks(t *testing.T) {
	path := lockPath(t)
	other := newPeer(t)
	for _, r := range []Request{{Path: path, Fcntl: true}, {Path: path, Fcntl: true, Mode: Shared}, {Path: path, Fcntl: true, Fair: true}} {
		other.must("lock", r)
		mustBeHeldBy(t, path, r.Mode, other.cmd.Process.Pid)
		other.must("unlock", r)
	}
}

func TestHoldersNamesPython(t *testing.T) {
	python(t)
	path := lockPath(t)
	p := startCommand(t, exec.Command(pythonPath, "-c", pythonPeer))
	if _, err := p.in.Write([]byte("try oslo " + path + "\n")); err != nil {
		t.Fatal(err)
	}
	if got := p.line(); got != "granted" {
		t.Fatal(got)
	}
	mustBeHeldBy(t, path, Exclusive, p.cmd.Process.Pid)
	holders, err := Holders(path)
	if err != nil || !strings.HasPrefix(holders[0].Command, pythonPath+" -c") {
		t.Errorf("%v, %v", holders, err)
	}
}
