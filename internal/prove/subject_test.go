package prove

import (
	"context"
	"time"

	"github.com/lockutils/lockutils"
)

// A subject is what the harness drives: named locks of this library, or mutants. Its errors are
// those of the library.
type subject interface {
	lock(ctx context.Context, name string, r request) (guard, error)
	try(name string, r request) (guard, error)
}

// A guard represents one hold.
type guard interface{ Unlock() error }

// A remover is a subject whose locks have files.
type remover interface {
	remove(name string) error
	sweep() error
}

// A contender is a kind of lock with the requests that it supports.
type contender struct {
	name     string
	permits  int
	requests []request // to choose from
	open     func(dir string) subject
}

var (
	plain         = request{Mode: exclusive}
	plainShared   = request{Mode: shared}
	fair          = request{Mode: exclusive, Fair: true}
	fairShared    = request{Mode: shared, Fair: true}
	mixedRequests = []request{plain, plainShared, fair, fairShared}
	plainRequests = []request{plain, plainShared}
	fairRequests  = []request{fair, fairShared}
)

// goroutineContenders are the locks of one process.
var goroutineContenders = []contender{
	{"Lock", 1, []request{plain}, options()},
	{"Lock with Shared", 1, plainRequests, options()},
	{"Lock with Fair", 1, []request{fair}, options()},
	{"Lock with Fair and Shared, mixed", 1, mixedRequests, options()},
	{
		"Lock with WithSemaphores",
		3,
		plainRequests,
		options(lockutils.WithSemaphores(lockutils.NewSemaphores(3))),
	},
	{"Semaphore", 3, []request{plain}, openSemaphores},
	{"FairLock", 1, []request{fair}, openFairLocks},
	{"NamedReaderWriterLock", 1, fairRequests, openReaderWriterLocks},
	{"ReaderWriterLock", 1, fairRequests, openReaderWriterLock},
}

// fileContenders are the locks between processes.
var (
	sharedFiles = contender{"Lock with External and Shared", 1, plainRequests, fileOptions()}

	fileContenders = []contender{
		{"Lock with External", 1, []request{plain}, fileOptions()},
		sharedFiles,
		{"ExternalLock", 1, plainRequests, openExternal},
		{"InterProcessLock", 1, plainRequests, openInterProcess},
	}
)

// byOptions drives the package's functions with the options.
type byOptions []lockutils.Option

func options(opts ...lockutils.Option) func(dir string) subject {
	return func(dir string) subject {
		return byOptions(append([]lockutils.Option{
			lockutils.WithLockPath(dir), lockutils.WithLogging(false), lockutils.WithDelay(time.Millisecond),
		}, opts...))
	}
}

func (o byOptions) of(r request) []lockutils.Option {
	opts := append([]lockutils.Option{}, o...)
	if r.Mode == shared {
		opts = append(opts, lockutils.Shared())
	}
	if r.Fair {
		opts = append(opts, lockutils.Fair())
	}
	return opts
}

func (o byOptions) lock(ctx context.Context, name string, r request) (guard, error) {
	return orNil(lockutils.LockContext(ctx, name, o.of(r)...))
}

func (o byOptions) try(name string, r request) (guard, error) {
	return orNil(lockutils.TryLock(name, o.of(r)...))
}

// withFiles is byOptions for locks that have files.
type withFiles struct{ byOptions }

func fileOptions(opts ...lockutils.Option) func(dir string) subject {
	return func(dir string) subject {
		return withFiles{options(append(opts, lockutils.External())...)(dir).(byOptions)}
	}
}

func (f withFiles) remove(name string) error {
	return lockutils.RemoveExternalLockFile(name, f.byOptions...)
}

func (f withFiles) sweep() error {
	_, err := lockutils.SweepExternalLockFiles(0, f.byOptions...)
	return err
}

func orNil(g lockutils.Guard, err error) (guard, error) {
	if err != nil {
		return nil, err
	}
	return g, nil
}
