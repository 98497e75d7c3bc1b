package lockutils

import "context"

// A project usually defines its locks once, with its prefix and its default options, and uses
// nothing else:
//
//	var (
//		Lock         = lockutils.LockWithPrefix("nova")
//		LockContext  = lockutils.LockContextWithPrefix("nova")
//		Do           = lockutils.DoWithPrefix("nova")
//		Synchronized = lockutils.SynchronizedWithPrefix("nova")
//		LockCleanup  = lockutils.RemoveExternalLockFileWithPrefix("nova")
//	)

// A LockFunc is [Lock] within a project.
type LockFunc func(name string, opts ...Option) (Guard, error)

// A LockContextFunc is [LockContext] within a project.
type LockContextFunc func(ctx context.Context, name string, opts ...Option) (Guard, error)

// A DoFunc is [Do] within a project.
type DoFunc func(
	ctx context.Context, name string, fn func(ctx context.Context) error, opts ...Option,
) error

// A SynchronizedFunc is [Synchronized] within a project.
type SynchronizedFunc func(name string, fn func() error, opts ...Option) func() error

// A CleanupFunc is [RemoveExternalLockFile] within a project.
type CleanupFunc func(name string, opts ...Option) error

// LockWithPrefix returns [Lock] with [WithPrefix] and these default options. The options of a call
// come after them, see [Option].
func LockWithPrefix(prefix string, defaults ...Option) LockFunc {
	project := projectOptions(prefix, defaults)
	return func(name string, opts ...Option) (Guard, error) {
		ctx := context.Background()
		if len(opts) > 0 {
			return project.acquireWith(ctx, name, opts)
		}
		s := project.settings()
		if h, ok := s.acquireFast(ctx, name); ok {
			return Guard{name, h}, nil
		}
		return acquireSlow(ctx, name, "", s)
	}
}

// LockContextWithPrefix returns [LockContext] with [WithPrefix] and these default options, see
// [LockWithPrefix].
func LockContextWithPrefix(prefix string, defaults ...Option) LockContextFunc {
	project := projectOptions(prefix, defaults)
	return func(ctx context.Context, name string, opts ...Option) (Guard, error) {
		if len(opts) > 0 {
			return project.acquireWith(ctx, name, opts)
		}
		return acquire(ctx, name, "", project.settings())
	}
}

// DoWithPrefix returns [Do] with [WithPrefix] and these default options, see [LockWithPrefix].
func DoWithPrefix(prefix string, defaults ...Option) DoFunc {
	project := projectOptions(prefix, defaults)
	return func(
		ctx context.Context, name string, fn func(ctx context.Context) error, opts ...Option,
	) error {
		if len(opts) == 0 {
			return doAs(ctx, name, "", fn, project.settings())
		}
		s := project.with(opts)
		return doAs(ctx, name, "", fn, &s)
	}
}

// SynchronizedWithPrefix returns [Synchronized] with [WithPrefix] and these default options, see
// [LockWithPrefix].
func SynchronizedWithPrefix(prefix string, defaults ...Option) SynchronizedFunc {
	project := projectOptions(prefix, defaults)
	return func(name string, fn func() error, opts ...Option) func() error {
		return synchronized(name, fn, keepOptions(project.lists[0], opts))
	}
}

// RemoveExternalLockFileWithPrefix returns [RemoveExternalLockFile] with [WithPrefix] and these
// default options, see [LockWithPrefix].
func RemoveExternalLockFileWithPrefix(prefix string, defaults ...Option) CleanupFunc {
	project := projectOptions(prefix, defaults)
	return func(name string, opts ...Option) error {
		s := project.with(opts)
		return removeExternalLockFile(name, &s)
	}
}

func projectOptions(prefix string, defaults []Option) *keptOptions {
	return keepOptions(append([]Option{WithPrefix(prefix)}, defaults...))
}

// acquireWith acquires a lock with these options and those of a call.
func (k *keptOptions) acquireWith(ctx context.Context, name string, opts []Option) (Guard, error) {
	s := k.with(opts)
	return acquire(ctx, name, "", &s)
}
