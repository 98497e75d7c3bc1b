package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
)

// mainVariable is set in the environment of a test program that is to act as this program.
const mainVariable = "CLUSTER_MAIN"

// TestMain lets the test program act as a host, or as the whole program.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(workerVariable) != "":
		if err := work(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case os.Getenv(mainVariable) != "":
		main()
	default:
		os.Exit(m.Run())
	}
}

func TestEachImageIsStoredOnce(t *testing.T) {
	for _, name := range engineNames() {
		t.Run(name, func(t *testing.T) {
			err := demonstrate(t.Context(), name, engines[name], 4, 12)
			if errors.Is(err, errNotInstalled) {
				t.Skip(err)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestInterruptLeavesNothing(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be interrupted there")
	}
	for _, name := range engineNames() {
		t.Run(name, func(t *testing.T) { testInterrupt(t, name, os.Interrupt) })
	}
	t.Run("hangup", func(t *testing.T) { testInterrupt(t, "redis", syscall.SIGHUP) })
}

func testInterrupt(t *testing.T, name string, by os.Signal) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-engine="+name)
	cmd.Env = append(os.Environ(), mainVariable+"=1")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints // the hosts have it too: Wait returns when all of them have ended
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var endpoints []string
	for lines := bufio.NewScanner(out); endpoints == nil && lines.Scan(); {
		if list, ok := strings.CutPrefix(lines.Text(), "started: "); ok {
			endpoints = strings.Split(list, ", ")
			cmd.Process.Signal(by)
		}
	}
	err = cmd.Wait()
	if strings.Contains(complaints.String(), errNotInstalled.Error()) {
		t.Skip(complaints.String())
	}
	if endpoints == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("interrupted, it ended with %v, and served at %q: %s", err, endpoints, &complaints)
	}
	if !strings.Contains(complaints.String(), "cluster: interrupted") {
		t.Errorf("interrupted, it says %q", &complaints)
	}
	for _, endpoint := range endpoints {
		if conn, err := net.Dial("tcp", endpoint); err == nil {
			conn.Close()
			t.Errorf("%s serves after the end", endpoint)
		}
	}
}

func TestHostEndsWithItsOrders(t *testing.T) {
	e, err := engines["redis"].start(t.Context())
	if errors.Is(err, errNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	s, err := dial(t.Context(), "redis", e.Endpoints())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Acquire(t.Context(), driver.Request{Name: "x"}); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(setup{Engine: "redis", Endpoints: e.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(workerVariable, string(text))
	in, orders := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- work(context.Background(), in, io.Discard) }()
	if err := json.NewEncoder(orders).Encode(order{Do: "lock", Image: "x"}); err != nil {
		t.Fatal(err)
	}
	orders.Close()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the host waits for its lock")
	}
}
