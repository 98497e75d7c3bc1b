package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/alexflint/go-filemutex"
	"github.com/gofrs/flock"
	"github.com/juju/mutex/v2"
	"github.com/rogpeppe/go-internal/lockedfile"
)

// A filePeer is one way to exclude other processes with a file.
type filePeer struct {
	name string
	note string
	mine bool                      // of this library
	open func(dir string) fileLock // opens a lock file in the directory, shared with other processes
}

// A fileLock does the work of a scenario.
type fileLock struct {
	// pass acquires, runs inside and releases.
	pass func(inside func()) error
	// wait is the same until ctx ends. It is nil if a wait cannot be cancelled.
	wait func(ctx context.Context, inside func()) error
}

const (
	lockName  = "bench" // of the lock, and of its file
	pollEvery = 10 * time.Millisecond
)

// filePeers lists the lock files, the system calls first and this library last.
func filePeers() []filePeer {
	return slices.Concat(systemPeers(), []filePeer{
		{
			name: "gofrs/flock", note: "a new object for each use, blocking",
			open: func(dir string) fileLock {
				path := filepath.Join(dir, lockName)
				return fileLock{pass: func(inside func()) error {
					f := flock.New(path)
					if err := f.Lock(); err != nil {
						return err
					}
					within(inside)
					return f.Unlock()
				}}
			},
		},
		{
			name: "gofrs/flock + inode check", note: "and whether the path still leads to the locked file",
			open: func(dir string) fileLock {
				path := filepath.Join(dir, lockName)
				return fileLock{pass: func(inside func()) error {
					f := flock.New(path)
					if err := f.Lock(); err != nil {
						return err
					}
					locked, err := f.Stat()
					if err != nil {
						return err
					}
					if there, err := os.Stat(path); err != nil || !os.SameFile(locked, there) {
						panic("the lock file has been replaced")
					}
					within(inside)
					return f.Unlock()
				}}
			},
		},
		{
			name: polling, note: "TryLockContext every 10 ms: what can be cancelled",
			open: func(dir string) fileLock {
				path := filepath.Join(dir, lockName)
				wait := func(ctx context.Context, inside func()) error {
					f := flock.New(path)
					if _, err := f.TryLockContext(ctx, pollEvery); err != nil {
						return err
					}
					within(inside)
					return f.Unlock()
				}
				return fileLock{
					wait: wait,
					pass: func(inside func()) error { return wait(context.Background(), inside) },
				}
			},
		},
		{
			name: "lockedfile", note: "rogpeppe/go-internal, the go command's; blocking",
			open: func(dir string) fileLock {
				mu := lockedfile.MutexAt(filepath.Join(dir, lockName))
				return fileLock{pass: func(inside func()) error {
					unlock, err := mu.Lock()
					if err != nil {
						return err
					}
					within(inside)
					unlock()
					return nil
				}}
			},
		},
		{
			name: "juju/mutex", note: "a goroutine of its own in flock(2) for each wait",
			open: func(dir string) fileLock {
				spec := mutex.Spec{
					Name:  filepath.Base(dir),
					Clock: wallClock{},
					Delay: pollEvery,
				} // in $TMPDIR, see newSite
				wait := func(ctx context.Context, inside func()) error {
					spec := spec
					spec.Cancel = ctx.Done()
					held, err := mutex.Acquire(spec)
					if err != nil {
						return err
					}
					within(inside)
					held.Release()
					return nil
				}
				return fileLock{
					wait: wait,
					pass: func(inside func()) error { return wait(context.Background(), inside) },
				}
			},
		},
		{
			name: "go-filemutex", note: "a new object for each use, blocking",
			open: func(dir string) fileLock {
				path := filepath.Join(dir, lockName)
				return fileLock{pass: func(inside func()) error {
					f, err := filemutex.New(path)
					if err != nil {
						return err
					}
					if err := f.Lock(); err != nil {
						return err
					}
					within(inside)
					return f.Close() // unlocks
				}}
			},
		},
	}, ourFiles())
}

const polling = "gofrs/flock, polling"

// wallClock is the clock for juju/mutex.
type wallClock struct{}

func (wallClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
func (wallClock) Now() time.Time                         { return time.Now() }
