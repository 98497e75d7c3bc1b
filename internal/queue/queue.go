// Package queue is the in-process engine: locks with a queue of waiters, and a table that gives every name such a lock
// for as long as somebody holds it or waits for it.
//
// A [Lock] knows one lock: who may hold it together, who comes next, and how to wait without losing a wake-up. A [Table]
// knows names: it finds the lock of a name and forgets it with its last user. Neither knows options, logs or files.
//
// An uncontended acquisition is one atomic operation on the lock's state word, and so is its release. The algorithm is
// explained with drawings in docs/queue.md; it is the state word of sync.Mutex (with its rule against starvation),
// widened by a count of holders, by a generation that recognises stale holds, and by the tag of the name it serves.
package queue

// A Mode says whom a holder excludes.
type Mode uint8

const (
	// Exclusive holders exclude shared ones, and each other but for the lock's number of permits.
	Exclusive Mode = iota
	// Shared holders exclude exclusive ones only.
	Shared
)

// An Order says whom a request may pass on its way.
type Order uint8

const (
	// Barging lets an exclusive request take a lock that is free although others wait for it, because waking the
	// one in front takes time in which the lock would idle. A waiter that has been passed for two milliseconds is
	// handed the lock.
	Barging Order = iota
	// Fair serves requests strictly in order of arrival, and nobody passes a waiting Fair request.
	Fair
	// Reentrant is for a shared request of somebody who holds a share already. It passes those who wait, since they wait
	// for that share, and would wait for ever.
	Reentrant
)
