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

// A peer is another process of a trial: this test binary in a role, or another program. It reads orders and answers
// each.
type peer struct {
	cmd    *exec.Cmd
	orders *json.Encoder
	in     io.Closer
	out    *json.Decoder
	errors bytes.Buffer
	reap   sync.Once
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
	p.in, p.orders, p.out = in, json.NewEncoder(in), json.NewDecoder(out)
	t.Cleanup(p.kill)
	return p
}

// kill ends the process, if it still runs, and waits until it is gone.
func (p *peer) kill() {
	p.reap.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.in.Close()
		_ = p.cmd.Wait()
	})
}

// order sends an order.
func (p *peer) order(t testing.TB, order any) {
	t.Helper()
	if err := p.orders.Encode(order); err != nil {
		t.Fatalf("a process does not take orders: %v\n%s", err, p.lastWords())
	}
}

// errHung says that a process has not answered within the bound of every wait.
var errHung = errors.New("no answer")

// answer reads the answer to the oldest order that has none. A process that does not answer in time is killed.
func (p *peer) answer(answer any, bound time.Duration) error {
	answered := make(chan error, 1)
	go func() { answered <- p.out.Decode(answer) }()
	err, ok := await(answered, bound)
	if !ok {
		_ = p.cmd.Process.Signal(unix.SIGQUIT) // which makes it print where its goroutines are
		<-answered
		return fmt.Errorf("%w in %v\n%s", errHung, bound, p.lastWords())
	}
	if err != nil {
		return fmt.Errorf("a process has ended: %w\n%s", err, p.lastWords())
	}
	return nil
}

// lastWords ends the process and returns what it has said on its standard error.
func (p *peer) lastWords() string {
	p.kill()
	return p.errors.String()
}

// serve answers orders until there are none. It runs in the other process, which does not outlive this one's end of the
// pipe.
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

// monotonic is the clock that all processes of the host share.
func monotonic() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err)
	}
	return now.Nano()
}

// needs skips the test where a program or privilege that it needs is missing.
func needs(t testing.TB, suite string, err error) {
	t.Helper()
	if err != nil {
		t.Skipf("suite %s skipped: %v", suite, strings.TrimSpace(err.Error()))
	}
}
