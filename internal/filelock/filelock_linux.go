package filelock

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

// systemEngine locks with flock(2), and on request with an open file description (OFD) record
// lock as well. It leaves network file systems to the portable engine.
type systemEngine struct{}

// blocked bounds the threads of this process that wait in the kernel. Waits beyond the bound poll.
var blocked = semaphore.NewWeighted(64)

const (
	// quickTries is how often to try before a wait costs a thread: many locks are held for a few
	// microseconds only.
	quickTries = 6
	// firstInterval is the first interval of a poll.
	firstInterval = 100 * time.Microsecond
	// pollerGap is the same where others may poll for the file at intervals of 10 to 100 ms, as
	// Python programs do. Only if waiters here leave the file free for a while will such a poller
	// ever find it so.
	pollerGap = time.Millisecond
	// minBackoff and maxBackoff bound the time for which this process leaves such a file alone
	// after a hold. Else its goroutines could pass the lock on without end among themselves.
	minBackoff = 50 * time.Microsecond
	maxBackoff = 10 * time.Millisecond
)

func (systemEngine) open(r Request) (lockFile, error) {
	f, err := openFlock(r)
	if err != nil {
		return nil, err
	}
	remote, err := remoteType(f.fd, f.id.dev)
	if err != nil {
		f.close()
		return nil, pathError("statfs", r.Path, err)
	}
	if remote != "" {
		f.close()
		return portableEngine{fileSystem: remote}.open(r)
	}
	if r.Fair {
		return newFairFile(f, r), nil
	}
	return f, nil
}

// descriptorLimit returns how many descriptors the process may have open, or 0 if that is unknown.
func descriptorLimit() uint64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return limit.Cur
}

// flockFile is a lock file on a local file system.
type flockFile struct {
	path     string
	fd       int
	id       identity
	writable bool
	fcntl    bool // take a record lock too

	// With fcntl the process backs off after a hold for as long as the hold took, at most
	// maxBackoff.
	taken        time.Time // zero if not held
	backoffUntil time.Time

	pollers pollers // without fcntl
}

func openFlock(r Request) (*flockFile, error) {
	f := &flockFile{
		path: r.Path, fcntl: r.Fcntl, writable: needsWriting(r),
		pollers: pollers{path: r.Path},
	}
	access := unix.O_RDONLY
	if f.writable {
		access = unix.O_RDWR
	}
	var err error
	f.fd, f.id, err = openRegular(r.Path, access, r.Perm)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// needsWriting tells if the kernel demands a file opened for writing: it does for an exclusive
// record lock.
func needsWriting(r Request) bool { return r.Fcntl && r.Mode == Exclusive }

func (f *flockFile) serves(r Request) bool {
	return !r.Fair && f.fcntl == r.Fcntl && (f.writable || !needsWriting(r))
}

func (f *flockFile) spins() int {
	switch {
	case f.pollers.rests:
		return 0
	case f.fcntl && time.Now().Before(f.backoffUntil):
		return 0
	case f.fcntl:
		return 1
	}
	return quickTries
}

func (f *flockFile) try(m Mode) (bool, error) {
	err := f.flock(flockHow(m) | unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil || !f.fcntl {
		return err == nil, err
	}
	// Nobody may be left without the first lock because of a wait for the second.
	granted, err := f.tryRecord(m)
	if !granted {
		err = errors.Join(err, f.flock(unix.LOCK_UN))
	}
	return granted, err
}

func (f *flockFile) tryRecord(m Mode) (bool, error) {
	kind := int16(unix.F_WRLCK)
	if m == Shared {
		kind = unix.F_RDLCK
	}
	granted, err := setRecord(f.fd, kind, 0, 0)
	if granted {
		f.taken = time.Now()
	}
	return granted, pathError("fcntl", f.path, err)
}

func (f *flockFile) wait(m Mode, delay time.Duration, stop <-chan struct{}) error {
	try := func() (bool, error) { return f.try(m) }
	if f.fcntl {
		if !sleep(time.Until(f.backoffUntil), stop) {
			return errStopped
		}
		return poll(pollerGap, delay, stop, try)
	}
	if !f.pollers.rest(stop) {
		return errStopped
	}
	return block(delay, stop, try, func() error { return f.flock(flockHow(m)) })
}

// block calls wait, which waits in the kernel, as soon as there is a thread for it. Until then it
// polls with try.
func block(delay time.Duration, stop <-chan struct{}, try func() (bool, error), wait func() error) error {
	admitted := blocked.TryAcquire(1)
	if !admitted {
		err := poll(firstInterval, delay, stop, func() (bool, error) {
			if admitted = blocked.TryAcquire(1); admitted {
				return true, nil
			}
			return try()
		})
		if !admitted {
			return err
		}
	}
	defer blocked.Release(1)
	return wait()
}

func (f *flockFile) polls() bool { return f.fcntl }

// probe works on the very file that waits. The kernel grants it the lock if it has it already, or
// if the lock is free, and then ends the wait with it.
func (f *flockFile) probe(m Mode) bool {
	if f.fcntl {
		return false
	}
	granted, err := f.try(m)
	return granted && err == nil
}

func (f *flockFile) current() (bool, time.Time, error) {
	return leadsTo(f.path, f.id)
}

func (f *flockFile) touch() {
	now := unix.Timespec{Nsec: unix.UTIME_NOW}
	_ = unix.UtimesNanoAt(unix.AT_FDCWD, f.path, []unix.Timespec{now, now}, unix.AT_SYMLINK_NOFOLLOW)
}

func (f *flockFile) holdEnds(taken, now time.Time) {
	if !f.fcntl {
		f.pollers.holdEnds(taken, now)
	}
}

func (f *flockFile) unlock() error {
	var err error
	if f.fcntl {
		_, err = setRecord(f.fd, unix.F_UNLCK, 0, 0)
		err = pathError("fcntl", f.path, err)
		f.backOff()
	}
	return errors.Join(err, f.flock(unix.LOCK_UN))
}

// backOff notes how long this process leaves the file to others after the hold that ends now.
func (f *flockFile) backOff() {
	if f.taken.IsZero() {
		return
	}
	now := time.Now()
	if pause := min(now.Sub(f.taken), maxBackoff); pause >= minBackoff {
		f.backoffUntil = now.Add(pause)
	}
	f.taken = time.Time{}
}

func (f *flockFile) unused() error {
	if err := f.refuseRecordHolders(); err != nil {
		return err
	}
	return checkQueueFile(queueFileOf(f.path))
}

func (f *flockFile) remove() error {
	err := f.refuseRecordHolders()
	if err == nil {
		err = removeQueueFile(queueFileOf(f.path))
	}
	if err == nil {
		err = pathError("unlink", f.path, unix.Unlink(f.path))
	}
	err = errors.Join(err, f.unlock())
	f.close()
	return err
}

// refuseRecordHolders returns ErrLocked if somebody has a record lock on the file: a program that
// uses only this kind of lock holds it then, in spite of ours.
func (f *flockFile) refuseRecordHolders() error {
	holder, err := firstRecord(f.fd, 0, 0)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return nil // such a kernel does not tell
	case err == nil && holder != nil:
		return ErrLocked
	}
	return pathError("fcntl", f.path, err)
}

func (f *flockFile) close() {
	f.pollers.close()
	_ = unix.Close(f.fd)
}

func (f *flockFile) flock(how int) error {
	return pathError("flock", f.path, retry(func() error { return unix.Flock(f.fd, how) }))
}

func flockHow(m Mode) int {
	if m == Shared {
		return unix.LOCK_SH
	}
	return unix.LOCK_EX
}

// identity tells one file from any other that exists at the same time. A file cannot lose its own
// while it is open.
type identity struct{ dev, ino uint64 }

// leadsTo tells if path leads to the file id, without a symbolic link, and when that file was
// last marked as used.
func leadsTo(path string, id identity) (bool, time.Time, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Lstat(path, &st) })
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return false, time.Time{}, nil
	}
	if err != nil {
		return false, time.Time{}, pathError("lstat", path, err)
	}
	return identity{uint64(st.Dev), st.Ino} == id, time.Unix(st.Mtim.Unix()), nil
}

// openRegular opens the regular file at path, which it makes if it is missing: in a directory
// that is made if missing, too.
//
// It asks for creation only if there is no file: in a directory with the sticky bit the kernel
// may refuse to create what exists and belongs to another user.
func openRegular(path string, access int, perm fs.FileMode) (fd int, id identity, err error) {
	for range restarts {
		fd, id, err = openExisting(path, access)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		fd, id, err = openWith(path, access|unix.O_CREAT|unix.O_EXCL, perm)
		if errors.Is(err, fs.ErrNotExist) {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return -1, identity{}, err
			}
		} else if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return fd, id, err
}

func openExisting(path string, access int) (int, identity, error) { return openWith(path, access, 0) }

// openWith opens a regular file. It never waits, and follows no symbolic link in the last part of
// path.
func openWith(path string, flags int, perm fs.FileMode) (fd int, id identity, err error) {
	flags |= unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	err = retry(func() error { fd, err = unix.Open(path, flags, uint32(perm.Perm())); return err })
	if err != nil {
		return -1, identity{}, pathError("open", path, err)
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errNotRegular
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, identity{}, pathError("open", path, err)
	}
	return fd, identity{uint64(st.Dev), st.Ino}, nil
}

// setRecord takes or drops an OFD record lock on length bytes from start, or to the end of all
// files if length is 0. It does not wait.
func setRecord(fd int, kind int16, start, length int64) (bool, error) {
	lock := unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: start, Len: length}
	err := retry(func() error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock) })
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return false, nil
	}
	return err == nil, unsupported(err)
}

// firstRecord returns a record lock that somebody else has on any of length bytes from start, or
// to the end if length is 0.
func firstRecord(fd int, start, length int64) (*unix.Flock_t, error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: start, Len: length}
	err := retry(func() error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &lock) })
	if err != nil || lock.Type == unix.F_UNLCK {
		return nil, unsupported(err)
	}
	found := lock // which is all that goes to the heap
	return &found, nil
}

// unsupported translates the error of a kernel without OFD locks, one before 3.15.
func unsupported(err error) error {
	if errors.Is(err, unix.EINVAL) {
		return errors.ErrUnsupported
	}
	return err
}

// retry calls again what a signal has interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
