package filelock

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// busyWindow is the time after which a process looks again if it leaves others a chance.
	busyWindow = 20 * time.Millisecond
	// pollerMemory is the longest time between two tries of one program that polls.
	pollerMemory = 200 * time.Millisecond
	// maxRest bounds the time for which a file is left to a program that polls.
	maxRest = 100 * time.Millisecond
	// maxWatches bounds the files that a process watches at once. A watch takes one of the inotify
	// instances of the user, 128 by default, which other programs cannot do without.
	maxWatches = 8
)

var watched atomic.Int32 // files that the process watches now

// pollers gives programs that poll for a lock file their turn beside this process.
//
// Somebody who polls finds the file free only by chance if a process holds it again and again
// with hardly a pause. A pause that is always there would cost all others, and nothing in the
// lock itself tells that somebody polls. But such a program opens the file for each try, as
// gofrs/flock and Python's filelock do, and inotify tells that. So a process that keeps the file
// busy watches for that, and leaves the file alone until the next try of one who has tried twice.
type pollers struct {
	path  string
	fd    int           // of inotify; 0 if nobody watches
	since time.Time     // when the window began; zero for the next hold
	held  time.Duration // the time held within the window
	tried time.Time     // when somebody else was last found to have opened the file
	rests bool          // the next request leaves the file alone for a while
}

// holdEnds looks once in a window if the process keeps the file busy, and then for others who try.
// It costs no system call otherwise.
func (p *pollers) holdEnds(taken, now time.Time) {
	if p.since.IsZero() {
		p.since = taken
	}
	p.held += now.Sub(taken)
	window := now.Sub(p.since)
	if window < busyWindow {
		return
	}
	busy := p.held >= window-window/10
	p.since, p.held = now, 0
	switch {
	case !busy:
		p.close()
	case p.fd == 0:
		p.watch()
	case p.someoneTried():
		p.rests = now.Sub(p.tried) < pollerMemory
		p.tried = now
	}
}

// rest leaves the file alone, if that is due, until somebody has tried. It returns false as soon
// as stop closes.
func (p *pollers) rest(stop <-chan struct{}) bool {
	if !p.rests {
		return true
	}
	p.rests, p.since = false, time.Time{}
	end := time.Now().Add(maxRest)
	return poll(time.Millisecond, time.Millisecond, stop, func() (bool, error) {
		now := time.Now()
		if p.someoneTried() {
			p.tried = now
			return true, nil
		}
		return now.After(end), nil
	}) == nil
}

// watch begins to watch, unless the process watches enough files. Without inotify nobody rests.
func (p *pollers) watch() {
	if watched.Add(1) > maxWatches {
		watched.Add(-1)
		return
	}
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		watched.Add(-1)
		return
	}
	p.fd = fd
	if _, err := unix.InotifyAddWatch(fd, p.path, unix.IN_OPEN|unix.IN_DONT_FOLLOW); err != nil {
		p.close()
	}
}

// someoneTried tells if somebody has opened the file since the last call. The kernel merges the
// events, so one read takes all.
func (p *pollers) someoneTried() bool {
	var events [256]byte
	n, err := unix.Read(p.fd, events[:])
	return err == nil && n > 0
}

// close ends the watch.
func (p *pollers) close() {
	if p.fd != 0 {
		_ = unix.Close(p.fd)
		watched.Add(-1)
	}
	*p = pollers{path: p.path, since: p.since}
}
