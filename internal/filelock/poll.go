package filelock

import (
	"math/rand/v2"
	"time"
)

// poll calls try until it is granted or fails: at once, then at intervals that double from first
// up to limit. They are jittered, so that pollers who met once do not meet again at each try. It
// returns errStopped when stop closes.
func poll(first, limit time.Duration, stop <-chan struct{}, try func() (bool, error)) error {
	for interval := min(first, limit); ; interval = min(2*interval, limit) {
		if granted, err := try(); granted || err != nil {
			return err
		}
		if !sleep(jittered(interval), stop) {
			return errStopped
		}
	}
}

// sleep waits for d and returns true, or false as soon as stop closes.
func sleep(d time.Duration, stop <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-stop:
		return false
	case <-timer.C:
		return true
	}
}

// jittered returns a duration between half of d and d.
func jittered(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}
