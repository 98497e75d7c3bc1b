package filelock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lockutils/lockutils/internal/queue"
)

// Remove unlinks a lock file and its queue file. It does so only while it holds the lock exclusively, and returns
// ErrLocked if somebody else holds it or queues for it. A missing file is no error.
func Remove(path string) error {
	_, err := removeIf(path, func(time.Time) bool { return true })
	return err
}

// RemoveIdle removes a lock file, or a queue file that has lost its lock file, unless somebody holds it, queues for it or
// has used it within the time olderThan. The time of use is known to a second, in favour of keeping the file. With
// olderThan 0 any file goes that is not in use at the moment. It tells if it has removed the file.
func RemoveIdle(path string, olderThan time.Duration) (bool, error) {
	idle := func(used time.Time) bool {
		return olderThan <= 0 || time.Since(used)-usedGranularity >= olderThan
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !(info.Mode().IsRegular() && idle(info.ModTime())) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var removed bool
	if IsQueueFile(filepath.Base(path)) {
		removed, err = removeOrphan(path)
	} else {
		removed, err = removeIf(path, idle)
	}
	if errors.Is(err, ErrLocked) {
		return false, nil
	}
	return removed, err
}

// removeOrphan removes a queue file unless its lock file exists.
func removeOrphan(queuePath string) (bool, error) {
	orphan, err := isOrphan(queuePath)
	if orphan {
		err = removeQueueFile(queuePath)
	}
	return orphan && err == nil, err
}

// removeIf removes a lock file if condition accepts the time of its last use.
func removeIf(path string, condition func(used time.Time) bool) (bool, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return false, removeQueueFile(queueFileOf(path))
	}
	p := paths.enter(path)
	defer paths.leave(p)
	if _, ok := p.turn.TryAcquire(Exclusive, queue.Fair); !ok {
		return false, ErrLocked // a goroutine of this process holds the lock or waits for it
	}
	defer p.turn.Release(Exclusive)
	h, err := p.tryLockFile(Request{Path: path}.withDefaults())
	if err != nil {
		return false, err
	}
	if !condition(time.Unix(0, h.used.Load())) {
		return false, h.release()
	}
	err = h.file.remove()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // a program that takes no lock has been faster
	}
	return err == nil, err
}
