//go:build unix

package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hundredLocks returns a lock path with a hundred lock files, of which number 42 is held with one
// waiter, and number 77 is held.
func hundredLocks(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for i := range 100 { // used one after the other, the last one a minute ago
		path := filepath.Join(dir, fmt.Sprintf("lock-%02d", i))
		used := time.Now().Add(time.Duration(i-100) * time.Minute)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, used, used)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"lock-42", "lock-77"} {
		launch(t, "run", "--path", dir, name, "--", "sh", "-c", "echo held; exec sleep 1000")
	}
	waiter := program("run", "--path", dir, "lock-42", "--", "true")
	if err := waiter.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		waiter.Process.Kill()
		waiter.Wait()
	})
	waitForWaiter(t, filepath.Join(dir, "lock-42"))
	return dir
}

// shown returns the names of the locks on the screen, in their order.
func shown(screen []string) (names []string) {
	for _, line := range screen {
		if strings.HasPrefix(line, "lock-") {
			names = append(names, strings.Fields(line)[0])
		}
	}
	return names
}

// openTop opens top on a hundred locks in a new terminal, whose state it writes to the file "before".
func openTop(t *testing.T) (x *terminal, dir string) {
	t.Helper()
	dir = hundredLocks(t)
	x = openTerminal(t, 80, 24)
	x.enter("stty -g >" + dir + "/before; echo begun")
	x.awaitLine("begun")
	x.enter("lockutils top --path " + dir)
	return x, dir
}

func TestTopFitsScrollsSortsFiltersAndLeavesTheTerminalAsItWas(t *testing.T) {
	x, dir := openTop(t)
	starts := func(names ...string) func(screen []string) bool {
		return func(screen []string) bool {
			all := shown(screen)
			return len(all) >= len(names) && slices.Equal(all[:len(names)], names)
		}
	}
	screen := x.await("what is waited for, then what is held", starts("lock-42", "lock-77", "lock-00"))
	if !strings.Contains(screen[0], "100 locks, 2 held, by waiters") {
		t.Errorf("the first line is %q", screen[0])
	}
	if n := len(shown(screen)); n != 21 { // of 24 lines
		t.Errorf("%d locks are shown:\n%s", n, strings.Join(screen, "\n"))
	}
	x.press("s")
	x.await("the order of names", starts("lock-00", "lock-01"))
	x.press("End")
	x.await("the last lock", func(screen []string) bool { return slices.Contains(shown(screen), "lock-99") })
	x.press("r")
	x.press("Home")
	x.await("the first lock", starts("lock-00", "lock-01"))
	x.press("NPage", "NPage")
	x.await("the third page", func(screen []string) bool {
		return slices.Contains(shown(screen), "lock-42") && !slices.Contains(shown(screen), "lock-00")
	})
	x.press("s")
	x.await("the order of use", func(screen []string) bool {
		names := shown(screen)
		return len(names) > 2 && strings.Contains(screen[0], "by last used") &&
			slices.Contains(names[:2], "lock-42") && slices.Contains(names[:2], "lock-77") &&
			names[2] == "lock-99"
	})
	x.press("s")
	x.await("the first order", starts("lock-42", "lock-77", "lock-00"))

	x.press("/")
	x.awaitText("filter:")
	x.press("-", "4", "Enter")
	screen = x.await("those that match", func(screen []string) bool { return len(shown(screen)) == 10 })
	if !starts("lock-42", "lock-40")(screen) || !strings.Contains(screen[0], `10 match "-4"`) {
		t.Errorf("filtered:\n%s", strings.Join(screen, "\n"))
	}
	x.press("/", "Escape")
	x.await("all again", starts("lock-42", "lock-77", "lock-00"))

	x.resize(100, 40)
	x.await("37 locks", func(screen []string) bool { return len(shown(screen)) == 37 })
	x.resize(40, 10)
	x.await("7 locks", func(screen []string) bool {
		return len(screen) == 10 && len(shown(screen)) == 7 && starts("lock-42", "lock-77")(screen)
	})
	x.resize(8, 2)
	x.resize(80, 24)
	x.await("the page as at first", func(screen []string) bool {
		return starts("lock-42", "lock-77", "lock-00")(screen) && len(shown(screen)) == 21
	})

	x.press("q")
	x.awaitLine("begun") // the screen of before
	x.awaitPrompt()
	x.wantTerminalAs(dir + "/before")
}

// wantTerminalAs checks that the terminal is no full-screen page, and has the modes that stty has
// written to a file. The shell is at its prompt.
func (x *terminal) wantTerminalAs(before string) {
	x.t.Helper()
	x.enter("clear") // there may be the line of a former call
	x.await("a clear screen", func(screen []string) bool {
		return strings.TrimSpace(strings.Join(screen, "\n")) == "$"
	})
	x.enter("stty -g >" + before + ".now; echo writ''ten")
	x.awaitLine("written")
	old, err := os.ReadFile(before)
	if err != nil {
		x.t.Fatal(err)
	}
	now, err := os.ReadFile(before + ".now")
	if err != nil || string(now) != string(old) {
		x.t.Errorf("the modes of the terminal are %s, and were %s; %v", now, old, err)
	}
	got := x.tmux("display-message", "-p", "page #{alternate_on} cursor #{cursor_flag} mouse #{mouse_any_flag}")
	if got != "page 0 cursor 1 mouse 0\n" {
		x.t.Errorf("the terminal has %s", got)
	}
}

func TestTopLeavesTheTerminalAsItWasWhenASignalEndsIt(t *testing.T) {
	dir := hundredLocks(t)
	for _, c := range []struct {
		end    func(x *terminal, pid int)
		status int
	}{
		{func(x *terminal, _ int) { x.press("C-c") }, 0},
		{func(_ *terminal, pid int) { syscall.Kill(pid, syscall.SIGTERM) }, 128 + 15},
	} {
		x := openTerminal(t, 80, 24)
		x.enter("stty -g >" + dir + "/before; echo begun")
		x.awaitLine("begun")
		x.enter("sh -c 'echo $$ >" + dir + "/pid; exec lockutils top --path " + dir + "'")
		x.awaitText("lock-42")
		text, err := os.ReadFile(dir + "/pid")
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		c.end(x, pid)
		x.awaitLine("begun")
		x.awaitPrompt()
		x.enter("echo status=$?")
		x.awaitLine(fmt.Sprintf("status=%d", c.status))
		x.wantTerminalAs(dir + "/before")
	}
}

func TestCtrlZSuspendsTopAndFgShowsThePageAgain(t *testing.T) {
	x, dir := openTop(t)
	x.awaitText("lock-42")
	suspend := func() {
		t.Helper()
		x.press("C-z")
		x.awaitText("Stopped")
		x.awaitPrompt()
		x.wantTerminalAs(dir + "/before")
	}
	suspend()
	x.resize(100, 40)
	x.enter("fg")
	x.await("37 locks", func(screen []string) bool { return len(shown(screen)) == 37 })
	x.press("/")
	x.awaitText("filter:")
	x.press("4", "2")
	suspend()
	x.enter("fg")
	x.await("one lock and the filter", func(screen []string) bool {
		return len(shown(screen)) == 1 && slices.Contains(screen, "filter: 42")
	})
	x.press("Escape")
	x.await("all again", func(screen []string) bool { return len(shown(screen)) > 30 })
	x.press("q")
	x.awaitPrompt()
	x.enter("echo status=$?")
	x.awaitLine("status=0")
	x.wantTerminalAs(dir + "/before")
}

func TestTopInATerminalThatIsUnknownSaysWhatToDo(t *testing.T) {
	x := openTerminal(t, 80, 24)
	x.enter("TERM=nonsense lockutils top --path " + t.TempDir() + "; echo status=$?")
	if screen := x.awaitLine("status=64"); !strings.Contains(strings.Join(screen, "\n"), "set TERM") {
		t.Errorf("it says:\n%s", strings.Join(screen, "\n"))
	}
}

// coloured reports whether the screen has colours, other than those that the terminal begins with.
func (x *terminal) coloured() bool {
	x.t.Helper()
	screen := x.tmux("capture-pane", "-p", "-e")
	return regexp.MustCompile(`\x1b\[([0-9;]*;)?(3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]`).MatchString(screen)
}

func TestTopHasColoursUnlessTheUserWantsNone(t *testing.T) {
	dir := hundredLocks(t)
	for variable, want := range map[string]bool{"NO_COLOR=": true, "NO_COLOR=1": false} {
		x := openTerminal(t, 80, 24, variable)
		x.enter("lockutils top --path " + dir)
		x.awaitText("lock-42")
		if got := x.coloured(); got != want {
			t.Errorf("with %s: colours: %t, want %t", variable, got, want)
		}
	}
}
