package lockutils

// Locks that are served strictly in order of arrival are reader-writer locks that are used as
// writers only, as in oslo.concurrency.

// FairLocks is a container of named locks that are served strictly in order of arrival. It is
// another name of [ReaderWriterLocks], whose locks are served so. As in oslo.concurrency, a fair
// lock is a reader-writer lock. Most programs use its Lock and Unlock only.
type FairLocks = ReaderWriterLocks

// FairLock is the handle of a lock of [FairLocks], and so a [sync.Locker]. It is another name of
// [NamedReaderWriterLock].
type FairLock = NamedReaderWriterLock
