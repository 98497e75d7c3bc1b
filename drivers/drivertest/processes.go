package drivertest

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
)

// TestProcesses checks the histories of locks for which four processes of the operating system
// contend. Each is the test program once more, running the test that has called TestProcesses.
//
// start is called once and returns what open needs to know to reach the server. open is called in
// each of the four processes.
//
// It takes the flags of TestService:
//
//	go test -run TestMyProcesses -drivertest.time=10m -timeout=20m
func TestProcesses(
	t *testing.T, start func(t *testing.T) string, open func(t *testing.T, server string) driver.Service,
) {
	if text := os.Getenv(processVariable); text != "" {
		if err := beProcess(t, text, open); err != nil {
			t.Fatal(err)
		}
		return
	}
	switch runtime.GOOS {
	case "linux", "darwin", "windows":
	default:
		t.Skip("processes have no clock in common")
	}
	seed := cmp.Or(*seedFlag, rand.Uint64())
	s := newStage(t, seed, nil, time.Minute)
	server := start(t)
	var all [4]*testProcess
	for i := range all {
		all[i] = startProcess(t, part{i, server})
	}
	err := s.repeat(func(i int) (history []operation, err error) {
		for _, p := range all {
			if err := p.orders.Encode(task{s.name(i), s.random.Uint64()}); err != nil {
				return nil, err
			}
		}
		for _, p := range all {
			a, err := p.account(s.patience)
			if err != nil {
				return nil, err
			}
			history = append(history, a.Operations...)
		}
		return history, nil
	})
	if err != nil {
		t.Errorf("%v\nrepeat it with -run '^%s$' -drivertest.seed=%d", err, t.Name(), seed)
	}
}

// processVariable is set in the environment of the processes.
const processVariable = "DRIVERTEST_PROCESS"

// A part says which process it is, and of which server.
type part struct {
	Number int
	Server string
}

// A task is one history.
type task struct {
	Name string
	Seed uint64
}

// An account is what one process has seen of a history.
type account struct {
	Operations []operation
	Error      string
}

// accountPrefix begins the lines that are accounts, among what a test program prints.
const accountPrefix = "drivertest: "

// beProcess carries out orders until there are no more.
func beProcess(t *testing.T, text string, open func(t *testing.T, server string) driver.Service) error {
	var self part
	if err := json.Unmarshal([]byte(text), &self); err != nil {
		return err
	}
	s := newStage(t, 0, func(t *testing.T) driver.Service { return open(t, self.Server) }, 30*time.Second)
	p := s.process(0)
	for orders := json.NewDecoder(os.Stdin); ; {
		var o task
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		r := &recorder{ids: self.Number << 20}
		var a account
		if err := s.play(self.Number, p, o.Name, rand.New(rand.NewPCG(o.Seed, 0)), r); err != nil {
			a.Error = fmt.Sprintf("process %d: %v", self.Number, err)
		}
		a.Operations = r.operations
		line, err := json.Marshal(a)
		if err != nil {
			return err
		}
		fmt.Printf("%s%s\n", accountPrefix, line)
	}
}

// A testProcess is one of the processes, seen from outside.
type testProcess struct {
	orders   *json.Encoder
	accounts chan account    // closed when the process ends
	rest     strings.Builder // what it has printed otherwise; written before accounts is closed
}

// startProcess starts a process, which the test's end ends.
func startProcess(t *testing.T, self part) *testProcess {
	text, err := json.Marshal(self)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.ReplaceAll(regexp.QuoteMeta(t.Name()), "/", "$/^")
	cmd := exec.Command(os.Args[0], "-test.run=^"+name+"$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), processVariable+"="+string(text))
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
	p := &testProcess{orders: json.NewEncoder(in), accounts: make(chan account, 1)}
	go p.read(out)
	t.Cleanup(func() {
		in.Close()
		defer time.AfterFunc(time.Minute, func() { cmd.Process.Kill() }).Stop()
		for range p.accounts {
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("process %d: %v: %s", self.Number, err, &p.rest)
		}
	})
	return p
}

// account returns what the process has seen of the last history.
func (p *testProcess) account(patience time.Duration) (account, error) {
	select {
	case a, ok := <-p.accounts:
		if !ok {
			return a, fmt.Errorf("a process has ended: %s", &p.rest)
		}
		if a.Error != "" {
			return a, errors.New(a.Error)
		}
		return a, nil
	case <-time.After(patience):
		return account{}, fmt.Errorf("a process has no account after %v", patience)
	}
}

// read reads what the process prints.
func (p *testProcess) read(out io.Reader) {
	defer close(p.accounts)
	for in := bufio.NewReader(out); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		text, ok := strings.CutPrefix(line, accountPrefix)
		var a account
		if !ok || json.Unmarshal([]byte(text), &a) != nil {
			p.rest.WriteString(line)
			continue
		}
		p.accounts <- a
	}
}
