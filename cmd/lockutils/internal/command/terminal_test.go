//go:build unix

package command

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A terminal is a window of tmux: a pseudo-terminal with an interactive shell, and its screen. The
// shell finds the command as "lockutils".
type terminal struct {
	t      testing.TB
	socket string
}

// openTerminal skips the test without tmux.
func openTerminal(t testing.TB, columns, rows int, environment ...string) *terminal {
	t.Helper()
	for _, name := range []string{"tmux", "bash"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "tmux") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec '%s' \"$@\"\n", asCommand, self)
	if err := os.WriteFile(filepath.Join(dir, "lockutils"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	x := &terminal{t, filepath.Join(dir, "socket")}
	cmd := x.command("-f", os.DevNull, "new-session", "-d", "-x", fmt.Sprint(columns), "-y", fmt.Sprint(rows),
		"bash", "--norc", "--noprofile", "-i")
	cmd.Env = append(append(os.Environ(), "PS1=$ ", "LC_ALL=C.UTF-8", "PROMPT_COMMAND=",
		"PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH")), environment...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v, %s", err, out)
	}
	t.Cleanup(func() { x.tmux("kill-server") })
	x.tmux("set-option", "-g", "status", "off")
	return x
}

func (x *terminal) command(args ...string) *exec.Cmd {
	return exec.Command("tmux", append([]string{"-u", "-S", x.socket}, args...)...)
}

func (x *terminal) tmux(args ...string) string {
	x.t.Helper()
	out, err := x.command(args...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %q: %v, %s", args, err, out)
	}
	return string(out)
}

// press presses keys by their names in tmux: "C-c", "Down", "q".
func (x *terminal) press(keys ...string) {
	x.t.Helper()
	x.tmux(append([]string{"send-keys"}, keys...)...)
}

// enter types a line.
func (x *terminal) enter(line string) {
	x.t.Helper()
	x.tmux("send-keys", "-l", line)
	x.press("Enter")
}

func (x *terminal) resize(columns, rows int) {
	x.t.Helper()
	x.tmux("resize-window", "-x", fmt.Sprint(columns), "-y", fmt.Sprint(rows))
}

// screen returns the lines of the screen, without trailing spaces.
func (x *terminal) screen() []string {
	x.t.Helper()
	return strings.Split(strings.TrimSuffix(x.tmux("capture-pane", "-p"), "\n"), "\n")
}

// await returns the screen as soon as it is as wanted.
func (x *terminal) await(want string, is func(screen []string) bool) []string {
	x.t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		screen := x.screen()
		if is(screen) {
			return screen
		}
		if time.Since(began) > time.Minute {
			x.t.Fatalf("want %s on the screen:\n%s", want, strings.Join(screen, "\n"))
		}
	}
}

// awaitLine waits for a whole line, which a line typed in does not contain by itself.
func (x *terminal) awaitLine(line string) []string {
	x.t.Helper()
	return x.await(fmt.Sprintf("the line %q", line), func(screen []string) bool {
		return slices.Contains(screen, line)
	})
}

// awaitPrompt waits until the shell can take a line.
func (x *terminal) awaitPrompt() []string {
	x.t.Helper()
	return x.await("a prompt", func(screen []string) bool {
		text := strings.TrimSpace(strings.Join(screen, "\n"))
		return text == "$" || strings.HasSuffix(text, "\n$")
	})
}

// awaitText waits for a text within a line.
func (x *terminal) awaitText(text string) []string {
	x.t.Helper()
	return x.await(fmt.Sprintf("%q", text), func(screen []string) bool {
		return strings.Contains(strings.Join(screen, "\n"), text)
	})
}

// script writes a script of bash and returns its path, so that its text is not on the screen.
func script(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCtrlCEndsTheCommandAndItsStatusIsThatOfTheSignal(t *testing.T) {
	x := openTerminal(t, 80, 24)
	dir := t.TempDir()
	x.enter("lockutils run --path " + dir + " x -- bash " + script(t, "echo ready; exec sleep 1000"))
	x.awaitLine("ready")
	x.press("C-c")
	x.awaitPrompt()
	x.enter("echo status=$?")
	x.awaitLine("status=130")
	if got := runIn(t, dir, "-n", "x", "true"); got.status != 0 {
		t.Errorf("the lock afterwards: %+v", got)
	}
}

// A shell ends a loop if SIGINT ends a command of it, and goes on if the command exits with a status.
func TestCtrlCEndsALoopOfRuns(t *testing.T) {
	x := openTerminal(t, 80, 24)
	loop := script(t, fmt.Sprintf(`
		for i in 1 2; do
			lockutils run --path %s x -- bash -c "echo round $i; exec sleep 1000"
		done`, t.TempDir()))
	x.enter("bash " + loop + "; echo never")
	x.awaitLine("round 1")
	x.press("C-c")
	x.awaitPrompt()
	x.enter("echo status=$?")
	if screen := x.awaitLine("status=130"); slices.Contains(screen, "round 2") {
		t.Errorf("the loop goes on:\n%s", strings.Join(screen, "\n"))
	}
}

func TestCtrlCReachesTheCommandOnce(t *testing.T) {
	x := openTerminal(t, 80, 24)
	x.enter("lockutils run --path " + t.TempDir() + " x -- bash " + script(t, `
		trap 'echo interrupted' INT
		trap 'echo told; exit 4' USR1
		echo ready $PPID
		while :; do read -t 0.01 line; done`))
	var parent int
	x.await("the process of run", func(screen []string) bool {
		return slices.ContainsFunc(screen, func(line string) bool {
			_, err := fmt.Sscanf(line, "ready %d", &parent)
			return err == nil
		})
	})
	x.press("C-c")
	x.await("a line about it", func(screen []string) bool {
		return slices.ContainsFunc(screen, func(l string) bool { return strings.HasSuffix(l, "interrupted") })
	})
	// Run passes on one signal after another: a second SIGINT would come before this one.
	if err := syscall.Kill(parent, syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	x.awaitText("told")
	x.awaitPrompt()
	x.enter("echo status=$?")
	screen := x.awaitLine("status=4")
	if n := strings.Count(strings.Join(screen, "\n"), "interrupted"); n != 1 {
		t.Errorf("SIGINT came %d times:\n%s", n, strings.Join(screen, "\n"))
	}
}

func TestCtrlZStopsTheCommandAndFgResumesIt(t *testing.T) {
	x := openTerminal(t, 80, 24)
	dir := t.TempDir()
	x.enter("lockutils run --path " + dir + " x -- bash " +
		script(t, `echo ready; while read line; do echo "got $line"; done; exit 7`))
	x.awaitLine("ready")
	for _, word := range []string{"one", "two"} {
		x.enter(word)
		x.awaitLine("got " + word)
		x.press("C-z")
		x.awaitText("Stopped")
		x.awaitPrompt()
		x.enter("clear; jobs -s; echo sta''tus=$?")
		x.await("a stopped job", func(screen []string) bool {
			return strings.Contains(screen[0], "Stopped") && slices.Contains(screen, "status=0")
		})
		if got := runIn(t, dir, "-n", "x", "true"); got.status != statusConflict {
			t.Errorf("the lock of a stopped job: %+v", got)
		}
		x.enter("fg") // prints the job
		x.await("the job in the foreground", func(screen []string) bool {
			return slices.ContainsFunc(screen, func(l string) bool { return strings.HasPrefix(l, "lockutils run") })
		})
	}
	x.enter("three")
	x.awaitLine("got three")
	x.press("C-d")
	x.awaitPrompt()
	x.enter("echo status=$?")
	x.awaitLine("status=7")
}

func TestAWindowResizeReachesTheCommand(t *testing.T) {
	x := openTerminal(t, 80, 24)
	x.enter("lockutils run --path " + t.TempDir() + " x -- bash " + script(t, `
		trap 'stty size' WINCH
		stty size
		while :; do read -t 0.01 line; done`))
	x.awaitLine("24 80")
	x.resize(100, 30)
	x.awaitLine("30 100")
	x.resize(60, 10)
	x.awaitLine("10 60")
}

// An interactive shell takes the terminal for itself. A script without job control must have it again.
func TestTheTerminalIsThatOfTheScriptAgainAfterAShellUnderALock(t *testing.T) {
	x := openTerminal(t, 80, 24)
	x.enter("bash " + script(t, fmt.Sprintf(`
		group() { read -r -a stat </proc/self/stat; [ ${stat[4]} = ${stat[7]} ] && echo "$1 foreground"; }
		group before
		PS1='$ ' lockutils run --path %s x -- bash --norc --noprofile -i
		group after
		read line; echo "got $line"`, t.TempDir())))
	x.awaitLine("before foreground")
	x.awaitPrompt()
	x.press("C-c") // interrupts the inner shell's line, and nothing else
	x.await("a new prompt", func(screen []string) bool {
		return strings.Count(strings.Join(screen, "\n"), "$") == 3
	})
	x.enter("exit")
	x.awaitLine("after foreground")
	x.enter("a line")
	x.awaitLine("got a line")
	x.awaitPrompt()
	x.enter("echo status=$?")
	x.awaitLine("status=0")
}

func TestListsFitTheTerminalAndHaveABoldHeadingUnlessTheUserWantsNone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, strings.Repeat("long", 30)), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for variable, want := range map[string]bool{"NO_COLOR=": true, "NO_COLOR=1": false} {
		x := openTerminal(t, 60, 24, variable)
		x.enter("clear; lockutils ls --path " + dir + "; echo do''ne")
		screen := x.awaitLine("done")
		if !strings.HasPrefix(screen[0], "LOCK") || screen[2] != "done" {
			t.Errorf("the list does not fit:\n%s", strings.Join(screen, "\n"))
		}
		if got := strings.Contains(x.tmux("capture-pane", "-p", "-e"), "\x1b[1mLOCK"); got != want {
			t.Errorf("with %s: a bold heading: %t, want %t", variable, got, want)
		}
	}
}
