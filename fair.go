package lockutils

// Locks that are served strictly in order of arrival are reader-writer locks that are used as
// writers only, as in oslo.concurrency.

// FairLocks is a container of named locks that are served strictly in order of arrival. It is another
// name of [ReaderWriterLocks], whose locks are served in that way: as in oslo.concurrency, a fair lock
// is a reader-writer lock of which most programs use the writer's half only.
type FairLocks = ReaderWriterLocks

// FairLock is the handle of a named lock of [FairLocks], a [sync.Locker] among other things. It is
// another name of [NamedReaderWriterLock].
type FairLock = NamedReaderWriterLock
