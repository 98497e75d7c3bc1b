// Package queuetest has what the tests of package queue, and of what is built on it, share.
package queuetest

import (
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// A Room is what a lock protects. It counts whoever is in it together with somebody that the lock
// should have kept out. The plain number is for the race detector, which finds accesses without a
// happens-before relation even where they do not overlap.
type Room struct {
	Permits  int64
	Overlaps atomic.Int64
	writers  atomic.Int64
	readers  atomic.Int64
	visits   int // written by writers where there is one permit
}

// Write is what an exclusive holder does.
func (r *Room) Write(stay func()) {
	r.check(r.writers.Add(1) <= r.Permits)
	r.check(r.readers.Load() == 0)
	if r.Permits == 1 {
		r.visits++
	}
	stay()
	r.check(r.readers.Load() == 0)
	r.writers.Add(-1)
}

// Read is what a shared holder does.
func (r *Room) Read(stay func()) {
	r.readers.Add(1)
	r.check(r.writers.Load() == 0 && r.visits >= 0)
	stay()
	r.check(r.writers.Load() == 0)
	r.readers.Add(-1)
}

func (r *Room) check(ok bool) {
	if !ok {
		r.Overlaps.Add(1)
	}
}

// Dawdle lets others run, or not.
func Dawdle() {
	switch rand.IntN(4) {
	case 0:
		runtime.Gosched()
	case 1:
		for range rand.IntN(2000) {
		}
	}
}

// ExpectServed checks who has been served since the last time, in whatever order if more than one.
func ExpectServed(t *testing.T, served <-chan string, want ...string) {
	t.Helper()
	synctest.Wait()
	got := map[string]bool{}
	for len(served) > 0 {
		got[<-served] = true
	}
	ok := len(got) == len(want)
	for _, name := range want {
		ok = ok && got[name]
	}
	if !ok {
		t.Errorf("served: %v, want %q", got, want)
	}
}

// RaceDetector reports whether the test was built with -race. It allocates on its own account, and pools
// drop a part of what is put into them.
func RaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
