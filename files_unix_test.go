//go:build unix

package lockutils_test

import (
	"net"
	"syscall"
)

// specialFiles are what can be in a lock file's place on this system, besides the usual.
var specialFiles = map[string]func(path string) error{
	"a pipe": func(path string) error { return syscall.Mkfifo(path, 0o600) },
	"a socket": func(path string) error {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false)
		return l.Close()
	},
}
