package lockutils_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockutils/lockutils"
)

// lockOnTheWay acquires an fcntl lock of a file with a descriptor that has been sent and not received,
// so that no process has it.
func lockOnTheWay(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		t.Fatal(err)
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Close(ends[0])
		_ = unix.Close(ends[1])
	})
	if err := unix.Sendmsg(ends[0], []byte{0}, unix.UnixRights(int(f.Fd())), nil, 0); err != nil {
		t.Fatal(err)
	}
}

func TestSlowWaitForAProcessThatCannotBeTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	lockOnTheWay(t, path)
	r := record(t, slog.LevelWarn)
	lockutils.SetSlowWait(time.Millisecond)
	defer lockutils.SetSlowWait(0)
	l := lockutils.NewInterProcessLock(path, lockutils.WithFcntl(),
		lockutils.WithTimeout(100*time.Millisecond))
	var messages []message
	for len(messages) == 0 {
		err := l.Lock()
		if unsupported(t, err) {
			return
		}
		wantError(t, err, lockutils.ErrTimeout)
		messages = r.take()
	}
	for _, m := range messages {
		// A try holds flock(2) for a moment, so this process may be there too.
		got := fmt.Sprint(m.attrs["holders"])
		if !strings.Contains(got, "a process that cannot be told") || strings.Contains(got, "2147483647") {
			t.Errorf("holders %s", got)
		}
	}
}
