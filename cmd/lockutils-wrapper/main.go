// Lockutils-wrapper runs a command with a lock directory of its own.
//
//	lockutils-wrapper [--] command [argument ...]
//
// It makes an empty temporary directory, runs the command with OSLO_LOCK_PATH naming that directory, and removes the
// directory when the command has ended. Programs that take external locks through this library, or through Python's
// oslo.concurrency, need no other configuration, and two runs side by side never wait for each other. Test suites are
// what it is for:
//
//	lockutils-wrapper go test ./...
//
// The command has the wrapper's standard input, output and error and stays in its process group. Signals that would
// end the wrapper are passed on to the command instead, and so are SIGUSR1, SIGUSR2, SIGALRM and SIGWINCH. What a
// terminal sends to the whole foreground process group, such as SIGINT on Ctrl-C, reaches the command without the
// wrapper, which then does not repeat it. Stopping and continuing is left to the shell and the kernel.
//
// The directory is the command's for as long as the command itself runs, not for as long as processes that it leaves
// behind do. Only a wrapper that is killed by SIGKILL leaves the directory behind.
//
// # Exit status
//
//	the command's own   it ended by itself
//	128+n               it was killed by signal n
//	127                 it was not found
//	126                 it was found but could not be run
//	125                 the wrapper itself failed, for one because the directory could not be made
//	2                   no command was given
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
)

const usage = `usage: lockutils-wrapper [--] command [argument ...]

Runs the command with OSLO_LOCK_PATH set to a temporary directory, which is
removed when the command has ended, and exits with the command's status.
`

// Statuses of the wrapper's own failures, as env(1), nohup(1) and timeout(1) have them.
const (
	statusUsage         = 2
	statusFailure       = 125
	statusNotExecutable = 126
	statusNotFound      = 127
)

func main() {
	command, status := parse(os.Args[1:], os.Stdout, os.Stderr)
	if command != nil {
		status = run(command)
	}
	os.Exit(status)
}

// parse returns the command and its arguments, or nil and the status to exit with.
func parse(args []string, stdout, stderr io.Writer) (command []string, status int) {
	if len(args) > 0 {
		switch args[0] {
		case "-h", "--help":
			fmt.Fprint(stdout, usage)
			return nil, 0
		case "--":
			args = args[1:]
		}
	}
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return nil, statusUsage
	}
	return args, 0
}

// run runs the command with a lock directory of its own and returns the status to exit with.
func run(command []string) int {
	// From here on no signal that can be caught ends the wrapper, so the deferred removal always comes to run. The
	// buffer keeps those that arrive before there is a command to pass them to.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, passedOn()...)

	dir, err := makeLockDir()
	if err != nil {
		complain(err)
		return statusFailure
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			complain(err)
		}
	}()

	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "OSLO_LOCK_PATH="+dir)
	if err := cmd.Start(); err != nil {
		complain(err)
		return startFailureStatus(command[0], err)
	}
	ended := make(chan struct{})
	go passSignals(signals, cmd.Process, ended)
	err = cmd.Wait() // a status other than 0 is an error here, and none of ours
	close(ended)
	if cmd.ProcessState == nil {
		complain(err)
		return statusFailure
	}
	return exitStatus(cmd.ProcessState)
}

// makeLockDir makes the temporary directory. Its path is absolute, because the command may change its directory.
func makeLockDir() (string, error) {
	parent, err := filepath.Abs(os.TempDir())
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(parent, "lockutils-")
}

// passSignals hands what arrives to the process until the process has ended.
func passSignals(signals <-chan os.Signal, process *os.Process, ended <-chan struct{}) {
	// What has arrived by now may have come before the process existed. It is passed on even if a terminal sent it: a
	// signal that comes twice here is better than one that is lost.
	for range len(signals) {
		_ = process.Signal(<-signals)
	}
	for {
		select {
		case s := <-signals:
			if !terminalSends(s) {
				// The only failure is that the process has ended, and then there is nobody to tell.
				_ = process.Signal(s)
			}
		case <-ended:
			return
		}
	}
}

// startFailureStatus tells a command that is not there from one that is but cannot be run.
func startFailureStatus(name string, err error) int {
	missing := errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist)
	if name == "" || missing && !exists(name) {
		return statusNotFound
	}
	return statusNotExecutable
}

// exists reports whether there is a file to which the command's name leads, executable or not. The errors of package
// exec do not tell: it passes over files of PATH without execute permission, and a script whose interpreter is missing
// is reported as missing itself.
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

func complain(err error) {
	fmt.Fprintln(os.Stderr, "lockutils-wrapper:", err)
}
