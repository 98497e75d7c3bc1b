//go:build unix

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/lockutils/lockutils/internal/child"
)

func init() {
	// watch names each signal that it gets on a line of its own and exits with 7 on SIGTERM.
	actors["watch"] = func([]string) int {
		arrived := child.CatchSignals()
		signal.Notify(arrived, syscall.SIGWINCH)
		fmt.Println("ready")
		for s := range arrived {
			fmt.Println(s)
			if s == syscall.SIGTERM {
				return 7
			}
		}
		return 1
	}
}

// start starts cmd without a terminal, so that the wrapper must pass on every signal, and returns
// its output.
func start(t *testing.T, cmd *exec.Cmd) *bufio.Scanner {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	ignoreNothing()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopWhenFailed(t, cmd)
	return bufio.NewScanner(stdout)
}

// ignoreNothing catches signals that nohup(1) or a shell may have set to be ignored. A child
// process inherits ignored signals, but not caught ones.
func ignoreNothing() {
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
}

// stopWhenFailed also stops the command, and not only the wrapper, if the test fails early.
func stopWhenFailed(t *testing.T, cmd *exec.Cmd) {
	t.Cleanup(func() {
		if t.Failed() {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
	})
}

func expect(t *testing.T, lines *bufio.Scanner, want string) {
	t.Helper()
	if !lines.Scan() || strings.TrimSpace(lines.Text()) != want {
		t.Fatalf("command printed %q, want %q; error %v", lines.Text(), want, lines.Err())
	}
}

func TestSignalsReachTheCommand(t *testing.T) {
	cmd := wrapper(t, actor(t, "watch")...)
	lines := start(t, cmd)
	expect(t, lines, "ready")
	for _, s := range []syscall.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM,
		syscall.SIGWINCH, syscall.SIGTERM,
	} {
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		expect(t, lines, s.String())
	}
	if lines.Scan() {
		t.Errorf("command got %q besides", lines.Text())
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("status %v, want the command's 7", cmd.ProcessState)
	}
}

func TestStatusOfCommandKilledBySignal(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGUSR1} {
		cmd := wrapper(t, "sh", "-c", fmt.Sprintf("kill -%d $$", s))
		if status, _, _ := outcome(t, cmd); status != 128+int(s) {
			t.Errorf("status %d after %v, want %d", status, s, 128+int(s))
		}
	}
}

// A signal sent as soon as the directory exists arrives before the command has started, or just
// after.
func TestDirectoryIsRemovedWhenASignalComesBeforeTheCommand(t *testing.T) {
	for range 20 {
		cmd := wrapper(t, "sleep", "60")
		temp := t.TempDir()
		cmd.Env = append(cmd.Env, "TMPDIR="+temp)
		start(t, cmd)
		for empty(t, temp) && t.Context().Err() == nil {
			runtime.Gosched()
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if got, want := cmd.ProcessState.ExitCode(), 128+int(syscall.SIGTERM); got != want {
			t.Fatalf("status %d, want %d", got, want)
		}
		if !empty(t, temp) {
			t.Fatal("the directory was left behind")
		}
	}
}

func empty(t *testing.T, dir string) bool {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries) == 0
}

func TestIgnoredSignalStaysIgnored(t *testing.T) {
	words := actor(t, "watch")
	cmd := wrapper(t, words...)
	// The shell ignores SIGHUP for itself and for the wrapper that it becomes.
	cmd.Args = append([]string{"sh", "-c", `trap "" HUP; exec "$0" "$@"`, cmd.Path}, words...)
	cmd.Path = "/bin/sh"
	lines := start(t, cmd)
	expect(t, lines, "ready")
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, lines, syscall.SIGTERM.String())
	_ = cmd.Wait()
}
