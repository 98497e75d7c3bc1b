// Package recent keeps the last deadlocks that were found, for package lockdebug to show.
package recent

import (
	"sync"
	"time"
)

// A Deadlock is one that was found.
type Deadlock struct {
	At  time.Time
	Err error // a *lockutils.DeadlockError
}

// kept is how many deadlocks are kept.
const kept = 20

var (
	mu        sync.Mutex
	deadlocks []Deadlock // the latest last; guarded by mu
)

// AddDeadlock keeps a deadlock that was found now. The oldest one goes if there are many.
func AddDeadlock(err error) {
	mu.Lock()
	defer mu.Unlock()
	if len(deadlocks) == kept {
		copy(deadlocks, deadlocks[1:])
		deadlocks = deadlocks[:kept-1]
	}
	deadlocks = append(deadlocks, Deadlock{time.Now(), err})
}

// Deadlocks returns those that are kept, the latest first.
func Deadlocks() []Deadlock {
	mu.Lock()
	defer mu.Unlock()
	found := make([]Deadlock, 0, len(deadlocks))
	for i := len(deadlocks) - 1; i >= 0; i-- {
		found = append(found, deadlocks[i])
	}
	return found
}
