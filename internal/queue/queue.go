// Package queue is the in-process engine: locks with a queue of waiters, and a table that gives
// every name such a lock while it is held or waited for.
//
// A [Lock] decides who may hold it together, who comes next, and how to wait without losing a
// wake-up. A [Table] finds the lock of a name and forgets it with its last user. Neither knows
// options, logs or files.
//
// An uncontended acquisition is one compare-and-swap of the lock's state word, and so is its
// release. docs/queue.md explains the algorithm: the state word of sync.Mutex with its rule
// against starvation, widened by a count of sharing holders and by a generation that tells stale
// holds.
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

// A Key names a lock in a table: equal keys mean one lock.
type Key struct{ Scope, Name string }

// A Hash is the hash of a key. Callers that use a key again and again keep it.
type Hash uint64

var hashes = newHasher()

// Hash returns the hash of the key.
func (k Key) Hash() Hash { return NewScopeHash(k.Scope).Of(k.Name) }

// A ScopeHash is the hash of a scope, which changes those of its keys. The zero ScopeHash is that
// of the empty scope.
type ScopeHash uint64

// NewScopeHash returns the hash of a scope.
func NewScopeHash(scope string) ScopeHash {
	if scope == "" {
		return 0
	}
	return ScopeHash(hashes.sum(^hashes.start, scope))
}

// Of returns the hash of the key of that name. The two hashes are computed side by side, and so
// from different seeds: a key and the one with scope and name exchanged have different ones.
func (s ScopeHash) Of(name string) Hash { return Hash(hashes.sum(hashes.start, name) ^ uint64(s)) }
