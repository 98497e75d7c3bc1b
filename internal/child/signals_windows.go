package child

import (
	"os"
	"syscall"
)

// termination ends a process, which Windows cannot ask to end.
const termination = syscall.SIGKILL

// Endings lists Ctrl-C and Ctrl-Break, which arrive as os.Interrupt, and the closing of the console,
// which arrives as SIGTERM.
func Endings() []os.Signal {
	return []os.Signal{os.Interrupt, syscall.SIGTERM}
}

// catchResizes does nothing: a console has no signal for them.
func catchResizes(chan<- os.Signal) {}

// terminalSends reports true: every process of a console gets its events directly, and no others
// can be caught.
func terminalSends(os.Signal) bool {
	return true
}

// EndInterrupted does nothing: Ctrl-C ends scripts on Windows whatever the statuses of their programs are.
func EndInterrupted(syscall.WaitStatus) {}
