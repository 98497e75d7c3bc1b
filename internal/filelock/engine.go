package filelock

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// engine is one way to lock files. The rest of the package deals with processes, goroutines and
// descriptors, and leaves to the engine what differs between systems.
type engine interface {
	// open opens the lock file of r, which it makes if it is missing, and locks nothing.
	open(r Request) (lockFile, error)
}

// lockFile is a lock file opened once: what the kernel takes for one holder. One goroutine at a
// time uses it, with the one exception of probe.
type lockFile interface {
	// serves tells if a request can use this file, or needs one opened in another way.
	serves(r Request) bool
	// try takes the lock if it is free. After a refusal the file may keep a place in a queue
	// until unlock.
	try(m Mode) (bool, error)
	// spins is the number of times that a waiter should call try before it calls wait. With 0 it
	// leaves the file to others for a moment, which wait sees to.
	spins() int
	// wait takes the lock as soon as it can. It returns errStopped when stop closes before, or
	// ignores stop if it waits in the kernel.
	wait(m Mode, delay time.Duration, stop <-chan struct{}) error
	// polls tells if wait polls, and so ends as soon as it looks around after stop has closed.
	polls() bool
	// probe tells, while another goroutine is in wait, if that wait is about to end with the
	// lock. It may always say no.
	probe(m Mode) bool
	// current tells if the path still leads to this file, and when the file was last marked as
	// used.
	current() (bool, time.Time, error)
	// touch marks the file as used now. A caller who may not do that leaves the file as it is.
	touch()
	// holdEnds is told of each exclusive hold before unlock ends it.
	holdEnds(taken, now time.Time)
	// unlock gives back what try and wait have taken, a place in a queue included.
	unlock() error
	// unused returns ErrLocked if others use a file locked exclusively all the same: by a record
	// lock, or by queueing.
	unused() error
	// remove unlinks the path of a file locked exclusively, then unlocks and closes.
	remove() error
	// close closes a file that is unlocked.
	close()
}

// errStopped ends a wait that nobody needs any more.
var errStopped = errors.New("wait abandoned")

// EngineVariable names the environment variable that, set to "portable" when the program starts,
// chooses the portable engine also where the system has a better one.
const EngineVariable = "LOCKUTILS_ENGINE"

var files = chosenEngine()

func chosenEngine() engine {
	if os.Getenv(EngineVariable) == "portable" {
		return portableEngine{}
	}
	return systemEngine{}
}

// errNotRegular refuses what is in a lock file's place and is none: a directory, a pipe, a device.
var errNotRegular = errors.New("not a regular file")

// errUnstable gives up on a path that leads to another file at each look.
var errUnstable = errors.New("the path keeps leading to another file")

// restarts bounds how often one request starts over because its path leads to another file by the
// time it is locked.
const restarts = 1000

// UnsupportedError refuses a request with Fcntl or Fair where the portable engine has to serve it.
type UnsupportedError struct {
	FileSystem string // the type of the file system that cannot do it; "" for other reasons
}

func (e *UnsupportedError) Error() string {
	if e.FileSystem == "" {
		return "not supported on this system"
	}
	return "not supported on " + e.FileSystem + " file systems"
}

// Unwrap returns errors.ErrUnsupported.
func (e *UnsupportedError) Unwrap() error { return errors.ErrUnsupported }

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

func outOfDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
