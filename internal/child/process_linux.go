package child

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Process is a command that was started. Package os would start a process more at the first start, to see
// what the kernel can do, and that takes a tenth of a millisecond.
type Process struct{ PID int }

func start(path string, args []string, attr *os.ProcAttr) (*Process, error) {
	descriptors := make([]uintptr, len(attr.Files))
	for i, f := range attr.Files {
		descriptors[i] = f.Fd()
	}
	pid, err := syscall.ForkExec(path, args,
		&syscall.ProcAttr{Env: attr.Env, Files: descriptors, Sys: attr.Sys})
	if err != nil {
		return nil, &fs.PathError{Op: "fork/exec", Path: path, Err: err}
	}
	return &Process{pid}, nil
}

// signal sends a signal to a process whose status was not asked for: until then no other one can have
// its number.
func (p *Process) signal(s os.Signal) { _ = unix.Kill(p.PID, s.(syscall.Signal)) }

// await waits until the process has ended.
func (p *Process) await() error {
	for {
		err := unix.Waitid(unix.P_PID, p.PID, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return os.NewSyscallError("waitid", err)
		}
	}
}

// status returns how a process has ended that was awaited.
func (p *Process) status() (status syscall.WaitStatus, err error) {
	_, err = syscall.Wait4(p.PID, &status, 0, nil)
	return status, os.NewSyscallError("wait4", err)
}
