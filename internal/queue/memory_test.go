package queue

import (
	"testing"
	"unsafe"
)

// What comes after a lock in memory may share a cache line with its state.
func TestStateComesLast(t *testing.T) {
	if n := unsafe.Sizeof(Lock{}) - unsafe.Offsetof(Lock{}.state); n != unsafe.Sizeof(Word(0)) {
		t.Errorf("the state is %d bytes from the end of a lock", n)
	}
}
