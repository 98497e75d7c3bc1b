package filelock

import (
	"errors"
	"io"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// queueFile is a place in the line of those who want one lock fairly, processes of this host all
// of them.
//
// The line is made of OFD record locks on single bytes of the queue file, which stays empty:
// locks reach beyond the end of a file. Byte n is locked by the process with number n. A new one
// locks the byte after the last that is locked. One that has no locked byte below its own is
// first. To wait one's turn is to wait for the byte before one's own: each departure wakes one
// process. All of this is in the kernel, so a process that dies just leaves the line, and numbers
// begin at 1 again when nobody is left.
//
// Nobody waits while it holds a byte below its own number; that could close a circle, and nothing
// detects those.
//
// A number is drawn without a mutex, which a stopped process could keep from all others: whoever
// has drawn one looks if the line has moved on meanwhile, and draws again then.
//
// It is a file beside the lock file since record locks on that one belong to the Fcntl option.
type queueFile struct {
	path   string
	perm   fs.FileMode
	fd     int // -1 if not open
	id     identity
	number int64 // 0 outside the line

	linked       time.Time // when the file was last seen to have a link
	contended    time.Time // when it last came into a line in which others stood
	noYieldUntil time.Time // until then yield does not offer the processor
}

// linkInterval is how long a queue file that had a link is taken to have one still.
const linkInterval = time.Millisecond

// isEmpty tells if nobody stands in the line, nor is removing the queue file. One that has been
// removed with its lock file does no harm, since nobody acquires a removed lock file. One that has
// been removed alone has no link left, which is noticed after linkInterval. One that has been
// renamed, or that has another link, is noticed by the next request that has to enter the line.
// Until then those who stand in a newer one may be passed.
func (q *queueFile) isEmpty() (bool, error) {
	if err := q.open(); err != nil {
		return false, err
	}
	first, err := q.firstLock(1, 0)
	if first != nil || err != nil {
		return false, err
	}
	if time.Since(q.linked) < linkInterval {
		return true, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(q.fd, &st); err != nil {
		return false, pathError("fstat", q.path, err)
	}
	if st.Nlink == 0 {
		q.close()
		return false, nil
	}
	q.linked = time.Now()
	return true, nil
}

// isFirst enters the line, unless q is in it, and tells if nobody is before it.
func (q *queueFile) isFirst() (bool, error) {
	if q.number == 0 {
		if entered, err := q.enter(); !entered {
			return false, err
		}
	}
	if q.number == 1 {
		return true, nil
	}
	ahead, err := q.firstLock(1, q.number-1)
	return ahead == nil && err == nil, err
}

// untilFirst enters the line, unless q is in it, and waits until nobody is before it.
func (q *queueFile) untilFirst() error {
	for q.number == 0 {
		entered, err := q.enter()
		if err == nil && !entered {
			// Somebody is removing the queue file: enter the next one then.
			err = errors.Join(q.await(0), q.drop(0, 0))
		}
		if err != nil {
			return err
		}
	}
	// The neighbour may have left out of turn, killed or cancelled, with others still before it.
	for next := q.number - 1; next > 0; {
		if err := q.await(next); err != nil {
			return err
		}
		ahead, err := q.firstLock(1, q.number-1)
		if ahead == nil {
			return err // the neighbour's byte may stay locked: those behind wait for ours as well
		}
		if err := q.drop(1, q.number-1); err != nil {
			return err
		}
		next = ahead.Start
	}
	return nil
}

// enter goes to the end of the line. It fails without an error if somebody is removing the queue
// file.
func (q *queueFile) enter() (bool, error) {
	end := int64(1)
	for range restarts {
		err := q.open()
		if err == nil {
			end, err = q.end(end)
		}
		if err != nil || end == 0 {
			return false, err
		}
		entered, err := q.set(unix.F_WRLCK, end, 1)
		if err != nil {
			return false, err
		}
		if !entered {
			continue // somebody was faster
		}
		q.number = end
		settled, err := q.settled()
		if settled {
			if end > 1 {
				q.contended = time.Now()
			}
			return true, nil
		}
		if err := errors.Join(err, q.leave()); err != nil {
			return false, err
		}
	}
	return false, pathError("fcntl", q.path, errUnstable)
}

// settled tells if the number just drawn is good: the queue file is still in its place, and
// nobody is behind already. One who looked for the end of the line, then slept while the line
// moved on, could otherwise come in before others.
func (q *queueFile) settled() (bool, error) {
	behind, err := q.firstLock(q.number+1, 0)
	if behind != nil || err != nil {
		return false, err
	}
	current, _, err := leadsTo(q.path, q.id)
	if !current {
		err = errors.Join(err, q.leave())
		q.close()
	}
	return current, err
}

// end returns the number after the last that is taken, at least the one given, or 0 if somebody
// has locked the whole file to remove it.
func (q *queueFile) end(least int64) (int64, error) {
	for end := least; ; {
		taken, err := q.firstLock(end, 0)
		if taken == nil {
			return end, err
		}
		if taken.Len == 0 {
			return 0, nil
		}
		end = taken.Start + taken.Len
	}
}

// leave leaves the line.
func (q *queueFile) leave() error {
	if q.number == 0 {
		return nil
	}
	q.number = 0
	return q.drop(0, 0)
}

// yield offers the processor to others when a hold has ended, if others have been in the line
// lately. The process that woke this one may have lost its processor to it, and cannot get out of
// the line, let alone back into it, before it has one again. Without this, two processes can have
// the lock to themselves for milliseconds, and the line is slower by half.
//
// On a busy host it may be some milliseconds until this process runs again. After such an offer
// it makes none for a while.
func (q *queueFile) yield() {
	const quick, pause = 2 * time.Millisecond, 100 * time.Millisecond
	if !q.wasContended() {
		return
	}
	now := time.Now()
	if now.Before(q.noYieldUntil) {
		return
	}
	_, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	if time.Since(now) > quick {
		q.noYieldUntil = now.Add(pause)
	}
}

// wasContended tells if this process has met others in the line lately.
func (q *queueFile) wasContended() bool {
	const lately = 100 * time.Millisecond
	return !q.contended.IsZero() && time.Since(q.contended) <= lately
}

func (q *queueFile) open() (err error) {
	if q.fd < 0 {
		q.fd, q.id, err = openRegular(q.path, unix.O_RDWR, q.perm)
	}
	return err
}

func (q *queueFile) close() {
	if q.fd >= 0 {
		_ = unix.Close(q.fd)
		q.fd, q.linked = -1, time.Time{}
	}
}

// firstLock returns a lock that somebody else has on any of length bytes from start, or to the
// end if length is 0.
func (q *queueFile) firstLock(start, length int64) (*unix.Flock_t, error) {
	lock, err := firstRecord(q.fd, start, length)
	return lock, pathError("fcntl", q.path, err)
}

// await waits until it can lock byte n, and does.
func (q *queueFile) await(n int64) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: n, Len: 1}
	err := retry(func() error { return unix.FcntlFlock(uintptr(q.fd), unix.F_OFD_SETLKW, &lock) })
	return pathError("fcntl", q.path, err)
}

func (q *queueFile) drop(start, length int64) error {
	_, err := q.set(unix.F_UNLCK, start, length)
	return err
}

func (q *queueFile) set(kind int16, start, length int64) (bool, error) {
	done, err := setRecord(q.fd, kind, start, length)
	return done, pathError("fcntl", q.path, err)
}

// removeQueueFile unlinks a queue file if nobody queues on it, else it returns ErrLocked. A
// missing one is no error.
func removeQueueFile(path string) error {
	return whileUnqueued(path, func() error { return pathError("unlink", path, unix.Unlink(path)) })
}

// checkQueueFile returns ErrLocked if somebody queues on a queue file.
func checkQueueFile(path string) error {
	return whileUnqueued(path, func() error { return nil })
}

// whileUnqueued calls do while nobody can queue on the queue file at path, or returns ErrLocked
// if somebody does. It does nothing if the file is missing.
func whileUnqueued(path string, do func() error) error {
	q := queueFile{path: path}
	var err error
	q.fd, q.id, err = openExisting(path, unix.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer q.close()
	locked, err := q.set(unix.F_WRLCK, 0, 0)
	if err != nil {
		return err
	}
	if !locked {
		return ErrLocked
	}
	current, _, err := leadsTo(path, q.id)
	if current {
		err = do()
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, q.drop(0, 0))
}
