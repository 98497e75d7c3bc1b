package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// asWrapper is set in the environment of a test binary that acts as the wrapper.
const asWrapper = "LOCKUTILS_WRAPPER_TEST"

// actors are the commands that the wrapper runs in these tests: the test binary again, with the
// actor's name as its first argument.
var actors = map[string]func(args []string) (status int){
	"exit": func(args []string) int {
		status, _ := strconv.Atoi(args[0])
		return status
	},
	"show": func(args []string) int {
		fmt.Println(os.Getenv("OSLO_LOCK_PATH"))
		info, err := os.Stat(os.Getenv("OSLO_LOCK_PATH"))
		if err != nil || !info.IsDir() {
			return 1
		}
		return 0
	},
	"litter": func(args []string) int {
		dir := filepath.Join(os.Getenv("OSLO_LOCK_PATH"), "a", "b")
		if os.MkdirAll(dir, 0o700) != nil || os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600) != nil {
			return 1
		}
		return 0
	},
	"copy": func(args []string) int {
		if _, err := os.Stdout.ReadFrom(os.Stdin); err != nil {
			return 1
		}
		fmt.Fprint(os.Stderr, strings.Join(args, "|"))
		return 0
	},
}

func TestMain(m *testing.M) {
	if os.Getenv(asWrapper) != "" {
		os.Unsetenv(asWrapper)
		main()
	}
	if len(os.Args) > 1 {
		if act := actors[os.Args[1]]; act != nil {
			os.Exit(act(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

// wrapper returns the wrapper around the command, not started. At the end of the test, the parent
// of the wrapper's directory must be empty.
func wrapper(t *testing.T, command ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	t.Cleanup(func() {
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, error %v", left, err)
		}
	})
	cmd := exec.CommandContext(t.Context(), self, command...)
	// The race detector would make each process of a test sleep for a second before it exits.
	cmd.Env = append(os.Environ(), asWrapper+"=1", "TMPDIR="+temp, "TMP="+temp, "GORACE=atexit_sleep_ms=0")
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// actor returns the command line of an actor.
func actor(t *testing.T, words ...string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{self}, words...)
}

// outcome runs cmd to its end.
func outcome(t *testing.T, cmd *exec.Cmd) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestStatusIsTheCommandsOwn(t *testing.T) {
	for _, want := range []int{0, 1, 42, 125} {
		if got, _, _ := outcome(t, wrapper(t, actor(t, "exit", strconv.Itoa(want))...)); got != want {
			t.Errorf("status %d, want %d", got, want)
		}
	}
}

func TestStatusOfCommandThatDoesNotRun(t *testing.T) {
	bin := t.TempDir()
	plain := filepath.Join(bin, "plain")
	if err := os.WriteFile(plain, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	orphan := filepath.Join(bin, "orphan")
	if err := os.WriteFile(orphan, []byte("#!"+filepath.Join(bin, "missing")+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		command string
		want    int
	}{
		{"not on PATH", "lockutils-no-such-command", 127},
		{"no such path", filepath.Join(bin, "missing"), 127},
		{"empty name", "", 127},
		{"looks like an option", "-x", 127},
		{"not executable, by path", plain, 126},
		{"not executable, on PATH", "plain", 126},
		{"interpreter missing", orphan, 126},
		{"directory", bin, 126},
	} {
		t.Run(c.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && c.command == bin {
				t.Skip("a directory is not found as a command on Windows")
			}
			cmd := wrapper(t, c.command)
			cmd.Env = append(cmd.Env, "PATH="+bin)
			status, stdout, stderr := outcome(t, cmd)
			if status != c.want || stdout != "" || !strings.HasPrefix(stderr, "lockutils-wrapper: ") {
				t.Errorf("status %d, want %d; stdout %q, stderr %q", status, c.want, stdout, stderr)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args           []string
		status         int
		stdout, stderr string
	}{
		{nil, 2, "", usage},
		{[]string{"--"}, 2, "", usage},
		{[]string{"-h"}, 0, usage, ""},
		{[]string{"--help", "ignored"}, 0, usage, ""},
	} {
		status, stdout, stderr := outcome(t, wrapper(t, c.args...))
		if status != c.status || stdout != c.stdout || stderr != c.stderr {
			t.Errorf("%q: status %d, stdout %q, stderr %q", c.args, status, stdout, stderr)
		}
	}
}

func TestDoubleHyphenEndsOptions(t *testing.T) {
	cmd := wrapper(t, append([]string{"--"}, actor(t, "copy", "-h", "--", "a b")...)...)
	if status, _, stderr := outcome(t, cmd); status != 0 || stderr != "-h|--|a b" {
		t.Errorf("status %d, arguments %q", status, stderr)
	}
}

func TestCommandHasADirectoryOfItsOwn(t *testing.T) {
	var seen []string
	for range 2 {
		cmd := wrapper(t, actor(t, "show")...)
		cmd.Env = append(cmd.Env, "OSLO_LOCK_PATH=/elsewhere")
		status, stdout, stderr := outcome(t, cmd)
		dir := strings.TrimSpace(stdout)
		if status != 0 || !filepath.IsAbs(dir) || dir == "/elsewhere" {
			t.Fatalf("status %d, directory %q, stderr %q", status, dir, stderr)
		}
		seen = append(seen, dir)
	}
	if seen[0] == seen[1] {
		t.Errorf("two runs shared %s", seen[0])
	}
}

func TestDirectoryIsRemovedWithWhatIsInIt(t *testing.T) {
	if status, _, stderr := outcome(t, wrapper(t, actor(t, "litter")...)); status != 0 {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
}

func TestRelativeTemporaryDirectory(t *testing.T) {
	cmd := wrapper(t, actor(t, "show")...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(cmd.Env, "TMPDIR=.", "TMP=.")
	status, stdout, stderr := outcome(t, cmd)
	if status != 0 || !filepath.IsAbs(strings.TrimSpace(stdout)) {
		t.Errorf("status %d, directory %q, stderr %q", status, stdout, stderr)
	}
}

func TestNoTemporaryDirectory(t *testing.T) {
	cmd := wrapper(t, actor(t, "show")...)
	missing := filepath.Join(t.TempDir(), "missing")
	cmd.Env = append(cmd.Env, "TMPDIR="+missing, "TMP="+missing)
	status, stdout, stderr := outcome(t, cmd)
	if status != 125 || stdout != "" || !strings.Contains(stderr, missing) {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
}

func TestStandardStreamsAreTheCommands(t *testing.T) {
	cmd := wrapper(t, actor(t, "copy", "to", "stderr")...)
	cmd.Stdin = strings.NewReader("through")
	status, stdout, stderr := outcome(t, cmd)
	if status != 0 || stdout != "through" || stderr != "to|stderr" {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
}
