//go:build lockutils_split

package command

import (
	"context"
	_ "embed"
	"fmt"
	"net/url"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The client libraries of the lock services take milliseconds to initialise, which a lock file should
// not pay for. So an installed program has the whole program inside, and becomes that one when it is
// to use a lock service.

//go:embed whole.bin
var whole string

// dialScheme returns only with an error.
func dialScheme(context.Context, *url.URL, serviceOptions) (service, error) {
	fd, err := unix.MemfdCreate("lockutils", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "lockutils")
	defer f.Close()
	if _, err := f.WriteString(whole); err != nil {
		return nil, err
	}
	return nil, os.NewSyscallError("exec", syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), os.Args, os.Environ()))
}
