package prove

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A peer is another process of a trial: this test binary in a role, or another program. It reads
// requests and replies to each.
type peer struct {
	cmd     *exec.Cmd
	encoder *json.Encoder
	in      io.Closer
	out     *json.Decoder
	errors  bytes.Buffer
	reap    sync.Once
}

// startPeer starts this binary in a role, with variables added to its environment.
func startPeer(t testing.TB, role string, environment ...string) *peer {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), roleVariable+"="+role), environment...)
	return startCommand(t, cmd)
}

func startCommand(t testing.TB, cmd *exec.Cmd) *peer {
	t.Helper()
	p := &peer{cmd: cmd}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = &p.errors
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.in, p.encoder, p.out = in, json.NewEncoder(in), json.NewDecoder(out)
	t.Cleanup(p.kill)
	return p
}

// kill kills the process, if it still runs, and waits for it.
func (p *peer) kill() {
	p.reap.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.in.Close()
		_ = p.cmd.Wait()
	})
}

// send sends a request.
func (p *peer) send(t testing.TB, order any) {
	t.Helper()
	if err := p.encoder.Encode(order); err != nil {
		t.Fatalf("a process does not read requests: %v\n%s", err, p.stderr())
	}
}

// errHung means that a process did not reply in time.
var errHung = errors.New("no reply")

// receive reads the reply to the oldest request that has none. It kills a process that does not
// reply in time.
func (p *peer) receive(answer any, bound time.Duration) error {
	answered := make(chan error, 1)
	go func() { answered <- p.out.Decode(answer) }()
	err, ok := await(answered, bound)
	if !ok {
		_ = p.cmd.Process.Signal(unix.SIGQUIT) // prints the stacks of its goroutines
		<-answered
		return fmt.Errorf("%w in %v\n%s", errHung, bound, p.stderr())
	}
	if err != nil {
		return fmt.Errorf("a process has exited: %w\n%s", err, p.stderr())
	}
	return nil
}

// stderr kills the process and returns its standard error.
func (p *peer) stderr() string {
	p.kill()
	return p.errors.String()
}

// serve handles requests from standard input. It runs in the other process, which exits when the
// pipe is closed.
func serve[Order, Answer any](do func(Order) (Answer, error)) error {
	orders := make(chan Order)
	go func() {
		in := json.NewDecoder(os.Stdin)
		for {
			var o Order
			if err := in.Decode(&o); err != nil {
				os.Exit(0)
			}
			orders <- o
		}
	}()
	out := json.NewEncoder(os.Stdout)
	for o := range orders {
		answer, err := do(o)
		if err != nil {
			return err
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
	return nil
}

// monotonic reads the clock that all processes of the host share.
func monotonic() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err)
	}
	return now.Nano()
}

// needs skips the test if a program or privilege is missing.
func needs(t testing.TB, suite string, err error) {
	t.Helper()
	if err != nil {
		t.Skipf("suite %s skipped: %v", suite, strings.TrimSpace(err.Error()))
	}
}
