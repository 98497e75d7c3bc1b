package queue

import (
	"testing"
	"unsafe"
)

// Package names arranges its slots by where the state of a lock is.
func TestStateComesFirst(t *testing.T) {
	if n := unsafe.Offsetof(Lock{}.state); n != 0 {
		t.Errorf("the state is %d bytes from the beginning of a lock", n)
	}
}
