package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/lockdebug"
)

// A peer is another program that locks the file at path. It does one of these:
//
//	hold PATH    holds the lock until its standard input ends, and says "held"
//	try PATH     exits 75 if the lock is held
//	add PATH     adds one to the number in PATH.sum under the lock, five times
type peer struct {
	fcntl   bool // run excludes it with --fcntl
	command func(t testing.TB, arguments ...string) *exec.Cmd
}

var peers = map[string]peer{
	"flock": {false, func(t testing.TB, arguments ...string) *exec.Cmd {
		if _, err := exec.LookPath("flock"); err != nil {
			t.Skip(err)
		}
		return exec.Command("sh", append([]string{"-c", flockPeer, "sh"}, arguments...)...)
	}},
	"package": {false, func(t testing.TB, arguments ...string) *exec.Cmd {
		cmd := exec.Command(os.Args[0], arguments...)
		cmd.Env = append(os.Environ(), asPeer+"=1")
		return cmd
	}},
	"oslo.concurrency": {true, pythonPeer("oslo_concurrency", `
from oslo_concurrency import lockutils
def lock(blocking):
    return lockutils.lock(os.path.basename(path), external=True, lock_path=os.path.dirname(path),
                          blocking=blocking)
Locked = lockutils.AcquireLockFailedException
`)},
	"fasteners": {true, pythonPeer("fasteners", `
import contextlib, fasteners
class Locked(Exception): pass
@contextlib.contextmanager
def lock(blocking):
    l = fasteners.InterProcessLock(path)
    if not l.acquire(blocking=blocking):
        raise Locked()
    yield
    l.release()
`)},
}

const flockPeer = `
case $1 in
hold) exec flock "$2" sh -c 'echo held; read line; true' ;;
try) exec flock -n -E 75 "$2" true ;;
add)
	for i in 1 2 3 4 5; do
		flock "$2" sh -c 'read n <"$0.sum"; echo $((n+1)) >"$0.sum"' "$2" || exit
	done
esac`

// python is the interpreter that has the distribution's packages.
const python = "/usr/bin/python3"

// pythonPeer returns the peer that locks with a module of Python: setup defines lock and Locked.
func pythonPeer(module, setup string) func(testing.TB, ...string) *exec.Cmd {
	program := "import os, sys\nmode, path = sys.argv[1:]\n" + setup + `
if mode == "hold":
    with lock(True):
        print("held", flush=True)
        sys.stdin.read()
elif mode == "try":
    try:
        with lock(False):
            pass
    except Locked:
        sys.exit(75)
else:
    for i in range(5):
        with lock(True):
            with open(path + ".sum") as f:
                n = int(f.read())
            with open(path + ".sum", "w") as f:
                f.write(str(n + 1) + "\n")
`
	return func(t testing.TB, arguments ...string) *exec.Cmd {
		find := "import importlib.util, sys; sys.exit(not importlib.util.find_spec(sys.argv[1]))"
		if err := exec.Command(python, "-c", find, module).Run(); err != nil {
			t.Skipf("%s has no module %s: %v", python, module, err)
		}
		return exec.Command(python, append([]string{"-c", program}, arguments...)...)
	}
}

// asPeer is set in the environment of a test binary that is to be a peer that uses the package.
const asPeer = "LOCKUTILS_PEER_TEST"

func servePeer(mode, path string) error {
	lock := func(opts ...lockutils.Option) (lockutils.Guard, error) {
		return lockutils.Lock(filepath.Base(path),
			append(opts, lockutils.External(), lockutils.WithLockPath(filepath.Dir(path)))...)
	}
	switch mode {
	case "hold":
		g, err := lock()
		if err != nil {
			return err
		}
		fmt.Println("held")
		io.Copy(io.Discard, os.Stdin)
		return g.Unlock()
	case "try":
		g, err := lock(lockutils.NonBlocking())
		if err != nil {
			return err
		}
		return g.Unlock()
	}
	for range 5 {
		g, err := lock()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path + ".sum")
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return err
		}
		if err := os.WriteFile(path+".sum", []byte(strconv.Itoa(n+1)+"\n"), 0o600); err != nil {
			return err
		}
		if err := g.Unlock(); err != nil {
			return err
		}
	}
	return nil
}

// eachPeer runs a test with every peer. options are those with which run excludes the peer.
func eachPeer(t *testing.T, test func(t *testing.T, p peer, options []string)) {
	for name, p := range peers {
		t.Run(name, func(t *testing.T) {
			var options []string
			if p.fcntl {
				options = []string{"--fcntl"}
			}
			test(t, p, options)
		})
	}
}

func TestRunAndOtherProgramsExcludeEachOther(t *testing.T) {
	eachPeer(t, func(t *testing.T, p peer, options []string) {
		dir := t.TempDir()
		path := filepath.Join(dir, "x")
		run := append(append([]string{"run", "--path", dir}, options...), "-n", "x", "--")

		release := holdWith(t, p.command(t, "hold", path))
		if got := finish(t, program(append(run, "true")...)); got.status != statusConflict {
			t.Errorf("while the other program holds the lock: %+v", got)
		}
		release()
		if got := finish(t, program(append(run, "true")...)); got.status != 0 {
			t.Errorf("after that: %+v", got)
		}

		release = holdWith(t, program(append(run, "sh", "-c", "echo held; read line; true")...))
		if got := finish(t, p.command(t, "try", path)); got.status != statusConflict {
			t.Errorf("the other program, while run holds the lock: %+v", got)
		}
		release()
		if got := finish(t, p.command(t, "try", path)); got.status != 0 {
			t.Errorf("the other program after that: %+v", got)
		}
	})
}

func TestNoUpdateIsLostBetweenRunAndOtherPrograms(t *testing.T) {
	eachPeer(t, func(t *testing.T, p peer, options []string) {
		path := filepath.Join(t.TempDir(), "x")
		sum := newSum(t, path)
		var all sync.WaitGroup
		for range 3 {
			theirs := p.command(t, "add", path)
			all.Go(func() {
				if got := finish(t, theirs); got.status != 0 {
					t.Errorf("the other program: %+v", got)
				}
			})
			all.Go(func() { add(t, path, options...) })
		}
		all.Wait()
		if got := sum(); got != "30" {
			t.Errorf("the sum is %s, want 30: updates were lost", got)
		}
	})
}

// newSum writes the number that peers add to, and returns a function that reads it.
func newSum(t testing.TB, path string) (sum func() string) {
	t.Helper()
	if err := os.WriteFile(path+".sum", []byte("0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() string {
		text, err := os.ReadFile(path + ".sum")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
}

// add does what peers do for "add", with run.
func add(t testing.TB, path string, options ...string) {
	t.Helper()
	args := append(append([]string{"run"}, options...), path, "--",
		"sh", "-c", `read n <"$0.sum"; echo $((n+1)) >"$0.sum"`, path)
	for range 5 {
		if got := finish(t, program(args...)); got.status != 0 {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

func TestASweepBesideRunsLosesNoUpdate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	sum := newSum(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	swept := make(chan int)
	go func() {
		removed := 0
		for ctx.Err() == nil {
			got := finish(t, program("sweep", "--path", filepath.Dir(path), "--older", "0s", "--matching", "x"))
			if got.status != 0 {
				t.Errorf("sweep: %+v", got)
			}
			removed += strings.Count(got.out, "removed")
		}
		swept <- removed
	}()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 5 {
				add(t, path)
			}
		})
	}
	all.Wait()
	cancel()
	t.Logf("the file was removed %d times", <-swept)
	if got := sum(); got != "100" {
		t.Errorf("the sum is %s, want 100: updates were lost", got)
	}
}

// who returns what "who -o json" prints.
func who(t *testing.T, args ...string) (l Lock) {
	t.Helper()
	got := finish(t, program(append([]string{"who", "-o", "json"}, args...)...))
	if got.status != 0 {
		t.Fatalf("who %q: %+v", args, got)
	}
	if err := json.Unmarshal([]byte(got.out), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestWhoAgreesWithLslocks(t *testing.T) {
	if _, err := exec.LookPath("lslocks"); err != nil {
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "x")
	for range 2 {
		holdWith(t, program("run", "-s", path, "sh", "-c", "echo held; read line"))
	}
	for range 3 {
		waiter := program("run", path, "true")
		if err := waiter.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			waiter.Process.Kill()
			waiter.Wait()
		})
	}
	var ours, theirs []string
	for len(ours) < 5 && t.Context().Err() == nil {
		ours = nil
		l := who(t, path)
		for _, p := range l.Holders {
			ours = append(ours, fmt.Sprintf("%d %s", p.PID, p.Mode))
		}
		for _, p := range l.Waiters {
			ours = append(ours, fmt.Sprintf("%d %s waits", p.PID, p.Mode))
		}
	}
	out, err := exec.Command("lslocks", "--noheadings", "--raw", "--notruncate",
		"--output", "PID,MODE,PATH").Output()
	if err != nil {
		t.Fatal(err)
	}
	modes := strings.NewReplacer("WRITE", "writer", "READ", "reader", "*", " waits")
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == path {
			theirs = append(theirs, f[0]+" "+modes.Replace(f[1]))
		}
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	if !slices.Equal(ours, theirs) {
		t.Errorf("who says %q, lslocks %q", ours, theirs)
	}
}

func TestWhoAgreesWithTheDebugPage(t *testing.T) {
	dir := t.TempDir()
	lockutils.SetTracking(1)
	defer lockutils.SetTracking(0)
	t.Setenv("OSLO_LOCK_PATH", dir)
	opts := []lockutils.Option{lockutils.External(), lockutils.WithPrefix("p")}
	g, err := lockutils.Lock("x", opts...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := lockutils.LockContext(ctx, "x", opts...)
		ended <- err
	}()
	defer func() {
		cancel()
		<-ended
		g.Unlock()
	}()
	server := httptest.NewServer(lockdebug.Handler())
	defer server.Close()

	var page lockdebug.Report
	for len(page.Locks) == 0 || len(page.Locks[0].Waiters) == 0 {
		reply, err := http.Get(server.URL + "?format=json")
		if err != nil {
			t.Fatal(err)
		}
		page = lockdebug.Report{}
		err = json.NewDecoder(reply.Body).Decode(&page)
		reply.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	in := page.Locks[0]
	got := who(t, "--url", server.URL, "--prefix", "p", "x")
	if got.Scope != in.Scope || got.Name != in.Name || got.Path != in.Path || got.Mode != in.Mode ||
		len(got.Holders) != 1 || got.Holders[0].PID != os.Getpid() || got.Holders[0].Command != in.Holders[0].By ||
		!got.Holders[0].Since.Equal(in.Holders[0].Since) ||
		len(got.Waiters) != 1 || got.Waiters[0].Command != in.Waiters[0].By ||
		!got.Waiters[0].Since.Equal(in.Waiters[0].Since) {
		t.Errorf("who --url says %+v, the page %+v", got, in)
	}
	file := who(t, "--path", dir, "--prefix", "p", "x")
	if len(page.Files) != 1 || page.Files[0].Path != file.Path || len(page.Files[0].Holders) != 1 ||
		len(file.Holders) != 1 || file.Holders[0].PID != page.Files[0].Holders[0].PID ||
		file.Holders[0].Mode != page.Files[0].Holders[0].Mode {
		t.Errorf("who says %+v, the page %+v", file, page.Files)
	}
}
