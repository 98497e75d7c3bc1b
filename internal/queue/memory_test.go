package queue

import (
	"testing"
	"unsafe"
)

// What comes before a lock in memory may be kept off the cache line of its state.
func TestStateComesFirst(t *testing.T) {
	if n := unsafe.Offsetof(Lock{}.state); n != 0 {
		t.Errorf("the state is %d bytes from the beginning of a lock", n)
	}
}
