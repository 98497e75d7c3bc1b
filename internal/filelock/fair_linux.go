package filelock

import (
	"errors"
	"time"
)

// fairFile is a lock file whose lock is asked for only by who is first in its queue.
type fairFile struct {
	*flockFile
	queue queueFile
	held  bool // by a request, and not only tried
}

func newFairFile(f *flockFile, r Request) *fairFile {
	return &fairFile{flockFile: f, queue: queueFile{path: queueFileOf(r.Path), perm: r.Perm, fd: -1}}
}

func (f *fairFile) serves(r Request) bool {
	return r.Fair && f.fcntl == r.Fcntl && (f.writable || !needsWriting(r))
}

func (f *fairFile) try(m Mode) (bool, error) {
	if granted, err := f.tryOutside(m); granted || err != nil {
		return granted, err
	}
	first, err := f.queue.isFirst()
	if !first || err != nil {
		return false, err
	}
	granted, err := f.flockFile.try(m)
	if granted && err == nil {
		err = f.begin(m)
	}
	return granted, err
}

// tryOutside takes the lock without a place in the line if nobody stands there, which saves the
// way in and out. It passes nobody: a request that finds the line empty comes before all that
// enter it later. The first in the line then waits for the lock itself, so the shortcut is not
// for record locks, since that wait polls. Where others queue, even shares matter more than the
// system calls saved.
func (f *fairFile) tryOutside(m Mode) (bool, error) {
	if f.fcntl || f.queue.number != 0 || f.queue.wasContended() {
		return false, nil
	}
	empty, err := f.queue.isEmpty()
	if !empty || err != nil {
		return false, err
	}
	f.held, err = f.flockFile.try(m)
	return f.held, err
}

// begin notes that a hold has begun. A reader is not the first any longer, since the next may be
// a reader as well. A writer stays first until it unlocks: then the next is woken once only, and
// finds the lock free.
func (f *fairFile) begin(m Mode) error {
	f.held = true
	if m == Exclusive {
		return nil
	}
	return f.queue.leave()
}

func (f *fairFile) wait(m Mode, delay time.Duration, stop <-chan struct{}) error {
	if err := block(delay, stop, f.queue.isFirst, f.queue.untilFirst); err != nil {
		return err
	}
	// The first in the line has not met those who poll for the record lock. It has to leave them
	// a gap all the same.
	if f.fcntl && !sleep(jittered(pollerGap), stop) {
		return errStopped
	}
	if err := f.flockFile.wait(m, delay, stop); err != nil {
		return err
	}
	return f.begin(m)
}

func (f *fairFile) polls() bool { return false }

func (f *fairFile) probe(Mode) bool { return false }

func (f *fairFile) unlock() error {
	err := errors.Join(f.flockFile.unlock(), f.queue.leave())
	if f.held {
		f.held = false
		f.queue.yield()
	}
	return err
}

func (f *fairFile) close() {
	f.queue.close()
	f.flockFile.close()
}
