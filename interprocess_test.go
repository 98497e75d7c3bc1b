package lockutils_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/lockutils/lockutils"
)

// peerVariable makes the test binary serve as a peer.
const peerVariable = "LOCKUTILS_TEST_PEER"

// A peer is another process, which handles one request after another. It exits with the test.
type peer struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

// A peerRequest says what a peer does, and with which lock.
type peerRequest struct {
	Do      string
	Name    string
	Dir     string
	Options []string // keys of namedOptions
}

// A peerReply is the outcome of a request.
type peerReply struct {
	Error       string
	Acquire     bool // the error is an *AcquireError ...
	Name, Path  string
	FileSystem  bool // ... that wraps an *fs.PathError
	Locked      bool
	Unsupported bool
	Errno       syscall.Errno
	Swept       int // files, for "sweep"
}

// namedOptions are the options that a request can name.
var namedOptions = map[string]lockutils.Option{
	"external":    lockutils.External(),
	"shared":      lockutils.Shared(),
	"fair":        lockutils.Fair(),
	"fcntl":       lockutils.WithFcntl(),
	"nonblocking": lockutils.NonBlocking(),
	"test-":       lockutils.WithPrefix("test-"),
}

// startPeer starts a peer. adjust may change the command, for example to run it as another user.
func startPeer(t testing.TB, adjust ...func(*exec.Cmd)) *peer {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), peerVariable+"=1")
	for _, a := range adjust {
		a(cmd)
	}
	return startCommand(t, cmd)
}

func startCommand(t testing.TB, cmd *exec.Cmd) *peer {
	t.Helper()
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &peer{t, cmd, in, bufio.NewScanner(out)}
	t.Cleanup(p.kill)
	return p
}

// kill kills the process and waits for it.
func (p *peer) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

// send sends a request without waiting for the reply.
func (p *peer) send(do, name, dir string, options ...string) {
	p.t.Helper()
	line, err := json.Marshal(peerRequest{do, name, dir, options})
	if err == nil {
		_, err = fmt.Fprintf(p.in, "%s\n", line)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// line returns the next line that the process prints.
func (p *peer) line() string {
	p.t.Helper()
	if !p.lines.Scan() {
		p.t.Fatalf("the peer has exited: %v", p.lines.Err())
	}
	return p.lines.Text()
}

// receive returns the reply to the oldest request that has none.
func (p *peer) receive() peerReply {
	p.t.Helper()
	var reply peerReply
	if err := json.Unmarshal([]byte(p.line()), &reply); err != nil {
		p.t.Fatal(err)
	}
	return reply
}

func (p *peer) do(do, name, dir string, options ...string) peerReply {
	p.t.Helper()
	p.send(do, name, dir, options...)
	return p.receive()
}

// must is do for a request that must succeed.
func (p *peer) must(do, name, dir string, options ...string) {
	p.t.Helper()
	if reply := p.do(do, name, dir, options...); reply.Error != "" {
		p.t.Fatalf("%s of %q in another process: %s", do, name, reply.Error)
	}
}

// servePeer is the whole program of a peer.
func servePeer() error {
	held := map[string]lockutils.Guard{}
	var opened []*os.File // of "exhaust"
	requests := bufio.NewScanner(os.Stdin)
	for requests.Scan() {
		var request peerRequest
		if err := json.Unmarshal(requests.Bytes(), &request); err != nil {
			return err
		}
		opts := []lockutils.Option{lockutils.WithLockPath(request.Dir)}
		for _, name := range request.Options {
			opts = append(opts, namedOptions[name])
		}
		var reply peerReply
		var err error
		switch request.Do {
		case "lock":
			held[request.Name], err = lockutils.Lock(request.Name, opts...)
		case "try":
			var g lockutils.Guard
			if g, err = lockutils.TryLock(request.Name, opts...); err == nil {
				err = g.Unlock()
			}
		case "unlock":
			err = held[request.Name].Unlock()
		case "remove":
			err = lockutils.RemoveExternalLockFile(request.Name, append(opts, lockutils.WithLogging(false))...)
		case "sweep":
			reply.Swept, err = sweep(0, opts...)
		case "work":
			var g lockutils.Guard
			if g, err = lockutils.Lock(request.Name, opts...); err == nil {
				err = errors.Join(work(filepath.Join(request.Dir, "work")), g.Unlock())
			}
		case "chdir":
			err = os.Chdir(request.Dir)
		case "exhaust":
			opened, err = exhaust()
		case "close":
			for _, f := range opened {
				_ = f.Close()
			}
		default:
			return fmt.Errorf("unknown request %q", request.Do)
		}
		if err != nil {
			reply.describe(err)
		}
		line, err := json.Marshal(reply)
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", line)
	}
	return requests.Err()
}

// describe records the error.
func (a *peerReply) describe(err error) {
	a.Error = err.Error()
	a.Locked, a.Unsupported = errors.Is(err, lockutils.ErrLocked), errors.Is(err, errors.ErrUnsupported)
	var failed *lockutils.AcquireError
	if a.Acquire = errors.As(err, &failed); a.Acquire {
		a.Name, a.Path = failed.Name, failed.Path
	}
	var file *fs.PathError
	a.FileSystem = errors.As(err, &file)
	errors.As(err, &a.Errno)
}

// exhaust opens files until there are no descriptors left.
func exhaust() (opened []*os.File, err error) {
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return opened, nil
		}
		opened = append(opened, f)
	}
}

// work is what oslo.concurrency's test does under the lock: it creates 50 files, which must not
// exist, and removes them. It also increments a number in a file, and loses increments if two
// processes work at once.
func work(dir string) error {
	counter := filepath.Join(dir, "counter")
	before, err := os.ReadFile(counter)
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(string(before))
	if err != nil {
		return err
	}
	for n := range 50 {
		path := filepath.Join(dir, fmt.Sprintf("file-%d", n))
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer os.Remove(path)
		if err := f.Close(); err != nil {
			return err
		}
	}
	return os.WriteFile(counter, []byte(strconv.Itoa(count+1)), 0o600)
}

// newCounter creates the counter of work in a lock path and returns a function that reads it.
func newCounter(t testing.TB, dir string) (count func() string) {
	t.Helper()
	counter := filepath.Join(dir, "work", "counter")
	if err := os.Mkdir(filepath.Dir(counter), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(counter, []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() string {
		data, err := os.ReadFile(counter)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
}

// python is the interpreter that has the distribution's packages.
const python = "/usr/bin/python3"

// needPython skips the test unless the interpreter has these modules.
func needPython(t testing.TB, suite string, modules ...string) {
	t.Helper()
	for _, module := range modules {
		if exec.Command(python, "-c", "import "+module).Run() != nil {
			skip(t, suite, python+" has no module "+module)
		}
	}
}

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
	if _, err := fmt.Fprintln(p.in, words...); err != nil {
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

// mixed is the Python half of fifty processes: it forks twenty, which wait for the lock and do
// the same work as ours.
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
	if g, err := lockutils.Lock("y", lockutils.External(), lockutils.WithFcntl()); err != nil &&
		unsupported(t, err) {
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
	if n, err := sweep(0); n != 0 || err != nil {
		t.Errorf("swept %d files, error %v", n, err)
	}
	if a := oslo.ask("unlock", "x", dir); a != "ok" {
		t.Fatal(a)
	}
	if n, err := sweep(0); n != 1 || err != nil {
		t.Errorf("swept %d files that nobody holds, error %v", n, err)
	}
}

func TestInteropFiftyProcessesOfGoAndPythonNeverOverlap(t *testing.T) {
	needPython(t, "interop", "oslo_concurrency")
	dir := lockDir(t)
	g, err := lockutils.Lock("supported", lockutils.External(), lockutils.WithFcntl(),
		lockutils.WithLockPath(dir))
	if err != nil && unsupported(t, err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, g)
	count := newCounter(t, dir)
	theirs := pythonPeer(t, mixed)
	var ours []*peer
	for range 30 {
		ours = append(ours, startPeer(t))
	}
	if _, err := fmt.Fprintln(theirs.in, dir); err != nil {
		t.Fatal(err)
	}
	for _, p := range ours {
		p.send("work", "external", dir, "external", "fcntl", "test-")
	}
	for _, p := range ours {
		if reply := p.receive(); reply.Error != "" {
			t.Error(reply.Error)
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

	holder := startCommand(t,
		exec.Command(flock, filepath.Join(dir, "x"), "sh", "-c", "echo held; read line; echo"))
	if holder.line() != "held" {
		t.Fatal("flock(1) does not run")
	}
	wantTaken(t, "x", lockutils.External())
	wantTaken(t, "x", lockutils.External(), lockutils.Shared())
	wantFree(t, "x") // nothing stays held of the internal layer
	holder.ask("go")
	mustUnlock(t, mustLock(t, "x", lockutils.External()))
}
