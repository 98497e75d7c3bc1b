// Package command is the command lockutils, as a package so that its manual pages and completions can
// be made from it.
package command

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// Exit statuses of the command's own, as in sysexits.h.
const (
	statusFailure     = 1
	statusUsage       = 64 // the command line is wrong
	statusUnavailable = 69 // a lock service or a lock file cannot be used
	statusConflict    = 75 // the lock could not be acquired in time
	statusLost        = 76 // the lock was lost while the command ran
	statusConfig      = 78 // no lock path is known
)

// A statusError ends the program with a status of its own.
type statusError struct {
	status int
	err    error // nil if there is nothing more to say
}

func (e *statusError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &statusError{statusUsage, fmt.Errorf(format, args...)}
}

// errNoLockPath says how to name the directory of the lock files.
var errNoLockPath = &statusError{statusConfig, errors.New(
	"no lock path is known: give --path DIR, or set OSLO_LOCK_PATH")}

// streams are the standard streams of the program.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// Main runs the command line and returns the exit status.
func Main(args []string, in io.Reader, out, stderr io.Writer) int {
	if err := delegate(args); err != nil {
		fmt.Fprintln(stderr, "lockutils: cannot start the whole program:", err)
		return statusFailure
	}
	root := New(in, out, stderr)
	root.SetArgs(args)
	prepareRun(root, args)
	cmd, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	status := statusUsage // what cobra finds wrong is the command line
	if e, ok := errors.AsType[*statusError](err); ok {
		status = e.status
	}
	if err.Error() != "" {
		fmt.Fprintln(stderr, "lockutils:", strings.TrimPrefix(err.Error(), "lockutils: "))
	}
	if status == statusUsage {
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
	root.AddCommand(commands(s)...)
	for _, cmd := range root.Commands() {
		cmd.DisableFlagsInUseLine = true
		cmd.RunE = withStatus(cmd.RunE)
	}
	return root
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

// visible returns a name as it is if it can be read in a terminal, or else quoted.
func visible(name string) string {
	hidden := func(r rune) bool { return !strconv.IsPrint(r) }
	if !utf8.ValidString(name) || strings.ContainsFunc(name, hidden) {
		return strconv.Quote(name)
	}
	return name
}

// version returns the version of the module that the program was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}

// prepareRun has the flags of "run" end at the first name, as in flock(1), unless a double hyphen says
// where the command begins.
func prepareRun(root *cobra.Command, args []string) {
	if cmd, _, err := root.Find(args); err == nil && cmd.Name() == "run" {
		cmd.Flags().SetInterspersed(slices.Contains(args, "--"))
	}
}
