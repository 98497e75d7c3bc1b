package main

import (
	"context"
	"time"

	"github.com/lockutils/lockutils"
)

// ours lists this library's exclusive locks within a process.
func ours() []peer {
	return []peer{
		{
			name: ourLock, note: "the public call without options", mine: true, names: anyName,
			open: func(string) locks {
				return locks{
					pass: func(name string, inside func()) {
						guard, err := lockutils.Lock(name)
						must(err)
						within(inside)
						must(guard.Unlock())
					},
					hold: func(name string) func() {
						guard, err := lockutils.Lock(name)
						must(err)
						return func() { must(guard.Unlock()) }
					},
				}
			},
		},
		passing("lockutils.Lock, Fair", "with Fair(): first come first served",
			func(name string, inside func()) {
				guard, err := lockutils.Lock(name, lockutils.Fair())
				must(err)
				within(inside)
				must(guard.Unlock())
			}),
		passing("lockutils.Lock, prefix", "with WithPrefix()", func(name string, inside func()) {
			guard, err := lockutils.Lock(name, lockutils.WithPrefix("bench"))
			must(err)
			within(inside)
			must(guard.Unlock())
		}),
		passing("lockutils.Lock, timeout", "with WithTimeout()", func(name string, inside func()) {
			guard, err := lockutils.Lock(name, lockutils.WithTimeout(time.Second))
			must(err)
			within(inside)
			must(guard.Unlock())
		}),
		passing("lockutils.Lock, no logging", "with WithLogging(false)",
			func(name string, inside func()) {
				guard, err := lockutils.Lock(name, lockutils.WithLogging(false))
				must(err)
				within(inside)
				must(guard.Unlock())
			}),
		passing("LockWithPrefix", "a function of LockWithPrefix", func(name string, inside func()) {
			guard, err := lockBench(name)
			must(err)
			within(inside)
			must(guard.Unlock())
		}),
		passing("lockutils.LockContext", "with a context that can end",
			func(name string, inside func()) {
				guard, err := lockutils.LockContext(endable, name)
				must(err)
				within(inside)
				must(guard.Unlock())
			}),
		passing("lockutils.Do", "with a context and a function", func(name string, inside func()) {
			must(lockutils.Do(context.Background(), name, func(context.Context) error {
				within(inside)
				return nil
			}))
		}),
		{
			name: "lockutils.Synchronized", note: "a func() wrapped once", mine: true, names: wrapped,
			open: func(name string) locks {
				call := lockutils.Synchronized(name, func() {})
				return locks{pass: func(string, func()) { call() }}
			},
		},
		{
			name: "Synchronized, error", note: "a func() error wrapped once", mine: true, names: wrapped,
			open: func(name string) locks {
				call := lockutils.Synchronized(name, func() error { return nil })
				return locks{pass: func(string, func()) { must(call()) }}
			},
		},
		{
			name: "Synchronized, context", note: "a func(context.Context) error wrapped once",
			mine: true, names: wrapped,
			open: func(name string) locks {
				call := lockutils.Synchronized(name, func(context.Context) error { return nil })
				return locks{pass: func(string, func()) { must(call(context.Background())) }}
			},
		},
		{
			name: "Semaphores.Get", note: "a handle of its own for each use", mine: true, names: anyName,
			open: func(string) locks {
				var s lockutils.Semaphores
				ctx := context.Background()
				return locks{
					pass: func(name string, inside func()) {
						one := s.Get(name)
						must(one.Acquire(ctx))
						within(inside)
						one.Release()
					},
					hold: func(name string) func() {
						one := s.Get(name)
						must(one.Acquire(ctx))
						return one.Release
					},
				}
			},
		},
		{
			name: "Semaphore", note: "a handle made once", mine: true, names: oneName,
			open: func(name string) locks {
				var s lockutils.Semaphores
				one, ctx := s.Get(name), context.Background()
				return locks{pass: func(_ string, inside func()) {
					must(one.Acquire(ctx))
					within(inside)
					one.Release()
				}}
			},
		},
		{
			name: "FairLock", note: "a handle made once, first come first served", mine: true, names: oneName,
			open: func(name string) locks {
				var f lockutils.FairLocks
				one := f.Get(name)
				return locks{pass: func(_ string, inside func()) {
					one.Lock()
					within(inside)
					one.Unlock()
				}}
			},
		},
		{
			name: "ReaderWriterLock", note: "unnamed, its writer side, first come first served",
			mine: true, names: oneName,
			open: func(string) locks {
				var rw lockutils.ReaderWriterLock
				return locks{pass: func(_ string, inside func()) {
					rw.Lock()
					within(inside)
					rw.Unlock()
				}}
			},
		},
	}
}

// endable is a context that can end, and does not.
var endable, _ = context.WithCancel(context.Background())

const ourLock = "lockutils.Lock"

// lockBench is a function of a project.
var lockBench = lockutils.LockWithPrefix("bench")

// passing returns the peer of a way to acquire and release a lock. The caller writes the calls out,
// as a program would: one more function between would count as a part of the call.
func passing(name, note string, pass func(name string, inside func())) peer {
	return peer{
		name: name, note: note, mine: true, names: anyName,
		open: func(string) locks { return locks{pass: pass} },
	}
}

const ourReader = "lockutils.Lock, Shared"

// ourReaders lists this library's reader-writer locks within a process.
func ourReaders() []peer {
	return []peer{
		{
			name: ourReader, note: "with Shared(), the writers without", mine: true, names: anyName,
			open: func(string) locks {
				return locks{
					pass: func(name string, inside func()) {
						guard, err := lockutils.Lock(name)
						must(err)
						within(inside)
						must(guard.Unlock())
					},
					read: func(name string, inside func()) {
						guard, err := lockutils.Lock(name, lockutils.Shared())
						must(err)
						within(inside)
						must(guard.Unlock())
					},
				}
			},
		},
		{
			name: "NamedReaderWriterLock", note: "a handle made once, in order of arrival", mine: true, names: oneName,
			open: func(name string) locks {
				var all lockutils.ReaderWriterLocks
				return readWriteLocker(all.Get(name))
			},
		},
		{
			name: "ReaderWriterLock", note: "unnamed, in order of arrival", mine: true, names: oneName,
			open: func(string) locks { return readWriteLocker(new(lockutils.ReaderWriterLock)) },
		},
	}
}

// A readWriteLock has the methods of sync.RWMutex.
type readWriteLock interface {
	Lock()
	Unlock()
	RLock()
	RUnlock()
}

func readWriteLocker(rw readWriteLock) locks {
	return locks{
		pass: func(_ string, inside func()) {
			rw.Lock()
			within(inside)
			rw.Unlock()
		},
		read: func(_ string, inside func()) {
			rw.RLock()
			within(inside)
			rw.RUnlock()
		},
	}
}
