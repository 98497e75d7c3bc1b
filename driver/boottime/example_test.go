package boottime_test

import (
	"fmt"
	"time"

	"github.com/lockutils/lockutils/driver/boottime"
)

// A deadline that also passes while the machine is suspended.
func ExampleNow() {
	deadline := boottime.Now() + 15*time.Second
	fmt.Println("passed:", boottime.Now() >= deadline)
	// Output: passed: false
}
