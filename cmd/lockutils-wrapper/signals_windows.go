package main

import (
	"os"
	"syscall"
)

// passedOn lists what the wrapper outlives, so that it can remove the directory: Ctrl-C and Ctrl-Break, which arrive as
// os.Interrupt, and the closing of the console, which arrives as SIGTERM.
func passedOn() []os.Signal {
	return []os.Signal{os.Interrupt, syscall.SIGTERM}
}

// terminalSends reports true: every process of a console gets its events directly, and no others can be caught.
func terminalSends(os.Signal) bool {
	return true
}

// exitStatus returns the command's status; a process that was terminated has the status that its terminator chose.
func exitStatus(state *os.ProcessState) int {
	return state.ExitCode()
}
