package filelock

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofrs/flock"
)

// keepBusy holds the lock of r for 100 µs at a time without a pause until stop closes, and
// returns the number of holds.
func keepBusy(t *testing.T, r Request, stop <-chan struct{}) (holds int) {
	for {
		select {
		case <-stop:
			return holds
		default:
		}
		h := mustLock(t, r)
		time.Sleep(100 * time.Microsecond)
		mustUnlock(t, h)
		holds++
	}
}

// inBubble runs a test beside a goroutine that keeps the lock of r busy, on a clock of their own.
func inBubble(t *testing.T, r Request, test func(t *testing.T)) (holds int) {
	CloseIdle()
	synctest.Test(t, func(t *testing.T) {
		stop, ended := make(chan struct{}), make(chan int)
		go func() { ended <- keepBusy(t, r, stop) }()
		time.Sleep(50 * time.Microsecond) // the middle of a hold
		test(t)
		close(stop)
		holds = <-ended
		CloseIdle()
	})
	return holds
}

// TestProgramsThatPollGetTheirTurn lets a program poll for a lock file that this process holds
// at each of its tries, unless it leaves the file to it.
func TestProgramsThatPollGetTheirTurn(t *testing.T) {
	for name, r := range map[string]Request{"plain": {}, "fair": {Fair: true}} {
		for _, interval := range []time.Duration{10 * time.Millisecond, 50 * time.Millisecond} {
			t.Run(name+" "+interval.String(), func(t *testing.T) {
				r.Path = lockPath(t)
				inBubble(t, r, func(t *testing.T) {
					turns := 0
					for range 40 {
						poller := flock.New(r.Path)
						granted, err := poller.TryLock()
						if err != nil {
							t.Error(err)
						}
						if granted {
							turns++
						}
						if err := poller.Unlock(); err != nil {
							t.Error(err)
						}
						time.Sleep(interval)
					}
					if turns < 5 {
						t.Errorf("%d turns in 40 tries", turns)
					}
				})
			})
		}
	}
}

// TestNobodyRestsWithoutPollers keeps a lock file busy while a program opens it now and then.
func TestNobodyRestsWithoutPollers(t *testing.T) {
	r := Request{Path: lockPath(t)}
	holds := inBubble(t, r, func(t *testing.T) {
		for range 3 {
			if f, err := os.Open(r.Path); err != nil {
				t.Error(err)
			} else {
				_ = f.Close()
			}
			time.Sleep(2 * pollerMemory)
		}
	})
	if want := int(6 * pollerMemory / (100 * time.Microsecond)); holds < want {
		t.Errorf("%d holds instead of %d", holds, want)
	}
}

// TestRestEndsWithTheRequest abandons a request while it leaves the file to others. A request that
// does not wait is not kept from the lock in that time.
func TestRestEndsWithTheRequest(t *testing.T) {
	for name, r := range map[string]Request{"plain": {}, "fair": {Fair: true}} {
		t.Run(name, func(t *testing.T) {
			r.Path = lockPath(t)
			mustGrant(t, r)
			mustGrant(t, r) // keeps its descriptor
			path := paths.enter(r.Path)
			defer paths.leave(path)
			f := path.idle.file
			p := pollersOf(f)
			p.watch()
			p.rests = true
			mustGrant(t, r)
			if n := f.spins(); n != 0 {
				t.Errorf("%d tries of a request that is to rest", n)
			}
			stop := make(chan struct{})
			close(stop)
			if err := f.wait(Exclusive, time.Hour, stop); err != errStopped {
				t.Error(err)
			}
		})
	}
}

func pollersOf(f lockFile) *pollers {
	if fair, ok := f.(*fairFile); ok {
		return &fair.pollers
	}
	return &f.(*flockFile).pollers
}

// TestWatchesAreFew checks that nothing is watched without need, and that a watch does not
// outlive the descriptor of the lock file.
func TestWatchesAreFew(t *testing.T) {
	r := Request{Path: lockPath(t)}
	before := watches(t)
	for range 100 {
		mustGrant(t, r)
	}
	if n := watches(t); n != before {
		t.Errorf("%d watches for a file that is free", n-before)
	}
	inBubble(t, r, func(t *testing.T) {
		time.Sleep(3 * busyWindow)
		if n := watches(t); n != before+1 {
			t.Errorf("%d watches for one file", n-before)
		}
	})
	if n := watches(t); n != before {
		t.Errorf("%d watches left", n-before)
	}
}

// TestManyBusyFilesLeaveWatchesToOtherPrograms holds many lock files twice, for long enough to be busy, with
// requests that wait for each meanwhile.
func TestManyBusyFilesLeaveWatchesToOtherPrograms(t *testing.T) {
	CloseIdle()
	before, files := watches(t), make([]Request, 3*maxWatches)
	for i := range files {
		files[i].Path = lockPath(t)
	}
	synctest.Test(t, func(t *testing.T) {
		for _, r := range files {
			for range 3 {
				go func() {
					h := mustLock(t, r)
					time.Sleep(2 * busyWindow)
					mustUnlock(t, h)
				}()
			}
		}
		time.Sleep(5 * busyWindow)
		if n := watches(t) - before; n != maxWatches {
			t.Errorf("%d watches", n)
		}
		time.Sleep(2 * busyWindow)
		CloseIdle()
		if n := watches(t) - before; n != 0 || watched.Load() != 0 {
			t.Errorf("%d watches are left, and %d are counted", n, watched.Load())
		}
	})
}

// TestWatchEndsWithBusyTimes keeps a lock file busy for a while, and then pauses between holds.
func TestWatchEndsWithBusyTimes(t *testing.T) {
	r := Request{Path: lockPath(t)}
	before := watches(t)
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		time.AfterFunc(3*busyWindow, func() { close(stop) })
		keepBusy(t, r, stop)
		if n := watches(t); n != before+1 {
			t.Errorf("%d watches for a busy file", n-before)
		}
		time.Sleep(busyWindow)
		mustGrant(t, r)
		if n := watches(t); n != before {
			t.Errorf("%d watches for a file that is not busy", n-before)
		}
		CloseIdle()
	})
}

// watches counts the inotify descriptors of this process.
func watches(t *testing.T) (n int) {
	t.Helper()
	entries, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if target, err := os.Readlink(e); err == nil && target == "anon_inode:inotify" {
			n++
		}
	}
	return n
}
