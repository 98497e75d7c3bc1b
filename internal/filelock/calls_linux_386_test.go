package filelock

import "golang.org/x/sys/unix"

// The system calls that are made for these.
const (
	sysFcntl   = unix.SYS_FCNTL64
	sysFstat   = unix.SYS_FSTAT64
	sysFstatfs = unix.SYS_FSTATFS64
)
