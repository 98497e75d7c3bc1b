package prove

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockutils/lockutils"
)

// A handle is a lock that is released without a guard.
type handle struct {
	lock    func(context.Context) error
	try     func() bool
	release func()
}

// handles drives locks that have handles.
type handles func(name string, m mode) handle

func (h handles) lock(ctx context.Context, name string, r request) (guard, error) {
	l := h(name, r.Mode)
	if err := l.lock(ctx); err != nil {
		return nil, err
	}
	return l.guard(), nil
}

func (h handles) try(name string, r request) (guard, error) {
	l := h(name, r.Mode)
	if !l.try() {
		return nil, lockutils.ErrLocked
	}
	return l.guard(), nil
}

func (l handle) guard() guard {
	return &onceGuard{release: func() error { l.release(); return nil }}
}

// onceGuard releases once, for locks that cannot tell one hold from another.
type onceGuard struct {
	ended   atomic.Bool
	release func() error
}

func (g *onceGuard) Unlock() error {
	if g.ended.Swap(true) {
		return lockutils.ErrNotHeld
	}
	return g.release()
}

func openSemaphores(string) subject {
	container := lockutils.NewSemaphores(3)
	return handles(func(name string, _ mode) handle {
		s := container.Get(name)
		return handle{s.Acquire, s.TryAcquire, s.Release}
	})
}

func openFairLocks(string) subject {
	container := new(lockutils.FairLocks)
	return handles(func(name string, _ mode) handle {
		l := container.Get(name)
		return handle{l.LockContext, l.TryLock, l.Unlock}
	})
}

func openReaderWriterLocks(string) subject {
	container := new(lockutils.ReaderWriterLocks)
	return handles(func(name string, m mode) handle {
		l := container.Get(name)
		if m == shared {
			return handle{l.RLockContext, l.TryRLock, l.RUnlock}
		}
		return handle{l.LockContext, l.TryLock, l.Unlock}
	})
}

func openReaderWriterLock(string) subject {
	var locks sync.Map
	return handles(func(name string, m mode) handle {
		found, _ := locks.LoadOrStore(name, new(lockutils.ReaderWriterLock))
		l := found.(*lockutils.ReaderWriterLock)
		if m == shared {
			return handle{l.RLockContext, l.TryRLock, l.RUnlock}
		}
		return handle{l.LockContext, l.TryLock, l.Unlock}
	})
}

// external drives ExternalLock, whose waits end by a timeout.
type external struct{ withFiles }

func openExternal(dir string) subject { return external{withFiles{options()(dir).(byOptions)}} }

func (e external) lock(ctx context.Context, name string, r request) (guard, error) {
	opts := e.of(r)
	if end, ok := ctx.Deadline(); ok {
		opts = append(opts, lockutils.WithTimeout(max(0, time.Until(end))))
	}
	return orNil(lockutils.ExternalLock(name, opts...))
}

func (e external) try(name string, r request) (guard, error) {
	return orNil(lockutils.ExternalLock(name, append(e.of(r), lockutils.NonBlocking())...))
}

// interProcess drives InterProcessLock with one object for each path.
type interProcess struct {
	dir   string
	locks sync.Map
}

func openInterProcess(dir string) subject { return &interProcess{dir: dir} }

func (p *interProcess) get(name string) *lockutils.InterProcessLock {
	path := filepath.Join(p.dir, name)
	found, _ := p.locks.LoadOrStore(name,
		lockutils.NewInterProcessLock(path, lockutils.WithDelay(time.Millisecond)))
	return found.(*lockutils.InterProcessLock)
}

func (p *interProcess) lock(ctx context.Context, name string, r request) (guard, error) {
	l := p.get(name)
	if r.Mode == shared {
		return heldGuard(l.RLockContext(ctx), l.RUnlock)
	}
	return heldGuard(l.LockContext(ctx), l.Unlock)
}

func (p *interProcess) try(name string, r request) (guard, error) {
	l := p.get(name)
	take, release := l.TryLock, l.Unlock
	if r.Mode == shared {
		take, release = l.TryRLock, l.RUnlock
	}
	taken, err := take()
	if err == nil && !taken {
		err = lockutils.ErrLocked
	}
	return heldGuard(err, release)
}

func heldGuard(err error, release func() error) (guard, error) {
	if err != nil {
		return nil, err
	}
	return &onceGuard{release: release}, nil
}
