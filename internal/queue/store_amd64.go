//go:build gc && !race

package queue

import "sync/atomic"

// storeRelease stores v for those who load it atomically: whoever finds v there sees all that was written before.
//
// Unlike [atomic.Uint64.Store] it does not keep later loads from being done sooner. On this architecture that takes a locked
// instruction, as dear as a compare-and-swap, and this a plain one.
//
//go:noescape
func storeRelease(p *atomic.Uint64, v uint64)
