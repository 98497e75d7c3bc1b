//go:build !386

package filelock

import "golang.org/x/sys/unix"

// The system calls that are made for these.
const (
	sysFcntl   = unix.SYS_FCNTL
	sysFstat   = unix.SYS_FSTAT
	sysFstatfs = unix.SYS_FSTATFS
)
