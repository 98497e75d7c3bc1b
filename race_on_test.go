//go:build race

package lockutils_test

// raceEnabled tells that the race detector is on, which adds allocations of its own.
const raceEnabled = true
