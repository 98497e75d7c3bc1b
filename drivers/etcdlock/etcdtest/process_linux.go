package etcdtest

import "syscall"

// dieWithParent has the kernel kill a server whose test has died without stopping it.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
