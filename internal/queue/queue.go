// Package queue is a lock inside the process, and the queue of those that wait for it.
//
// A [Lock] decides who may hold it together, who comes next, and how to wait without losing a
// wake-up. A [Hold] tells a hold from others, and an [Observer] is told of waits. The package
// knows no names, options, logs or files. A lock with a name is what internal/names makes of it,
// by the methods in base.go.
//
// An uncontended acquisition is one compare-and-swap of the lock's state word, and so is its release.
// docs/queue.md explains the algorithm: the state word of sync.Mutex with its rule against starvation,
// widened by a count of sharing holders and by a generation that tells stale holds.
package queue

// A Mode says which other holders a holder excludes.
type Mode uint8

const (
	// Exclusive holders exclude shared ones, and each other beyond the lock's number of permits.
	Exclusive Mode = iota
	// Shared holders exclude exclusive ones only.
	Shared
)

// An Order says which waiters a request may pass.
type Order uint8

const (
	// Barging lets an exclusive request take a lock that is free although others wait for it,
	// because waking the first waiter takes time in which the lock would idle. A waiter that has
	// been passed for two milliseconds is handed the lock.
	Barging Order = iota
	// Fair serves requests strictly in order of arrival. No request passes a waiting Fair request.
	Fair
	// Reentrant is for a shared request on behalf of a shared holder. It passes all waiters: they
	// wait for the share that is held already, and it would wait for them.
	Reentrant
)
