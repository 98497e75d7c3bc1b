//go:build unix

package command

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
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
