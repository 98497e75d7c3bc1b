//go:build !amd64 || !gc || race

package queue

import "sync/atomic"

// storeRelease stores v for those who load it atomically: whoever finds v there sees all that was written before.
func storeRelease(p *atomic.Uint64, v uint64) { p.Store(v) }
