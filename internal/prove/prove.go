// Package prove is the evidence that the locks keep their promises. All of it is in its tests:
//
//   - Histories: goroutines and processes take, try, abandon and release locks and remove lock files, and record when each of
//     these operations began and ended. A checker then looks for an order of the operations that a model of the lock allows.
//   - Broken variants: small locks with one flaw each, driven by the same code. Each must be caught, since a checker that
//     has never failed proves nothing.
//   - Faults: processes are killed and stopped, lock files removed and replaced, descriptors and disk space exhausted, beside
//     other programs that lock the same files; and all the while a ledger shows if two were ever let in together.
//
// The flag -prove.time says for how long; it is a few seconds by default. With -prove.report the run shows its progress
// and writes its table into the document given:
//
//	cd internal/prove && go test -count=1 -timeout=0 -prove.time=2m -prove.report=../../docs/reliability.md
package prove
