// Lockutils-wrapper runs a command with a temporary lock path.
//
//	lockutils-wrapper [--] command [argument ...]
//
// It creates an empty temporary directory, runs the command with OSLO_LOCK_PATH set to that
// directory, and removes the directory when the command has ended. Programs that use external
// locks of this library or of Python's oslo.concurrency need no other configuration, and two
// concurrent runs never wait for each other. It is meant for test suites:
//
//	lockutils-wrapper go test ./...
//
// The command has the wrapper's standard input, output and error and stays in its process group.
// Signals that would end the wrapper are passed on to the command instead, and so are SIGUSR1,
// SIGUSR2, SIGALRM and SIGWINCH. A terminal sends signals such as SIGINT to the whole foreground
// process group, the command included; the wrapper does not repeat them. Stopping and continuing
// is left to the shell and the kernel.
//
// The directory exists while the command itself runs, but not for processes that outlive the
// command. Only a wrapper killed by SIGKILL leaves the directory behind.
//
// # Exit status
//
//	the command's own   it exited by itself
//	128+n               it was killed by signal n
//	127                 it was not found
//	126                 it was found but could not be run
//	125                 the wrapper failed, for example to create the directory
//	2                   no command was given
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/lockutils/lockutils/internal/child"
)

const usage = `usage: lockutils-wrapper [--] command [argument ...]

Runs the command with OSLO_LOCK_PATH set to a temporary directory, which is
removed when the command has ended, and exits with the command's status.
`

// Exit statuses of the wrapper's own failures.
const (
	statusUsage   = 2
	statusFailure = 125
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

// run runs the command with a temporary lock path and returns the exit status.
func run(command []string) int {
	// From here on, no signal that can be caught ends the wrapper, so that the deferred removal
	// runs.
	signals := child.CatchSignals()

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

	if err := os.Setenv("OSLO_LOCK_PATH", dir); err != nil {
		complain(err)
		return statusFailure
	}
	process, status, err := child.Start(command, nil, nil)
	if err != nil {
		complain(err)
		return status
	}
	ended, err := process.Wait(signals, nil, 0)
	if err != nil {
		complain(err)
		return statusFailure
	}
	return child.ExitStatus(ended)
}

// makeLockDir creates the temporary directory. Its path is absolute, because the command may
// change its working directory.
func makeLockDir() (string, error) {
	parent, err := filepath.Abs(os.TempDir())
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(parent, "lockutils-")
}

func complain(err error) {
	fmt.Fprintln(os.Stderr, "lockutils-wrapper:", err)
}
