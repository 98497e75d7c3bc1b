// Package command is the command lockutils, as a package so that its manual pages and completions can
// be made from it.
package command

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
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

// A commandLineError tells a wrong command line from a command that exits with the same status.
type commandLineError struct{ error }

func usageError(format string, args ...any) error {
	return &statusError{statusUsage, commandLineError{fmt.Errorf(format, args...)}}
}

// isUsageError reports whether the command line is wrong. Nothing has been done then.
func isUsageError(err error) bool {
	_, wrong := errors.AsType[commandLineError](err)
	return wrong
}

// errNoLockPath says how to name the directory of the lock files.
var errNoLockPath = &statusError{statusConfig, errors.New(
	"no lock path is known: give --path DIR, or set OSLO_LOCK_PATH")}

// streams are the standard streams of the program.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// report says what is wrong, if there is something to say, and returns the exit status.
func report(stderr io.Writer, err error) (status int) {
	if err == nil {
		return 0
	}
	status = statusFailure
	if e, ok := errors.AsType[*statusError](err); ok {
		status = e.status
	}
	if err.Error() != "" {
		fmt.Fprintln(stderr, "lockutils:", strings.TrimPrefix(err.Error(), "lockutils: "))
	}
	return status
}

// visible returns a name as it is if it can be read in a terminal, or else quoted.
func visible(name string) string {
	hidden := func(r rune) bool { return !strconv.IsPrint(r) }
	if !utf8.ValidString(name) || strings.ContainsFunc(name, hidden) {
		return strconv.Quote(name)
	}
	return name
}
