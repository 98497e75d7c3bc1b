package main

import (
	"runtime"
	"sync"
	"weak"
)

// Common hand-written designs, each in its simplest form.

// apart pads a lock, so that two bare locks do not share a cache line.
type apart[L any] struct {
	_  [128]byte
	it L
	_  [128]byte
}

// counted is a map of reference-counted locks. It drops a lock with its last user. The zero value
// is ready to use.
type counted[L any] struct {
	mu      sync.Mutex
	entries map[string]*countedEntry[L] // guarded by mu
	idle    sync.Pool                   // of *countedEntry[L]
}

type countedEntry[L any] struct {
	lock  L
	users int // holders and waiters; guarded by counted.mu
}

// enter returns the entry of a name and counts a user.
func (c *counted[L]) enter(name string) *countedEntry[L] {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[name]
	if e == nil {
		if c.entries == nil {
			c.entries = make(map[string]*countedEntry[L])
		}
		if e, _ = c.idle.Get().(*countedEntry[L]); e == nil {
			e = new(countedEntry[L])
		}
		c.entries[name] = e
	}
	e.users++
	return e
}

// leave undoes one enter.
func (c *counted[L]) leave(name string, e *countedEntry[L]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.users--; e.users == 0 {
		delete(c.entries, name)
		c.idle.Put(e)
	}
}

// weakly is a map of locks that does not keep them alive: a cleanup drops the entry once the
// garbage collector has freed the lock. The zero value is ready to use.
type weakly[L any] struct {
	mu      sync.Mutex
	entries map[string]weak.Pointer[L] // guarded by mu
}

// get returns the lock of a name, which lives as long as it is reachable.
func (w *weakly[L]) get(name string) *L {
	w.mu.Lock()
	defer w.mu.Unlock()
	if lock := w.entries[name].Value(); lock != nil {
		return lock
	}
	if w.entries == nil {
		w.entries = make(map[string]weak.Pointer[L])
	}
	lock := new(L)
	w.entries[name] = weak.Make(lock)
	runtime.AddCleanup(lock, w.forget, name)
	return lock
}

// forget drops the entry of a name unless it refers to a newer lock.
func (w *weakly[L]) forget(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.entries[name].Value() == nil {
		delete(w.entries, name)
	}
}
