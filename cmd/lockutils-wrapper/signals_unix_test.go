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

// start starts cmd without a terminal, so that every signal has to be passed on, and returns what it prints.
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

// ignoreNothing undoes what the tests may have been started with, by nohup(1) or in the background of a shell: a signal
// that is ignored stays so in the wrapper, but one that is caught does not.
func ignoreNothing() {
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
}

// stopWhenFailed ends the command too, not the wrapper alone, when the test fails before it has come to its end.
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
		if status, _, _ := outcome(t, wrapper(t, "sh", "-c", fmt.Sprintf("kill -%d $$", s))); status != 128+int(s) {
			t.Errorf("status %d after %v, want %d", status, s, 128+int(s))
		}
	}
}

// A signal that comes as soon as there is a directory finds no command yet, or one that has just been started.
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
