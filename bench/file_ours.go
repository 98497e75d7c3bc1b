package main

import (
	"context"
	"path/filepath"

	"github.com/lockutils/lockutils"
)

const (
	ourFile  = "lockutils External"
	ourFair  = "lockutils External, Fair"
	ourFcntl = "lockutils External, WithFcntl"
	ourWait  = "lockutils External, context"
)

// ourFiles lists this library's lock files.
func ourFiles() []filePeer {
	return []filePeer{
		external(context.Background(), ourFile, "inode check included, removal safe"),
		external(context.Background(), ourFair, "first come, first served across processes", lockutils.Fair()),
		external(context.Background(), ourFcntl, "excludes fcntl locks as well", lockutils.WithFcntl()),
		external(endable, ourWait, "with a context that can end"),
		{
			name: "InterProcessLock", note: "this library's, one object kept", mine: true,
			open: func(dir string) fileLock {
				l := lockutils.NewInterProcessLock(filepath.Join(dir, lockName))
				wait := func(ctx context.Context, inside func()) error {
					if err := l.LockContext(ctx); err != nil {
						return err
					}
					within(inside)
					return l.Unlock()
				}
				return fileLock{
					wait: wait,
					pass: func(inside func()) error { return wait(context.Background(), inside) },
				}
			},
		},
	}
}

// external returns the peer of the public call with a context, External and more options.
func external(ctx context.Context, name, note string, more ...lockutils.Option) filePeer {
	return filePeer{
		name: name, note: note, mine: true,
		open: func(dir string) fileLock {
			opts := append([]lockutils.Option{lockutils.External(), lockutils.WithLockPath(dir)}, more...)
			wait := func(ctx context.Context, inside func()) error {
				guard, err := lockutils.LockContext(ctx, lockName, opts...)
				if err != nil {
					return err
				}
				within(inside)
				return guard.Unlock()
			}
			return fileLock{
				wait: wait,
				pass: func(inside func()) error { return wait(ctx, inside) },
			}
		},
	}
}
