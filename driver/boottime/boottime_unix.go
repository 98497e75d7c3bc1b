//go:build linux || darwin

package boottime

import (
	"time"

	"golang.org/x/sys/unix"
)

var start = time.Now()

func now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return time.Since(start) // never on the kernels that Go supports
	}
	return time.Duration(t.Nano())
}
