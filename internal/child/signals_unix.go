//go:build unix

package child

import (
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// termination asks a process to end.
const termination = syscall.SIGTERM

// Endings lists the signals that are passed on and that end a program by default. Those that the
// program was told to ignore, as nohup(1) does with SIGHUP, stay ignored, and the command inherits that.
func Endings() []os.Signal {
	return slices.DeleteFunc([]os.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM,
	}, signal.Ignored)
}

// catchResizes catches SIGWINCH as well, which ends nothing: a command that has not begun needs none. The
// terminal sends it to the command too. SIGTSTP, SIGTTIN, SIGTTOU and SIGCONT are not caught: a shell sends
// them to the whole process group, and their default action stops and continues the program along with its
// command.
func catchResizes(signals chan<- os.Signal) {
	if !signal.Ignored(syscall.SIGWINCH) {
		signal.Notify(signals, syscall.SIGWINCH)
	}
}

// terminalSends reports whether s is one of the signals that a terminal sends to its foreground
// process group while the program, and hence the command, is in that group. The command then has
// the signal already. A SIGINT that kill(1) sends to a program in the foreground looks the same
// and is not passed on.
func terminalSends(s os.Signal) bool {
	switch s {
	case syscall.SIGINT, syscall.SIGQUIT, syscall.SIGWINCH:
		return inForeground()
	}
	return false
}

// inForeground reports whether the program's process group has the controlling terminal.
func inForeground() bool {
	terminal, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false // there is no controlling terminal
	}
	defer func() { _ = unix.Close(terminal) }()
	group, err := unix.IoctlGetInt(terminal, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// EndInterrupted ends the program by SIGINT if Ctrl-C has ended the command, and returns otherwise.
// A shell ends a script if SIGINT ends a command of it. It goes on if the command exits, even with
// status 130.
func EndInterrupted(status syscall.WaitStatus) {
	if !status.Signaled() || status.Signal() != syscall.SIGINT || !inForeground() {
		return
	}
	signal.Reset(syscall.SIGINT)
	_ = unix.Kill(unix.Getpid(), unix.SIGINT)
	time.Sleep(time.Second) // another thread may take the signal
}
