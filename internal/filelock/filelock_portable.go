package filelock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// portableEngine locks with github.com/gofrs/flock, and waits by polling. It serves all systems
// that have no engine of their own, and file systems whose locks are not kept by this host's
// kernel. It has neither record locks nor a queue across processes.
type portableEngine struct {
	fileSystem string // the type that makes this engine necessary; "" if it serves all files
}

// portableFile is a lock file that is open only while it is locked, or just tried.
type portableFile struct {
	path string
	perm fs.FileMode
	lock *flock.Flock
}

func (e portableEngine) open(r Request) (lockFile, error) {
	if r.Fcntl || r.Fair {
		return nil, pathError("lock", r.Path, &UnsupportedError{e.fileSystem})
	}
	return &portableFile{
		path: r.Path,
		perm: r.Perm,
		lock: flock.New(r.Path, flock.SetFlag(os.O_RDONLY|syscall.O_NONBLOCK|noFollow),
			flock.SetPermissions(r.Perm)),
	}, nil
}

func (f *portableFile) serves(r Request) bool {
	return !r.Fcntl && !r.Fair && r.Perm == f.perm
}

func (f *portableFile) spins() int { return 1 }

func (f *portableFile) try(m Mode) (granted bool, err error) {
	for range restarts {
		if err := f.prepare(); err != nil {
			return false, err
		}
		if m == Shared {
			granted, err = f.lock.TryRLock()
		} else {
			granted, err = f.lock.TryLock()
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return granted, f.explain("flock", err)
}

// prepare makes the file if it is missing, and refuses what is not a regular file.
func (f *portableFile) prepare() error {
	for range restarts {
		info, err := os.Lstat(f.path)
		switch {
		case err == nil:
			return f.explain("open", refusal(info.Mode()))
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		created, err := os.OpenFile(f.path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, f.perm)
		switch {
		case err == nil:
			return created.Close()
		case errors.Is(err, fs.ErrNotExist):
			if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
				return err
			}
		case !errors.Is(err, fs.ErrExist):
			return err
		}
	}
	return pathError("open", f.path, errUnstable)
}

func refusal(mode fs.FileMode) error {
	switch {
	case mode.IsRegular():
		return nil
	case mode&fs.ModeSymlink != 0:
		return syscall.ELOOP
	}
	return errNotRegular
}

func (f *portableFile) wait(m Mode, delay time.Duration, stop <-chan struct{}) error {
	return poll(time.Millisecond, delay, stop, func() (bool, error) { return f.try(m) })
}

func (f *portableFile) polls() bool { return true }

func (f *portableFile) probe(Mode) bool { return false }

func (f *portableFile) current() (bool, time.Time, error) {
	ours, err := f.lock.Stat()
	if err == nil {
		err = refusal(ours.Mode()) // something else may have come in the file's place after prepare
	}
	if err != nil {
		return false, time.Time{}, f.explain("open", err)
	}
	now, err := os.Lstat(f.path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, time.Time{}, nil
	}
	if err != nil {
		return false, time.Time{}, err
	}
	return os.SameFile(ours, now), now.ModTime(), nil
}

func (f *portableFile) touch() {
	now := time.Now()
	_ = os.Chtimes(f.path, now, now)
}

func (f *portableFile) holdEnds(time.Time, time.Time) {}

func (f *portableFile) unlock() error {
	return f.explain("flock", f.lock.Unlock())
}

func (f *portableFile) unused() error { return checkQueueFile(queueFileOf(f.path)) }

func (f *portableFile) remove() error {
	err := removeQueueFile(queueFileOf(f.path))
	if err != nil {
		return errors.Join(err, f.unlock())
	}
	return f.removeHeld()
}

func (f *portableFile) close() { _ = f.lock.Close() }

// explain adds what the lock package leaves out of its errors.
func (f *portableFile) explain(op string, err error) error {
	var already *fs.PathError
	if errors.As(err, &already) {
		return err
	}
	return pathError(op, f.path, err)
}
