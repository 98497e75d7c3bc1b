package filelock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lockutils/lockutils/internal/queue"
)

// Remove unlinks a lock file and its queue file. It does so only while it holds the lock
// exclusively, and returns ErrLocked if somebody else holds it or queues for it. A missing file
// is no error.
func Remove(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return removeQueueFile(queueFileOf(path))
	}
	err := whileLocked(path, func(h *Hold) error { return h.file.remove() })
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a program that takes no lock has been faster
	}
	return err
}

// Finding is what a sweep finds a file to be.
type Finding int

const (
	// Kept has been used of late, or is gone or not a regular file.
	Kept Finding = iota
	// Idle has not been used for so long. A sweep removes it.
	Idle
	// InUse has not been used for so long, but somebody holds it or queues for it.
	InUse
	// NotEmpty has content, or its queue file does: no lock file has.
	NotEmpty
)

// RemoveIdle returns what it finds a file to be. It removes a lock file, or a queue file that has
// lost its lock file, if it finds it Idle: unless somebody holds it, queues for it or has used it
// within the time olderThan, or it has content. The time of use is known to a second, in favour
// of keeping the file. With olderThan 0 only use at this moment counts.
func RemoveIdle(path string, olderThan time.Duration) (Finding, error) {
	return sweep{
		olderThan: olderThan,
		lockFile:  func(h *Hold) error { return h.file.remove() },
		queueFile: removeQueueFile,
	}.file(path)
}

// CheckIdle returns what RemoveIdle would find, and removes nothing. It locks the file for a
// moment to find out.
func CheckIdle(path string, olderThan time.Duration) (Finding, error) {
	return sweep{
		olderThan: olderThan,
		lockFile:  func(h *Hold) error { return errors.Join(h.file.unused(), h.release()) },
		queueFile: checkQueueFile,
	}.file(path)
}

// sweep says what to do with idle files.
type sweep struct {
	olderThan time.Duration
	lockFile  func(*Hold) error       // of an idle lock file, which is held; ends the hold
	queueFile func(path string) error // of a queue file without a lock file
}

func (s sweep) file(path string) (Finding, error) {
	found, err := s.inspect(path)
	if found == Idle && err == nil {
		found, err = s.idleFile(path)
	}
	switch {
	case errors.Is(err, ErrLocked):
		return InUse, nil
	case errors.Is(err, fs.ErrNotExist):
		return Kept, nil // a program that takes no lock has been faster
	}
	return found, err
}

// idleFile deals with a file that has been found idle, and may have been used since.
func (s sweep) idleFile(path string) (found Finding, err error) {
	if IsQueueFile(filepath.Base(path)) {
		orphan, err := isOrphan(path)
		if !orphan || err != nil {
			return Kept, err
		}
		return Idle, s.queueFile(path)
	}
	err = whileLocked(path, func(h *Hold) (err error) {
		if found, err = s.inspect(path); found != Idle || err != nil {
			return errors.Join(err, h.release())
		}
		return s.lockFile(h)
	})
	return found, err
}

// inspect returns what path is as far as that can be told without a lock.
func (s sweep) inspect(path string) (Finding, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Kept, nil
	case err != nil:
		return Kept, err
	case !info.Mode().IsRegular():
		return Kept, nil
	case hasContent(info):
		return NotEmpty, nil
	case s.olderThan > 0 && time.Since(info.ModTime())-usedGranularity < s.olderThan:
		return Kept, nil
	}
	if info, err = os.Lstat(queueFileOf(path)); err == nil && hasContent(info) {
		return NotEmpty, nil
	}
	return Idle, nil
}

func hasContent(info fs.FileInfo) bool { return info.Mode().IsRegular() && info.Size() > 0 }

// whileLocked calls do with an exclusive hold of the lock file at path, which do must end. It
// returns ErrLocked if somebody holds the lock or waits for it.
func whileLocked(path string, do func(*Hold) error) error {
	p := paths.enter(path)
	defer paths.leave(p)
	if _, ok := p.turn.TryAcquire(Exclusive, queue.Fair); !ok {
		return ErrLocked
	}
	defer p.turn.Release(Exclusive)
	h, err := p.tryLockFile(Request{Path: path}.withDefaults())
	if err != nil {
		return err
	}
	return do(h)
}
