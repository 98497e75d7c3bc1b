// Package order tells package lockutilstest of the locks that contexts hold while others are
// acquired.
package order

import "sync/atomic"

// A Lock is one that is held or acquired.
type Lock struct {
	Scope, Name string
	Shared      bool
}

// Watch is called with the locks that a context holds, the outermost first, and the one that is
// acquired with it.
type Watch func(held []Lock, acquired Lock)

var watch atomic.Pointer[Watch]

// Set makes f watch, or nobody if it is nil. Package lockutils has to look at its settings anew
// then.
func Set(f Watch) {
	if f == nil {
		watch.Store(nil)
	} else {
		watch.Store(&f)
	}
	Changed()
}

// Changed is set by package lockutils.
var Changed = func() {}

// Get returns what watches, or nil.
func Get() Watch {
	if f := watch.Load(); f != nil {
		return *f
	}
	return nil
}
