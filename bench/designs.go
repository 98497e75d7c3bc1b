package main

import (
	"runtime"
	"sync"
	"weak"
)

// The designs that people write by hand, as plainly as each can be had.

// apart keeps a lock on cache lines of its own, so that two bare locks do not disturb each other.
type apart[L any] struct {
	_  [128]byte
	it L
	_  [128]byte
}

// counted is a map of locks that counts who uses each and forgets it with its last user. The zero value is ready.
type counted[L any] struct {
	mu      sync.Mutex
	entries map[string]*countedEntry[L] // guarded by mu
	idle    sync.Pool                   // of *countedEntry[L]
}

type countedEntry[L any] struct {
	lock  L
	users int // guarded by counted.mu; those who hold the lock or are about to ask for it
}

// enter returns the name's entry, which stays until its users have left.
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

// leave takes back one enter.
func (c *counted[L]) leave(name string, e *countedEntry[L]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.users--; e.users == 0 {
		delete(c.entries, name)
		c.idle.Put(e)
	}
}

// weakly is a map of locks that does not keep them alive: the garbage collector finds out that a lock has no user, and its
// cleanup drops the entry. The zero value is ready.
type weakly[L any] struct {
	mu      sync.Mutex
	entries map[string]weak.Pointer[L] // guarded by mu
}

// get returns the name's lock, which lives as long as somebody refers to it.
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

// forget drops the name's entry unless a new lock has taken its place.
func (w *weakly[L]) forget(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.entries[name].Value() == nil {
		delete(w.entries, name)
	}
}
