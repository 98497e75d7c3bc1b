package command

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// endWithParent has a command killed if this process is: it must not go on without the lock. The
// kernel does so when the thread ends that has started the command. Go ends no thread before the
// process, but for those of goroutines that are locked to theirs.
var endWithParent = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

// endBeforeRelease has the kernel kill the command before it releases the locks of this process, if this
// process is killed. The signal of endWithParent comes some instants after that, in which the next
// holder may begin. The kernel closes the files of a process in the descending order of their
// descriptors, so the end of a pipe goes before the lock files, and its other end tells the command.
// Without it, or on kernels with another order, there is the signal of endWithParent.
func endBeforeRelease(command, locks int) {
	var pipe [2]int
	if unix.Pipe2(pipe[:], unix.O_CLOEXEC) != nil {
		return
	}
	const usual = 32 // more than the descriptors of this process, without those of the locks
	high, err := unix.FcntlInt(uintptr(pipe[1]), unix.F_DUPFD_CLOEXEC, usual+locks)
	unix.Close(pipe[1])
	if err == nil {
		_, err = unix.FcntlInt(uintptr(pipe[0]), unix.F_SETOWN, command)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(pipe[0]), unix.F_SETSIG, int(unix.SIGKILL))
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(pipe[0]), unix.F_SETFL, unix.O_ASYNC)
	}
	if err != nil {
		unix.Close(pipe[0])
		unix.Close(high)
	}
}

// inheritable returns descriptors of the locked files that a command can inherit.
func inheritable(paths []string) (files []*os.File, err error) {
	descriptors, err := lockedDescriptors(paths)
	if err != nil {
		return nil, err
	}
	for _, fd := range descriptors {
		copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, os.NewSyscallError("fcntl", err)
		}
		files = append(files, os.NewFile(uintptr(copied), "lock"))
	}
	return files, nil
}

// keepOpen has the descriptors of the locked files outlive the replacement of this program.
func keepOpen(paths []string) error {
	descriptors, err := lockedDescriptors(paths)
	if err != nil {
		return err
	}
	for _, fd := range descriptors {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return os.NewSyscallError("fcntl", err)
		}
	}
	return nil
}

func replaceProcess(path string, command []string) error {
	return os.NewSyscallError("exec", syscall.Exec(path, command, os.Environ()))
}

// lockedDescriptors returns the descriptors that this process has of the files. The lock belongs to
// the open file: one that is opened anew would not have it.
func lockedDescriptors(paths []string) (descriptors []int, err error) {
	const open = "/proc/self/fd"
	all, err := os.ReadDir(open)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return nil, err
		}
		for _, d := range all {
			if target, err := os.Readlink(filepath.Join(open, d.Name())); err == nil && target == real {
				fd, err := strconv.Atoi(d.Name())
				if err != nil {
					return nil, err
				}
				descriptors = append(descriptors, fd)
			}
		}
	}
	return descriptors, nil
}
