package boottime

import "golang.org/x/sys/unix"

// On Darwin this clock also runs while the machine sleeps.
const clock = unix.CLOCK_MONOTONIC
