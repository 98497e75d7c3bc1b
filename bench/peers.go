package main

import (
	"context"
	"sync"

	"github.com/containerd/containerd/pkg/kmutex"
	"github.com/moby/locker"
	"github.com/puzpuzpuz/xsync/v4"
	"golang.org/x/sync/semaphore"
	"k8s.io/utils/keymutex"
)

// A peer is one way to lock names within a process.
type peer struct {
	name  string
	note  string
	mine  bool // of this library
	names naming

	// open returns new locks without entries. Only a peer for one name uses the name.
	open func(name string) locks
}

// naming says how a peer treats names, and so which scenarios it fits.
type naming int

const (
	anyName  naming = iota // takes any name in each call
	oneName                // has a handle for one name
	noName                 // has one bare lock for each goroutine with a name of its own
	hashName               // may map different names to one lock, so that it cannot hold several
	wrapped                // wraps a function for one name, which does nothing
	noLock                 // takes no lock, to show the cost of the loop
)

// locks does the work of a scenario. A nil inside releases the lock at once.
type locks struct {
	pass func(name string, inside func())   // acquires exclusively, runs inside, releases
	read func(name string, inside func())   // the same with a shared hold; nil if there is none
	hold func(name string) (release func()) // acquires; nil if many names cannot be held at once
}

// within runs inside, if it is not nil.
func within(inside func()) {
	if inside != nil {
		inside()
	}
}

// must panics on an error, which no lock of a benchmark should return.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// exclusive returns the locks for a function that finds the mutex of a name.
func exclusive(find func(name string) *sync.Mutex) locks {
	return locks{
		pass: func(name string, inside func()) {
			mu := find(name)
			mu.Lock()
			within(inside)
			mu.Unlock()
		},
		hold: func(name string) func() {
			mu := find(name)
			mu.Lock()
			return mu.Unlock
		},
	}
}

// readWrite returns the locks for a function that finds the reader-writer mutex of a name.
func readWrite(find func(name string) *sync.RWMutex) locks {
	return locks{
		pass: func(name string, inside func()) {
			mu := find(name)
			mu.Lock()
			within(inside)
			mu.Unlock()
		},
		read: func(name string, inside func()) {
			mu := find(name)
			mu.RLock()
			within(inside)
			mu.RUnlock()
		},
	}
}

const noLockName = "nothing"

const neverCleans = "never cleans: keeps every name for ever"

// peers lists the exclusive locks, bare ones first and this library last.
func peers() []peer {
	return append([]peer{
		{
			name: noLockName, note: "the loop and its indirect call alone, no lock", names: noLock,
			open: func(string) locks {
				return locks{pass: func(_ string, inside func()) { within(inside) }}
			},
		},
		{
			name: "sync.Mutex", note: "bare, no names", names: noName,
			open: func(string) locks {
				mu := new(apart[sync.Mutex])
				return exclusive(func(string) *sync.Mutex { return &mu.it })
			},
		},
		{
			name: "x/sync semaphore", note: "bare Weighted(1), no names, first come first served", names: noName,
			open: func(string) locks {
				s, ctx := semaphore.NewWeighted(1), context.Background()
				return locks{pass: func(_ string, inside func()) {
					must(s.Acquire(ctx, 1))
					within(inside)
					s.Release(1)
				}}
			},
		},
		{
			name: "moby Locker", note: "v1, a reference-counted map of mutexes", names: anyName,
			open: func(string) locks {
				l := locker.New()
				return locks{
					pass: func(name string, inside func()) {
						l.Lock(name)
						within(inside)
						must(l.Unlock(name))
					},
					hold: func(name string) func() {
						l.Lock(name)
						return func() { must(l.Unlock(name)) }
					},
				}
			},
		},
		{
			name: "containerd kmutex", note: "a reference-counted map of x/sync semaphores, first come first served",
			names: anyName,
			open: func(string) locks {
				k, ctx := kmutex.New(), context.Background()
				return locks{
					pass: func(name string, inside func()) {
						must(k.Lock(ctx, name))
						within(inside)
						k.Unlock(name)
					},
					hold: func(name string) func() {
						must(k.Lock(ctx, name))
						return func() { k.Unlock(name) }
					},
				}
			},
		},
		{
			name:  "counted map + Mutex",
			note:  "a reference-counted map of pooled mutexes, the design of moby's newer MutexMap",
			names: anyName,
			open: func(string) locks {
				var c counted[sync.Mutex]
				return locks{
					pass: func(name string, inside func()) {
						e := c.enter(name)
						e.lock.Lock()
						within(inside)
						e.lock.Unlock()
						c.leave(name, e)
					},
					hold: func(name string) func() {
						e := c.enter(name)
						e.lock.Lock()
						return func() {
							e.lock.Unlock()
							c.leave(name, e)
						}
					},
				}
			},
		},
		{
			name: "k8s keymutex", note: "1024 hashed locks: different names collide", names: hashName,
			open: func(string) locks {
				k := keymutex.NewHashed(1024)
				return locks{pass: func(name string, inside func()) {
					k.LockKey(name)
					within(inside)
					must(k.UnlockKey(name))
				}}
			},
		},
		{
			name: "xsync.Map + Mutex", note: neverCleans, names: anyName,
			open: func(string) locks { return exclusive(inXsyncMap[sync.Mutex]()) },
		},
		{
			name: "sync.Map + Mutex", note: neverCleans, names: anyName,
			open: func(string) locks { return exclusive(inSyncMap[sync.Mutex]()) },
		},
		{
			name:  "weak pointers",
			note:  "a map of weak.Pointer to mutexes with runtime.AddCleanup: the collector cleans",
			names: anyName,
			open: func(string) locks {
				var w weakly[sync.Mutex]
				return exclusive(w.get)
			},
		},
	}, ours()...)
}

// readers lists the reader-writer locks, bare ones first and this library last.
func readers() []peer {
	return append([]peer{
		{
			name: "sync.RWMutex", note: "bare, no names", names: noName,
			open: func(string) locks {
				mu := new(apart[sync.RWMutex])
				return readWrite(func(string) *sync.RWMutex { return &mu.it })
			},
		},
		{
			name:  "counted map + RWMutex",
			note:  "a reference-counted map of pooled mutexes, the design of moby's newer RWMutexMap",
			names: anyName,
			open: func(string) locks {
				var c counted[sync.RWMutex]
				return locks{
					pass: func(name string, inside func()) {
						e := c.enter(name)
						e.lock.Lock()
						within(inside)
						e.lock.Unlock()
						c.leave(name, e)
					},
					read: func(name string, inside func()) {
						e := c.enter(name)
						e.lock.RLock()
						within(inside)
						e.lock.RUnlock()
						c.leave(name, e)
					},
				}
			},
		},
		{
			name: "xsync.Map + RWMutex", note: neverCleans, names: anyName,
			open: func(string) locks { return readWrite(inXsyncMap[sync.RWMutex]()) },
		},
		{
			name: "sync.Map + RWMutex", note: neverCleans, names: anyName,
			open: func(string) locks { return readWrite(inSyncMap[sync.RWMutex]()) },
		},
		{
			name:  "weak pointers",
			note:  "a map of weak.Pointer to mutexes with runtime.AddCleanup: the collector cleans",
			names: anyName,
			open: func(string) locks {
				var w weakly[sync.RWMutex]
				return readWrite(w.get)
			},
		},
	}, ourReaders()...)
}

// inXsyncMap returns a function that finds locks in a new xsync.Map.
func inXsyncMap[L any]() func(name string) *L {
	m := xsync.NewMap[string, *L]()
	fresh := func() (*L, bool) { return new(L), false }
	return func(name string) *L {
		lock, _ := m.LoadOrCompute(name, fresh)
		return lock
	}
}

// inSyncMap returns a function that finds locks in a new sync.Map.
func inSyncMap[L any]() func(name string) *L {
	var m sync.Map
	return func(name string) *L {
		lock, ok := m.Load(name)
		if !ok {
			lock, _ = m.LoadOrStore(name, new(L))
		}
		return lock.(*L)
	}
}
