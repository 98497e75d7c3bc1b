package filelock

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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
	for _, r := range []Request{{Path: path, Fcntl: true}, {Path: path, Fcntl: true, Mode: Shared},
		{Path: path, Fcntl: true, Fair: true}} {
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

// TestHoldersOfALockWhoseTakerHasEnded lets flock(1) lock a shell's descriptor and end, as
// scripts do. Then the shell has the lock, and not the process that the kernel's table names.
func TestHoldersOfALockWhoseTakerHasEnded(t *testing.T) {
	if _, err := exec.LookPath("flock"); err != nil {
		t.Skip(err)
	}
	for option, mode := range map[string]Mode{"-x": Exclusive, "-s": Shared} {
		path := lockPath(t)
		script := `exec 9>"$1"; flock -n ` + option + ` 9 && echo locked; read end`
		shell := startCommand(t, exec.Command("sh", "-c", script, "sh", path))
		if got := shell.line(); got != "locked" {
			t.Fatal(got)
		}
		mustBeHeldBy(t, path, mode, shell.cmd.Process.Pid)
		shell.kill()
		mustBeHeldBy(t, path, mode)
	}
}

// TestHoldersListsAProcessOnce lets a process have two kinds of locks on a file.
func TestHoldersListsAProcessOnce(t *testing.T) {
	path := lockPath(t)
	mustGrant(t, Request{Path: path})
	unlock := lockRecords(t, path) // on its own descriptor
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	mustBeHeldBy(t, path, Exclusive, os.Getpid())
	unlock()
	mustBeHeldBy(t, path, Shared, os.Getpid())
}

func TestCommandsAreFitForATerminal(t *testing.T) {
	for given, want := range map[string]string{
		"vi \"a b\" ä 漢":             "vi \"a b\" ä 漢",
		"a\x1b[31m\n\x7f":            `a\x1b[31m\n\x7f`,
		"\xff\xfeab":                 `\xff\xfeab`,
		"a\u202eb\u2066\u009b\u200b": `a\u202eb\u2066\u009b\u200b`,
	} {
		if got := printable(given); got != want {
			t.Errorf("%q: %s instead of %s", given, got, want)
		}
	}
	if got := printable(strings.Repeat("x", 1<<20)); len(got) > maxCommand+10 {
		t.Errorf("%d bytes", len(got))
	}
	path := lockPath(t)
	script := `exec 9>"$1"; flock -n 9; echo; read end`
	shell := startCommand(t, exec.Command("sh", "-c", script, "\x1b]0;title\a", path))
	shell.line()
	holders, err := Holders(path)
	if err != nil || len(holders) != 1 || strings.ContainsRune(holders[0].Command, '\x1b') {
		t.Errorf("%+v, %v", holders, err)
	}
}

func TestUsersOfListsWhoWaits(t *testing.T) {
	first, fair := lockPath(t), filepath.Join(t.TempDir(), "fair")
	holder, plain := newPeer(t), newPeer(t)
	holder.must("lock", Request{Path: first})
	plain.send("lock", Request{Path: first, Mode: Shared})
	awaitBlocked(t, first)
	holder.must("lock", Request{Path: fair, Fair: true})
	queue := enqueue(t, Request{Path: fair, Fair: true}, 2)

	users, err := UsersOf([]string{first, filepath.Join(t.TempDir(), "missing"), fair})
	if err != nil || len(users) != 3 {
		t.Fatal(users, err)
	}
	if len(users[1].Holders)+len(users[1].Waiters) > 0 {
		t.Errorf("of a missing file: %+v", users[1])
	}
	for i, waiters := range [][]Holder{
		0: {{PID: plain.cmd.Process.Pid, Mode: Shared}},
		2: {{PID: queue[0].cmd.Process.Pid}, {PID: queue[1].cmd.Process.Pid}},
	} {
		if i == 1 {
			continue
		}
		if len(users[i].Holders) != 1 || users[i].Holders[0].PID != holder.cmd.Process.Pid {
			t.Errorf("holders: %+v", users[i].Holders)
		}
		same := func(got, want Holder) bool {
			return got.PID == want.PID && got.Mode == want.Mode && got.Command != ""
		}
		if !slices.EqualFunc(users[i].Waiters, waiters, same) {
			t.Errorf("waiters: %+v instead of %+v", users[i].Waiters, waiters)
		}
	}
}
