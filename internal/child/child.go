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
	"time"
)

// Exit statuses of commands that do not run, as env(1), nohup(1) and timeout(1) have them.
const (
	StatusNotExecutable = 126
	StatusNotFound      = 127
)

// CatchSignals keeps signals from ending the program from now on, and returns where they arrive.
// The channel has room for those that come before there is a command to pass them to.
func CatchSignals() <-chan os.Signal {
	signals := make(chan os.Signal, 64)
	for _, s := range passedOn() { // which may be none, and Notify would take that for all
		signal.Notify(signals, s)
	}
	return signals
}

// Start starts the command. If that fails it returns the exit status that says so as well.
func Start(cmd *exec.Cmd) (status int, err error) {
	if err := cmd.Start(); err != nil {
		return StartFailureStatus(cmd.Args[0], err), err
	}
	return 0, nil
}

// Wait passes signals on to a command that runs, and returns its exit status, as a shell would give
// it. Once stop closes it ends the command, by SIGTERM first, and by SIGKILL if it still runs after
// grace. A nil stop never closes. An error means that the command could not be waited for.
func Wait(
	cmd *exec.Cmd, signals <-chan os.Signal, stop <-chan struct{}, grace time.Duration,
) (int, error) {
	ended := make(chan struct{})
	go passSignals(signals, cmd.Process, ended)
	go stopOn(stop, grace, cmd.Process, ended)
	err := cmd.Wait() // a status other than 0 is an error here
	close(ended)
	if cmd.ProcessState == nil {
		return 0, err
	}
	return exitStatus(cmd.ProcessState), nil
}

// passSignals hands what arrives to the process until the process has ended.
func passSignals(signals <-chan os.Signal, process *os.Process, ended <-chan struct{}) {
	// Signals that are here by now may have come before the process existed. They are passed on
	// even if a terminal sent them: a signal that comes twice here is better than one that is
	// lost.
	for range len(signals) {
		_ = process.Signal(<-signals)
	}
	for {
		select {
		case s := <-signals:
			if !terminalSends(s) {
				// The only failure is that the process has ended.
				_ = process.Signal(s)
			}
		case <-ended:
			return
		}
	}
}

// stopOn ends the process when stop closes.
func stopOn(stop <-chan struct{}, grace time.Duration, process *os.Process, ended <-chan struct{}) {
	select {
	case <-stop:
	case <-ended:
		return
	}
	terminate(process)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-timer.C:
		_ = process.Kill()
	case <-ended:
	}
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
