//go:build unix

package command

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startFor starts run with a shell script, whose standard input ends with the test.
func startFor(t *testing.T, dir, script string) (cmd *exec.Cmd, in io.Writer, lines *bufio.Scanner) {
	t.Helper()
	cmd = program("run", "--path", dir, "x", "--", "sh", "-c", script)
	w, err := cmd.StdinPipe()
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
	t.Cleanup(func() {
		cmd.Process.Kill()
		w.Close()
	})
	lines = bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the command does not run")
	}
	return cmd, w, lines
}

func TestAStoppedRunKeepsTheLockAndItsCommandGoesOn(t *testing.T) {
	dir := t.TempDir()
	cmd, in, lines := startFor(t, dir, `
		echo held
		while read line; do echo "got $line"; [ $line != end ] || exit 9; done`)
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"one", "two", "end"} {
		fmt.Fprintln(in, line)
		if !lines.Scan() || lines.Text() != "got "+line {
			t.Fatalf("the command says %q after %q", lines.Text(), line)
		}
		if got := runIn(t, dir, "-n", "x", "true"); got.status != statusConflict {
			t.Errorf("while run is stopped: %+v", got)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("the status is %d, want that of the command, 9", cmd.ProcessState.ExitCode())
	}
	if got := runIn(t, dir, "-n", "x", "true"); got.status != 0 {
		t.Errorf("after the end: %+v", got)
	}
}

func TestTheCommandEndsWithAKilledRun(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // no other system can do that
	}
	dir := t.TempDir()
	cmd, _, lines := startFor(t, dir, "echo held; while read line; do :; done")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if lines.Scan() { // ends once neither run nor the command is there
		t.Errorf("the command says %q", lines.Text())
	}
	cmd.Wait()
	if got := runIn(t, dir, "-n", "x", "true"); got.status != 0 {
		t.Errorf("after the kill: %+v", got)
	}
}

// flock(1) dies of each of them. A Go program can die of some only, and has the same status in a shell.
func TestASignalEndsAWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	hold(t, path)
	for _, s := range []syscall.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM,
	} {
		ignoreNot(t, s)
		waiter := program("run", path, "true")
		var said strings.Builder
		waiter.Stderr = &said
		if err := waiter.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Minute, func() { waiter.Process.Kill() })
		waitForWaiter(t, path)
		if err := waiter.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		waiter.Wait()
		timer.Stop()
		wantEndedBy(t, waiter, s)
		if strings.Contains(said.String(), "goroutine") {
			t.Errorf("%v: it says %s", s, said.String())
		}
	}
}

// ignoreNot makes programs that the test starts heed the signal, which nohup(1) or a shell may have set
// to be ignored: a program inherits what is ignored, and not what is caught.
func ignoreNot(t *testing.T, s os.Signal) {
	if signal.Ignored(s) {
		caught := make(chan os.Signal, 1)
		signal.Notify(caught, s)
		t.Cleanup(func() { signal.Ignore(s) })
	}
}

// wantEndedBy checks that a program has died of a signal, or at least has the status of that.
func wantEndedBy(t *testing.T, cmd *exec.Cmd, s syscall.Signal) {
	t.Helper()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch s {
	case syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM:
		if status.Signal() != s {
			t.Errorf("%v: the program ended with %v", s, cmd.ProcessState)
		}
	default:
		if status.ExitStatus() != 128+int(s) {
			t.Errorf("%v: the program ended with %v", s, cmd.ProcessState)
		}
	}
}
