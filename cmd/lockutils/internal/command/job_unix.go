//go:build unix && !lockutils_split

package command

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// stopJob stops this process and its group, as the terminal does on Ctrl-Z, and returns once a shell has
// resumed them.
func stopJob() {
	resumed := make(chan os.Signal, 1)
	signal.Notify(resumed, syscall.SIGCONT)
	defer signal.Stop(resumed)
	_ = syscall.Kill(0, syscall.SIGTSTP)
	select {
	case <-resumed:
	case <-time.After(time.Second): // the kernel stops no group that no shell can resume
	}
}
