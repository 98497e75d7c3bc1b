//go:build gc && !race

package queue

import "sync/atomic"

// What sync/atomic does not offer, and the processor has for next to nothing.

// storeRelease stores v for those who load it atomically: whoever finds v there sees all that was written before.
//
// Unlike [atomic.Uint64.Store] it does not keep later loads from being done before it. That would take a locked
// instruction, as dear as a compare-and-swap; this is a plain one.
//
//go:noescape
func storeRelease(p *atomic.Uint64, v uint64)

// prefetchForWrite asks for the cache line of p, to be written soon. Without it, a load followed by a compare-and-swap
// waits for another processor twice: for a copy, and then for leave to change it.
//
//go:noescape
func prefetchForWrite(p *atomic.Uint64)
