package child

import (
	"os"
	"syscall"
)

// Endings lists Ctrl-C and Ctrl-Break, which arrive as os.Interrupt, and the closing of the console,
// which arrives as SIGTERM.
func Endings() []os.Signal {
	return []os.Signal{os.Interrupt, syscall.SIGTERM}
}

// passedOn lists what the program outlives.
func passedOn() []os.Signal { return Endings() }

// terminalSends reports true: every process of a console gets its events directly, and no others
// can be caught.
func terminalSends(os.Signal) bool {
	return true
}

// EndInterrupted does nothing: Ctrl-C ends scripts on Windows whatever the statuses of their programs are.
func EndInterrupted(*os.ProcessState) {}

// terminate ends the process, which Windows cannot ask to end.
func terminate(p *os.Process) { _ = p.Kill() }

// exitStatus returns the command's status. A process that was terminated has the status that its
// terminator chose.
func exitStatus(state *os.ProcessState) int {
	return state.ExitCode()
}
