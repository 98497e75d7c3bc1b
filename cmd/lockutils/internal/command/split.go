//go:build lockutils_split

package command

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// The libraries of the terminal page, of HTTP and of the lock services take milliseconds to
// initialise, and cobra tenths of one, which "run" with a lock file should not pay for. So an installed
// program can do that and no more. It has the whole program inside, and becomes that one for all else: it
// also has the whole program say what is wrong with a command line.

//go:embed whole.bin
var whole string

// Main runs the command line and returns the exit status.
func Main(args []string, in io.Reader, out, stderr io.Writer) int {
	if o, names, command, ok := parseRun(args); ok {
		err := run(streams{in, out, stderr}, names, command, o)
		if !isUsageError(err) {
			return report(stderr, err)
		}
	}
	return report(stderr, fmt.Errorf("cannot start the whole program: %w", becomeWhole()))
}

// parseRun returns what the command line says if it is right, and one that this program can run.
func parseRun(args []string) (o *runOptions, names, command []string, ok bool) {
	if len(args) == 0 || args[0] != "run" {
		return nil, nil, nil, false
	}
	f := pflag.NewFlagSet("run", pflag.ContinueOnError)
	f.Usage = func() {}
	o = newRunOptions(f)
	endAtName(f, args)
	if f.Parse(args[1:]) != nil || o.on != "" {
		return nil, nil, nil, false
	}
	names, command, err := splitRun(f, o)
	return o, names, command, err == nil
}

// becomeWhole returns only with an error.
func becomeWhole() error {
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

// dialScheme is not reached: parseRun has left lock services to the whole program.
func dialScheme(context.Context, *url.URL, serviceOptions) (service, error) {
	return nil, errors.ErrUnsupported
}
