//go:build lockutils_split

package command

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// The libraries of the terminal page, of HTTP and of the lock services take milliseconds to
// initialise, which "run" with a lock file should not pay for. So an installed program can do that and
// no more. It has the whole program inside, and becomes that one for all else.

//go:embed whole.bin
var whole string

func commands(s streams) []*cobra.Command { return []*cobra.Command{newRun(s)} }

// delegate returns only with an error, or if this program does the work itself.
func delegate(args []string) error {
	service := func(arg string) bool { return strings.HasPrefix(arg, "--on") }
	if len(args) > 0 && args[0] == "run" && !slices.ContainsFunc(args, service) {
		return nil
	}
	fd, err := unix.MemfdCreate("lockutils", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	defer unix.Close(fd)
	for rest := whole; len(rest) > 0; {
		n, err := syscall.Write(fd, []byte(rest[:min(len(rest), 1<<20)]))
		if err != nil && err != syscall.EINTR {
			return os.NewSyscallError("write", err)
		}
		rest = rest[max(n, 0):]
	}
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	return os.NewSyscallError("exec", syscall.Exec(path, os.Args, os.Environ()))
}

// dialScheme is not reached: delegate has left lock services to the whole program.
func dialScheme(context.Context, *url.URL, serviceOptions) (service, error) {
	return nil, errors.ErrUnsupported
}
