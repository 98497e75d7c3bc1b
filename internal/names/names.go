// Package names gives each name a lock of package internal/queue while it is held or waited for.
//
// A [Table] finds the lock of a [Key] and forgets it with its last user. To find the lock and to
// acquire it is one compare-and-swap, nearly always: see docs/queue.md. Locks decide who holds
// them and who waits, and the table when a lock changes its name. The package knows no options,
// logs or files.
package names

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
