//go:build !linux

package child

import (
	"os"
	"syscall"
)

// A Process is a command that was started.
type Process struct {
	PID     int
	process *os.Process
	state   *os.ProcessState
}

func start(path string, args []string, attr *os.ProcAttr) (*Process, error) {
	process, err := os.StartProcess(path, args, attr)
	if err != nil {
		return nil, err
	}
	return &Process{PID: process.Pid, process: process}, nil
}

// signal sends a signal, which fails only if the process has ended.
func (p *Process) signal(s os.Signal) { _ = p.process.Signal(s) }

// await waits until the process has ended.
func (p *Process) await() (err error) {
	p.state, err = p.process.Wait()
	return err
}

// status returns how a process has ended that was awaited.
func (p *Process) status() (syscall.WaitStatus, error) {
	return p.state.Sys().(syscall.WaitStatus), nil
}
