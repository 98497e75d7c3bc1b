package prove

import (
	"context"
	"time"

	"github.com/lockutils/lockutils"
)

// A subject is what the harness drives: locks with names, of this library or with a flaw. Its errors are those of the
// library.
type subject interface {
	lock(ctx context.Context, name string, r request) (guard, error)
	try(name string, r request) (guard, error)
}

// A guard stands for one hold.
type guard interface{ Unlock() error }

// A remover is a subject whose locks have files.
type remover interface {
	remove(name string) error
	sweep() error
}

// A contender is a kind of lock with what the harness may ask of it.
type contender struct {
	name    string
	permits int
	asks    []request // modes and orders to choose from
	open    func(dir string) subject
}

var (
	plainAsk  = request{Mode: exclusive}
	readAsk   = request{Mode: shared}
	fairAsk   = request{Mode: exclusive, Fair: true}
	fairRead  = request{Mode: shared, Fair: true}
	allAsks   = []request{plainAsk, readAsk, fairAsk, fairRead}
	plainAsks = []request{plainAsk, readAsk}
	fairAsks  = []request{fairAsk, fairRead}
)

// goroutineContenders are the locks of one process.
var goroutineContenders = []contender{
	{"Lock", 1, []request{plainAsk}, options()},
	{"Lock with Shared", 1, plainAsks, options()},
	{"Lock with Fair", 1, []request{fairAsk}, options()},
	{"Lock with Fair and Shared, mixed", 1, allAsks, options()},
	{"Lock with WithSemaphores", 3, plainAsks, options(lockutils.WithSemaphores(lockutils.NewSemaphores(3)))},
	{"Semaphore", 3, []request{plainAsk}, openSemaphores},
	{"FairLock", 1, []request{fairAsk}, openFairLocks},
	{"NamedReaderWriterLock", 1, fairAsks, openReaderWriterLocks},
	{"ReaderWriterLock", 1, fairAsks, openReaderWriterLock},
}

// fileContenders are the locks between processes.
var (
	sharedFiles = contender{"Lock with External and Shared", 1, plainAsks, fileOptions()}

	fileContenders = []contender{
		{"Lock with External", 1, []request{plainAsk}, fileOptions()},
		sharedFiles,
		{"ExternalLock", 1, plainAsks, openExternal},
		{"InterProcessLock", 1, plainAsks, openInterProcess},
	}
)

// byOptions drives the functions of the package.
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

// withFiles drives the functions of the package for locks that have files.
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
	_, err := lockutils.RemoveExternalLockFiles(0, f.byOptions...)
	return err
}

func orNil(g lockutils.Guard, err error) (guard, error) {
	if err != nil {
		return nil, err
	}
	return g, nil
}
