//go:build !lockutils_split

package command

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Main runs the command line and returns the exit status.
func Main(args []string, in io.Reader, out, stderr io.Writer) int {
	root := New(in, out, stderr)
	root.SetArgs(args)
	if cmd, _, err := root.Find(args); err == nil && cmd.Name() == "run" {
		endAtName(cmd.Flags(), args)
	}
	cmd, err := root.ExecuteC()
	if _, known := errors.AsType[*statusError](err); err != nil && !known {
		err = usageError("%w", err) // what cobra finds wrong is the command line
	}
	status := report(stderr, err)
	if isUsageError(err) {
		fmt.Fprintf(stderr, "usage: %s\nTry \"%s --help\".\n", cmd.UseLine(), cmd.CommandPath())
	}
	return status
}

// New returns the command with its subcommands.
func New(in io.Reader, out, stderr io.Writer) *cobra.Command {
	s := streams{in, out, stderr}
	root := &cobra.Command{
		Use:   "lockutils",
		Short: "Run commands under named locks, and see who holds them",
		Long: "Lockutils takes the same locks as the Go package lockutils and OpenStack's oslo.concurrency:\n" +
			"lock files of a host, or locks kept by etcd, PostgreSQL or Redis for several hosts.",
		Version:           version(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		RunE: func(*cobra.Command, []string) error {
			return usageError("no subcommand is given")
		},
	}
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(stderr)
	root.AddCommand(newRun(s), newWho(s), newList(s), newTop(s), newSweep(s), newGraph(s))
	for _, cmd := range root.Commands() {
		cmd.DisableFlagsInUseLine = true
		cmd.RunE = withStatus(cmd.RunE)
	}
	return root
}

func newRun(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use: "run [options] NAME... -- command [argument...]\n" +
			"  lockutils run [options] NAME command [argument...]\n" +
			"  lockutils run [options] NAME -c 'shell line'",
		Short: "Run a command while holding a lock",
		Long: "Run acquires the lock, or all the locks if there are several names, runs the command, and exits\n" +
			"with its status. A NAME with a slash is the path of the very file to lock.\n\n" +
			"Exit status: the command's own; 128+n if signal n has killed it; 64 if the command line is\n" +
			"wrong; 69 if a lock service or lock file cannot be used; 75 if the lock was not acquired in\n" +
			"time; 76 if it was lost; 78 if no lock path is known; 126 if the command cannot be run; 127 if\n" +
			"it is not found.",
	}
	f := cmd.Flags()
	o := newRunOptions(f)
	cmd.RunE = func(*cobra.Command, []string) error {
		names, command, err := splitRun(f, o)
		if err != nil {
			return err
		}
		return run(s, names, command, o)
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if _, ok := errors.AsType[*pflag.NotExistError](err); ok {
			err = fmt.Errorf(`%w; a name that begins with a hyphen goes between two "--"`, err)
		}
		return err
	})
	return cmd
}

// withStatus tells the errors of a subcommand, such as a full disk, from those that cobra finds in the
// command line.
func withStatus(
	run func(*cobra.Command, []string) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		if _, known := errors.AsType[*statusError](err); err != nil && !known {
			return &statusError{statusFailure, err}
		}
		return err
	}
}

// version returns the version of the module that the program was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
