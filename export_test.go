package lockutils

import (
	"github.com/lockutils/lockutils/internal/names"
	"github.com/lockutils/lockutils/internal/queue"
)

// ResetFigures forgets all figures and classes, for tests that count them from zero.
func ResetFigures() {
	figuresMu.Lock()
	defer figuresMu.Unlock()
	allFigures.Store(new(map[figuresKey]*figures))
	figureLabels = map[string]bool{otherClass: true}
}

// ClassifyWait finds the figures of a wait for a named lock, as each wait does when it begins.
func ClassifyWait(name string) {
	figuresOf(&queue.Wait{Subject: queue.Subject{In: internalLocks, Name: name}})
}

// SnapshotAfter is Snapshot with a call of f after the holders have been found, and before the locks are.
func SnapshotAfter(f func()) []LockInfo {
	known := knownHolders()
	f()
	return snapshot(allTables(), known)
}

// MemoryOf returns the address of the lock that serves the name now.
func MemoryOf(name string) any { return internalLocks.Serving(names.Key{Name: name}) }
