package prove

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/lockutils/lockutils/internal/filelock"
	"golang.org/x/sys/unix"
)

// resources counts what a process holds.
type resources struct {
	goroutines  int
	descriptors int
	blocked     int // threads that wait in the kernel for a lock
}

func currentResources() resources {
	filelock.CloseIdle()
	blocked := blockedThreads(
		os.Getpid(),
	) // first: reading a file opens descriptors that the runtime keeps
	return resources{runtime.NumGoroutine(), len(names("/proc/self/fd")), blocked}
}

// grace is the time that released resources have to go.
const grace = 10 * time.Second

// leftover describes what the process holds beyond before once limit has passed. It returns "" as
// soon as there is nothing.
func (before resources) leftover(limit time.Duration) string {
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		now := currentResources()
		if now.goroutines <= before.goroutines && now.descriptors <= before.descriptors &&
			now.blocked <= before.blocked {
			return ""
		}
		if time.Since(start) > limit {
			return fmt.Sprintf("%+v, before %+v; goroutines:\n%s", now, before, stacks())
		}
	}
}

// fcntlCall is the number of the system call fcntl: the one with 64-bit offsets if there are two.
var fcntlCall = cmp.Or(map[string]int{"386": 221, "arm": 221}[runtime.GOARCH], unix.SYS_FCNTL)

// blockedThreads counts the threads of a process that wait in the kernel for a file lock.
func blockedThreads(pid int) (n int) {
	tasks := fmt.Sprintf("/proc/%d/task", pid)
	for _, task := range names(tasks) {
		text, _ := os.ReadFile(filepath.Join(tasks, task, "syscall"))
		var call, fd, how int
		if _, err := fmt.Sscanf(string(text), "%d 0x%x 0x%x", &call, &fd, &how); err != nil {
			continue
		}
		if call == unix.SYS_FLOCK && how&unix.LOCK_NB == 0 || call == fcntlCall && how == unix.F_OFD_SETLKW {
			n++
		}
	}
	return n
}

// names returns the sorted names in a directory, or nil if it cannot be read.
func names(dir string) (names []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}
