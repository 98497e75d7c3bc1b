// Package child runs a command on behalf of a program that waits for it: it passes on signals,
// leaves the terminal to the command, and translates its end into an exit status.
package child

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// Exit statuses of commands that do not run, as env(1), nohup(1) and timeout(1) have them.
const (
	StatusNotExecutable = 126
	StatusNotFound      = 127
)

// CatchSignals keeps signals from ending the program from now on, and returns where they arrive.
// The channel has room for those that come before there is a command to pass them to.
func CatchSignals() chan os.Signal {
	signals := make(chan os.Signal, 64)
	for _, s := range Endings() { // which may be none, and Notify would take that for all
		signal.Notify(signals, s)
	}
	return signals
}

// Start starts a command, which has the standard streams and the environment of this program, and the
// inherited files from descriptor 3 on. If that fails Start returns the exit status that says so as well.
func Start(
	args []string, inherited []*os.File, sys *syscall.SysProcAttr,
) (p *Process, status int, err error) {
	path, err := exec.LookPath(args[0])
	if err == nil {
		files := append([]*os.File{os.Stdin, os.Stdout, os.Stderr}, inherited...)
		p, err = start(path, args, &os.ProcAttr{Env: os.Environ(), Files: files, Sys: sys})
	}
	if err != nil {
		return nil, StartFailureStatus(args[0], err), err
	}
	return p, 0, nil
}

// Wait passes signals on to a command that runs, and returns how it has ended. Once stop closes Wait ends
// the command, by SIGTERM first, and by SIGKILL if it still runs after grace. A nil stop never closes.
// An error means that the command could not be waited for.
func (p *Process) Wait(
	signals chan os.Signal, stop <-chan struct{}, grace time.Duration,
) (status syscall.WaitStatus, err error) {
	ended := make(chan error, 1)
	go func() { ended <- p.await() }()
	catchResizes(signals)
	// Signals that are here by now may have come before the process existed. They are passed on
	// even if a terminal sent them: a signal that comes twice here is better than one that is
	// lost.
	for range len(signals) {
		p.signal(<-signals)
	}
	var graceOver <-chan time.Time
	for {
		select {
		case s := <-signals:
			if !terminalSends(s) {
				p.signal(s)
			}
		case <-stop:
			stop = nil
			p.signal(termination)
			graceOver = time.After(grace)
		case <-graceOver:
			p.signal(os.Kill)
		case err := <-ended:
			if err != nil {
				return status, err
			}
			return p.status()
		}
	}
}

// ExitStatus returns the exit status of a command as a shell would give it. A process that was terminated
// on Windows has the status that its terminator chose.
func ExitStatus(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// StartFailureStatus returns the exit status for a command that could not be started. It tells
// one that is not there from one that is but cannot be run.
func StartFailureStatus(name string, err error) int {
	missing := errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist)
	if name == "" || missing && !exists(name) {
		return StatusNotFound
	}
	return StatusNotExecutable
}

// exists reports whether there is a file to which the command's name leads, executable or not.
// The errors of package exec do not tell: it passes over files of PATH without execute
// permission, and a script whose interpreter is missing is reported as missing itself.
func exists(name string) bool {
	if filepath.Base(name) != name {
		return isFile(name)
	}
	return slices.ContainsFunc(filepath.SplitList(os.Getenv("PATH")), func(dir string) bool {
		return isFile(filepath.Join(dir, name))
	})
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
