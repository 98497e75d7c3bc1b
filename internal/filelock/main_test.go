package filelock

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// roleVariable makes the test binary another process of the test: its value names an entry of
// roles.
const roleVariable = "FILELOCK_TEST_ROLE"

var roles = map[string]func(in *bufio.Scanner, out io.Writer, arguments []byte) error{
	"peer": servePeer,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(roleVariable); name != "" {
		if err := roles[name](bufio.NewScanner(os.Stdin), os.Stdout, []byte(os.Args[1])); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	files = systemEngine{} // tests choose the engine for themselves, and for the processes that they start
	goleak.VerifyTestMain(m)
}

// process is another process that runs a role. It ends when its standard input closes, or when it
// is killed.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

func start(t testing.TB, role string, arguments any) *process {
	t.Helper()
	encoded, err := json.Marshal(arguments)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], string(encoded))
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Env = append(cmd.Env, EngineVariable+"="+engineName())
	return startCommand(t, cmd)
}

// engineName returns the value of EngineVariable that chooses the engine in use here.
func engineName() string {
	if files == engine(portableEngine{}) {
		return "portable"
	}
	return ""
}

func startCommand(t testing.TB, cmd *exec.Cmd) *process {
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
	p := &process{t: t, cmd: cmd, in: in, lines: bufio.NewScanner(out)}
	t.Cleanup(p.kill)
	return p
}

// kill ends the process at once and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

// line returns the next line that the process prints.
func (p *process) line() string {
	p.t.Helper()
	if !p.lines.Scan() {
		p.t.Fatalf("the process ended: %v", p.lines.Err())
	}
	return p.lines.Text()
}

// peer is another process that locks on command.
type peer struct{ *process }

// order is what a peer is told to do.
type order struct {
	Request Request
	Do      string // lock, trylock, unlock, remove
}

func newPeer(t testing.TB) peer { return peer{start(t, "peer", nil)} }

// send gives an order without awaiting the answer.
func (p peer) send(do string, r Request) {
	p.t.Helper()
	encoded, err := json.Marshal(order{r, do})
	if err == nil {
		_, err = fmt.Fprintln(p.in, string(encoded))
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// answer returns what came of the oldest order not answered: "ok" or an error's text.
func (p peer) answer() string {
	p.t.Helper()
	return p.line()
}

func (p peer) must(do string, r Request) {
	p.t.Helper()
	p.send(do, r)
	if got := p.answer(); got != "ok" {
		p.t.Fatalf("%s %+v in another process: %s", do, r, got)
	}
}

func servePeer(in *bufio.Scanner, out io.Writer, _ []byte) error {
	held := map[string]*Hold{}
	for in.Scan() {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			return err
		}
		var h *Hold
		var err error
		switch o.Do {
		case "lock":
			h, err = Lock(context.Background(), o.Request)
		case "trylock":
			h, err = TryLock(o.Request)
		case "unlock":
			err = held[o.Request.Path].Unlock()
		case "remove":
			err = Remove(o.Request.Path)
		}
		if h != nil {
			held[o.Request.Path] = h
		}
		if err != nil {
			fmt.Fprintln(out, strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		fmt.Fprintln(out, "ok")
	}
	return in.Err()
}

// lockPath returns the path of a lock file that does not exist yet, and checks at the end of the
// test that the process has as many descriptors open as now.
func lockPath(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lock")
	CloseIdle()
	before := openFiles(t)
	t.Cleanup(func() {
		CloseIdle()
		// Things that the test started, such as a wait that has just been abandoned, may take a
		// moment to close.
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			after := openFiles(t)
			if after <= before {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("%d descriptors open after the test, %d before", after, before)
				return
			}
			CloseIdle()
		}
	})
	return path
}

// openFiles counts this process's descriptors that lead to lock files; 0 where the system does
// not show them.
func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	n := 0
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && strings.HasPrefix(target, os.TempDir()) && !strings.Contains(target, "testlog") {
			n++
		}
	}
	return n
}

// eachEngine runs a test with every engine that this system has.
func eachEngine(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	for name, e := range map[string]engine{"system": systemEngine{}, "portable": portableEngine{}} {
		t.Run(name, func(t *testing.T) {
			useEngine(t, e)
			test(t)
		})
	}
}

func useEngine(t testing.TB, e engine) {
	CloseIdle()
	former := files
	files = e
	t.Cleanup(func() {
		CloseIdle()
		files = former
	})
}
