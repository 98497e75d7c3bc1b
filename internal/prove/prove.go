// Package prove checks that the locks keep their promises. All of it is in its tests:
//
//   - Histories: goroutines and processes acquire, try, cancel and release locks and remove lock
//     files. They record when each operation began and ended. A checker then searches for an order
//     of the operations that a model of the lock allows.
//   - Mutants: small locks with one flaw each, driven by the same code. The checks must catch each
//     of them, since a checker that has never failed proves nothing.
//   - Faults: processes are killed and stopped, lock files removed and replaced, descriptors and
//     disk space exhausted, beside other programs that lock the same files. A ledger shows each
//     overlap of two holders.
//
// Lock services have trials of their own in the modules of their drivers, which run with the flag
// -prove.services.
//
// The flag -prove.time sets the total time, which is a few seconds by default. With -prove.report
// the run shows its progress and writes its table into the given document:
//
//	cd internal/prove
//	go test -count=1 -timeout=0 -prove.time=2m -prove.services -prove.report=../../docs/reliability.md
package prove
