// Package boottime reads a clock that never steps and also runs while the machine is suspended.
// The deadlines of [github.com/lockutils/lockutils/driver.Hold] are readings of it.
//
// Go's own monotonic clock does not serve: it stands still while a machine is suspended, and a
// lease at a lock service does not.
package boottime

import "time"

// Now returns the time since an instant in the past that is the same for the whole life of the
// process. On systems that have no such clock, suspended time does not count.
func Now() time.Duration { return now() }
