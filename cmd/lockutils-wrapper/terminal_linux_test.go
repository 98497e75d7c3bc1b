package main

import (
	"bufio"
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal and returns its two ends.
func terminal(t *testing.T) (keyboard, screen *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { _ = keyboard.Close() })
	number, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	return keyboard, screen
}

// A terminal sends SIGINT to the wrapper and to the command, and a test runner that is
// interrupted twice skips its cleanup.
func TestInterruptFromTerminalArrivesOnce(t *testing.T) {
	keyboard, screen := terminal(t)
	cmd := wrapper(t, actor(t, "watch")...)
	cmd.Stdin = screen
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ignoreNothing()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopWhenFailed(t, cmd)
	lines := bufio.NewScanner(stdout)
	expect(t, lines, "ready")
	if _, err := keyboard.Write([]byte{3}); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	expect(t, lines, syscall.SIGINT.String())
	// The wrapper passes signals on in the order in which they arrive: a second SIGINT would come
	// before this.
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	expect(t, lines, syscall.SIGTERM.String())
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("status %v, want the command's 7", cmd.ProcessState)
	}
}
