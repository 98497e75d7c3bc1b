package filelock

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fault lets a system call fail with errno: each time, or if its second argument is one of those
// given.
type fault struct {
	call    uint32
	errno   unix.Errno
	seconds []uint32
}

// Each of these fails in the kernel, as it does on a kernel without such locks, one out of memory
// for them, or a disk that is broken or read-only.
func flockFails(errno unix.Errno, how ...uint32) fault { return fault{unix.SYS_FLOCK, errno, how} }
func fcntlFails(errno unix.Errno, commands ...uint32) fault {
	return fault{sysFcntl, errno, commands}
}
func unlinkFails(errno unix.Errno) fault { return fault{unix.SYS_UNLINKAT, errno, nil} }

// withFault calls f on a thread of its own, for which the kernel lets a system call fail. The
// thread ends with f.
func withFault(t *testing.T, c fault, f func()) {
	t.Helper()
	onThread(t, f, func() error {
		filter := c.filter()
		program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
		return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
	})
}

// filter is a program for the kernel. It sees the number of the call at offset 0, and the lower
// half of its second argument at 24.
func (c fault) filter() (program []unix.SockFilter) {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equals = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		end    = unix.BPF_RET | unix.BPF_K
	)
	fail := unix.SockFilter{Code: end, K: unix.SECCOMP_RET_ERRNO | uint32(c.errno)}
	allow := unix.SockFilter{Code: end, K: unix.SECCOMP_RET_ALLOW}
	program = []unix.SockFilter{{Code: load, K: 0}, {Code: equals, K: c.call, Jt: 1}, allow}
	if len(c.seconds) == 0 {
		return append(program, fail)
	}
	program = append(program, unix.SockFilter{Code: load, K: 24})
	for _, second := range c.seconds {
		program = append(program, unix.SockFilter{Code: equals, K: second, Jf: 1}, fail)
	}
	return append(program, allow)
}

// onThread calls f on a thread of its own, which is prepared first and ends with f. It skips the
// test if this system does not let it prepare the thread.
func onThread(t *testing.T, f func(), prepare func() error) {
	t.Helper()
	var refused error
	done := make(chan struct{})
	var run func()
	run = func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread does not end, and stands for the process in /proc. While it is
			// locked others are used.
			defer runtime.UnlockOSThread()
			go run()
			<-done
			return
		}
		defer close(done) // and with the goroutine the thread ends, since it is still locked
		if refused = prepare(); refused == nil {
			f()
		}
	}
	go run()
	<-done
	if refused != nil {
		t.Skip("cannot prepare a thread: ", refused)
	}
	if t.Failed() {
		t.FailNow()
	}
}

func TestFailedLockHoldsNothing(t *testing.T) {
	ofd := []uint32{unix.F_OFD_SETLK, unix.F_OFD_SETLKW, unix.F_OFD_GETLK}
	for name, c := range map[string]struct {
		fault fault
		r     Request
		want  error
	}{
		"no flock":             {flockFails(unix.ENOLCK), Request{}, unix.ENOLCK},
		"no flock, shared":     {flockFails(unix.ENOLCK), Request{Mode: Shared}, unix.ENOLCK},
		"no flock, fcntl":      {flockFails(unix.ENOLCK), Request{Fcntl: true}, unix.ENOLCK},
		"no flock, fair":       {flockFails(unix.ENOLCK), Request{Fair: true}, unix.ENOLCK},
		"no record lock":       {fcntlFails(unix.ENOLCK, unix.F_OFD_SETLK), Request{Fcntl: true}, unix.ENOLCK},
		"no record lock, fair": {fcntlFails(unix.ENOLCK, unix.F_OFD_GETLK), Request{Fair: true}, unix.ENOLCK},
		"old kernel, fcntl":    {fcntlFails(unix.EINVAL, ofd...), Request{Fcntl: true}, errors.ErrUnsupported},
		"old kernel, fcntl, shared": {fcntlFails(unix.EINVAL, ofd...), Request{Fcntl: true, Mode: Shared},
			errors.ErrUnsupported},
		"old kernel, fair":   {fcntlFails(unix.EINVAL, ofd...), Request{Fair: true}, errors.ErrUnsupported},
		"file not described": {fault{sysFstat, unix.EIO, nil}, Request{}, unix.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T) {
				r, want := c.r, c.want
				r.Path = lockPath(t)
				if files == engine(portableEngine{}) && (r.Fcntl || r.Fair) {
					want = errors.ErrUnsupported
				}
				withFault(t, c.fault, func() { mustFail(t, r, want) })
				r.Fcntl, r.Fair, r.Mode = false, false, Exclusive
				mustBeFree(t, r)
				if files == engine(systemEngine{}) {
					r = c.r
					r.Path = lockPath(t)
					mustGrant(t, r)
				}
			})
		})
	}
}

func TestOldKernelServesPlainRequests(t *testing.T) {
	r := Request{Path: lockPath(t)}
	withFault(t, fcntlFails(unix.EINVAL, unix.F_OFD_SETLK, unix.F_OFD_GETLK), func() {
		mustUnlock(t, mustLock(t, r))
		if err := Remove(r.Path); err != nil {
			t.Error(err)
		}
	})
	if _, err := os.Lstat(r.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestFailedUnlockFreesTheLock(t *testing.T) {
	for _, r := range []Request{{}, {Mode: Shared}, {Fcntl: true}, {Fair: true}} {
		r.Path = lockPath(t)
		h := mustLock(t, r)
		withFault(t, flockFails(unix.EIO, unix.LOCK_UN), func() {
			if err := h.Unlock(); !errors.Is(err, unix.EIO) {
				t.Errorf("%+v: %v", r, err)
			}
		})
		mustBeFree(t, Request{Path: r.Path})
		mustGrant(t, r)
	}
}

func TestRefusedTryLeavesNothingThatFailsToUnlock(t *testing.T) {
	r := Request{Path: lockPath(t)}
	other := newPeer(t)
	other.must("lock", r)
	before := openFiles(t)
	withFault(t, flockFails(unix.EIO, unix.LOCK_UN), func() { mustRefuse(t, r) })
	if n := openFiles(t); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
	other.must("unlock", r)
	mustGrant(t, r)
}

// TestFailedWaitLeavesTheLine lets a wait for one's turn fail, and checks that those behind are
// served.
func TestFailedWaitLeavesTheLine(t *testing.T) {
	r := Request{Path: lockPath(t), Fair: true}
	other := newPeer(t)
	other.must("lock", r)
	next := enqueue(t, r, 1)[0]
	first := standing(t, r.Path)
	withFault(t, fcntlFails(unix.ENOLCK, unix.F_OFD_SETLKW), func() {
		if h, err := Lock(context.Background(), r); !errors.Is(err, unix.ENOLCK) {
			t.Errorf("%v, %v", h, err)
		}
	})
	if n := standing(t, r.Path); n != first {
		t.Errorf("the queue is %d long instead of %d", n, first)
	}
	later := enqueue(t, r, 1)[0]
	other.must("unlock", r)
	for _, p := range []peer{next, later} {
		if got := p.answer(); got != "ok" {
			t.Fatal(got)
		}
		p.must("unlock", r)
	}
	mustGrant(t, r)
}

// TestNobodyWaitsWithAByteBelowItsOwn lets a process fail to give back the byte of a neighbour
// who left out of turn: it must not wait then, since that could close a circle.
func TestNobodyWaitsWithAByteBelowItsOwn(t *testing.T) {
	r := Request{Path: lockPath(t), Fair: true}
	holder := mustLock(t, r)
	ahead := enqueue(t, r, 2)
	q := queueFile{path: queueFileOf(r.Path), perm: 0o600, fd: -1}
	defer q.close()
	if first, err := q.isFirst(); first || err != nil {
		t.Fatalf("first: %v, %v", first, err)
	}
	ahead[1].kill()
	withFault(t, fcntlFails(unix.EIO, unix.F_OFD_SETLK), func() {
		if err := q.untilFirst(); !errors.Is(err, unix.EIO) {
			t.Error(err)
		}
	})
	q.close() // as the owner of a queue that failed does
	mustUnlock(t, holder)
	if got := ahead[0].answer(); got != "ok" {
		t.Fatal(got)
	}
	ahead[0].must("unlock", r)
	mustGrant(t, r)
}

// TestUnknownFileSystemIsAskedAgain lets the question fail if a file system is remote: no answer
// must be remembered.
func TestUnknownFileSystemIsAskedAgain(t *testing.T) {
	r := Request{Path: lockPath(t)}
	var st unix.Stat_t
	if err := unix.Stat(os.TempDir(), &st); err != nil {
		t.Fatal(err)
	}
	remoteDevices.mu.Lock()
	delete(remoteDevices.byDevice, uint64(st.Dev))
	remoteDevices.mu.Unlock()
	withFault(t, fault{sysFstatfs, unix.EIO, nil}, func() { mustFail(t, r, unix.EIO) })
	f, err := files.open(r.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if _, ok := f.(*flockFile); !ok {
		t.Errorf("%T", f)
	}
}

// TestFailedRemovalHoldsNothing lets a removal fail, and checks that the file stays and is free.
func TestFailedRemovalHoldsNothing(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			fault fault
			want  error
		}{
			"read-only":          {unlinkFails(unix.EROFS), unix.EROFS},
			"no record lock":     {fcntlFails(unix.ENOLCK, unix.F_OFD_SETLK), unix.ENOLCK},
			"record lock hidden": {fcntlFails(unix.EIO, unix.F_OFD_GETLK), unix.EIO},
			"no flock":           {flockFails(unix.ENOLCK), unix.ENOLCK},
		} {
			if name == "record lock hidden" && files == engine(portableEngine{}) {
				continue // which does not look for any
			}
			t.Run(name, func(t *testing.T) {
				r := Request{Path: lockPath(t)}
				mustGrant(t, r)
				if err := os.WriteFile(queueFileOf(r.Path), nil, 0o600); err != nil {
					t.Fatal(err)
				}
				withFault(t, c.fault, func() {
					if err := Remove(r.Path); !errors.Is(err, c.want) {
						t.Errorf("Remove: %v", err)
					}
					if found, err := RemoveIdle(r.Path, 0); !errors.Is(err, c.want) {
						t.Errorf("RemoveIdle: %v, %v", found, err)
					}
				})
				if _, err := os.Lstat(r.Path); err != nil {
					t.Error(err)
				}
				mustBeFree(t, r)
				if err := Remove(r.Path); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// TestFileThatAStrangerRemovesFirst lets the kernel say that the file and its queue file are gone
// when they are about to be unlinked.
func TestFileThatAStrangerRemovesFirst(t *testing.T) {
	eachEngine(t, func(t *testing.T) {
		r := Request{Path: lockPath(t)}
		mustGrant(t, r)
		if err := os.WriteFile(queueFileOf(r.Path), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		withFault(t, unlinkFails(unix.ENOENT), func() {
			if err := Remove(r.Path); err != nil {
				t.Error(err)
			}
			if found, err := RemoveIdle(r.Path, 0); found == Idle || err != nil {
				t.Errorf("found: %v, %v", found, err)
			}
		})
		mustBeFree(t, r)
		if err := os.Remove(r.Path); err != nil {
			t.Fatal(err)
		}
		withFault(t, unlinkFails(unix.ENOENT), func() {
			if _, err := RemoveIdle(queueFileOf(r.Path), 0); err != nil {
				t.Error(err)
			}
		})
		mustGrant(t, r)
	})
}
