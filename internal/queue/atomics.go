//go:build !amd64 || !gc || race

package queue

import "sync/atomic"

// What atomics_amd64.go explains, as far as every architecture has it.

func storeRelease(p *atomic.Uint64, v uint64) { p.Store(v) }

func prefetchForWrite(*atomic.Uint64) {}
