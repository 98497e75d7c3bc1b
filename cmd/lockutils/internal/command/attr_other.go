//go:build !linux

package command

import (
	"errors"
	"os"
	"syscall"
)

// endWithParent does nothing: only Linux can end the command with this process.
var endWithParent *syscall.SysProcAttr

func endBeforeRelease(int, int) {}

var errInherit = errors.New("--inherit and --no-fork work on Linux only")

func inheritable([]string) ([]*os.File, error) { return nil, errInherit }

func keepOpen([]string) error { return errInherit }

func replaceProcess(string, []string) error { return errInherit }
