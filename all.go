package lockutils

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/lockutils/lockutils/internal/queue"
)

// LockAll acquires all the named locks, or none of them. It acquires them in an order of its own, which
// does not depend on that of names, so that calls with overlapping sets cannot deadlock each other.
//
// The set is made of locks, not of names: a name that occurs twice counts once, and so do names with the
// same lock file, "a/b" and "a_b" for example. If two lock files are hard links of one file, the call
// fails with [ErrDeadlock] unless it is [Shared]. From a container each lock is one permit. The options
// apply to every lock, but a timeout bounds the whole call. With no names nothing is acquired, and
// nothing can fail but the options.
//
// An error is an [*AcquireError] that names the lock that could not be acquired. Nothing is held then.
func LockAll(ctx context.Context, names []string, opts ...Option) (Guards, error) {
	s := settingsOf(opts)
	set, err := acquireAll(ctx, names, &s)
	if err != nil {
		return nil, err
	}
	return set.guards, nil
}

// DoAll is [Do] for several locks, acquired as [LockAll] does. The context that fn gets knows them all.
func DoAll(
	ctx context.Context, names []string, fn func(ctx context.Context) error, opts ...Option,
) (err error) {
	if fn == nil {
		return &AcquireError{Err: invalid("nil function")}
	}
	s := settingsOf(opts)
	set, err := acquireAll(ctx, names, &s)
	if err != nil {
		return err
	}
	defer func() {
		if e := set.guards.Unlock(); err == nil {
			err = e
		}
	}()
	ctx, stop := set.holding(ctx)
	defer stop()
	return fn(ctx)
}

// Guards stands for several locks that were acquired together, in the order of their acquisition.
type Guards []Guard

// Unlock releases all the locks, the last first. It returns the joined errors of [Guard.Unlock].
func (gs Guards) Unlock() (err error) {
	var errs []error
	defer func() { err = errors.Join(errs...) }()
	for _, g := range gs {
		defer func() { // The last is called first, and the others also if a log handler panics.
			if err := g.Unlock(); err != nil {
				errs = append(errs, err)
			}
		}()
	}
	return nil
}

// The order of acquisition has two steps. First come the locks inside the process, ordered by name. They
// share a prefix and a container, since one call has one set of options. Then come the files, ordered by
// path, or the locks of the service, ordered by name. So calls with and without files agree on the order
// of what both acquire. So do processes that spell the same files differently.

// A lockSet is what one call of LockAll acquires.
type lockSet struct {
	settings *settings
	members  []*member // ordered by name
	outer    []*member // those with a file or a service, in the order of acquisition
	guards   Guards
}

// A member is one lock of a set.
type member struct {
	name, path, label string
	file              string    // path without symbolic links: says which members share a file
	aliases           []*member // with the same file; their guard is that of this member
	isAlias           bool
	share             bool   // the context holds a share of the lock already
	held              layers // what is held and has no guard yet
	log               *acquireLog

	// For contexts: what tells whether the lock is held, and how far.
	hold     queue.Hold
	lock     *queue.Lock
	hasOuter bool // the file, or the lock of the service
	tracked  bool
}

func acquireAll(ctx context.Context, names []string, s *settings) (*lockSet, error) {
	if err := s.check(); err != nil {
		return nil, s.refused("", err)
	}
	if ctx == nil || len(names) > 0 {
		if err := usable(ctx); err != nil {
			return nil, s.refused("", err)
		}
	}
	set, err := newLockSet(ctx, names, s)
	if err != nil {
		return nil, err
	}
	complete := false
	defer func() {
		if !complete { // also if a log handler panics
			set.abandon()
		}
	}()
	if s.timed && s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.timeout, ErrTimeout)
		defer cancel()
	}
	if err := set.acquire(ctx); err != nil {
		return nil, err
	}
	complete = true
	return set, nil
}

// newLockSet finds out which locks the names mean, and whether the context may wait for them.
func newLockSet(ctx context.Context, names []string, s *settings) (*lockSet, error) {
	names = slices.Clone(names)
	slices.Sort(names)
	names = slices.Compact(names)
	set := &lockSet{settings: s, members: make([]*member, len(names))}
	files := make(map[string]*member)
	directories := make(map[string]string)
	for i, name := range names {
		m := &member{name: name, label: name}
		set.members[i] = m
		if s.hasFile() {
			var err error
			if m.path, m.label, err = s.filePath(name); err != nil {
				return nil, s.refused(name, err)
			}
			m.file = resolve(m.path, directories)
		}
		switch checkHeld(ctx, m.path, name, s) {
		case wouldDeadlock:
			if s.waits() {
				return nil, m.failed(s, ErrDeadlock)
			}
		case holdsShare:
			m.share = true
		}
		switch first := files[m.file]; {
		case m.file != "" && first != nil:
			first.aliases, m.isAlias = append(first.aliases, m), true
			continue
		case m.file != "":
			files[m.file] = m
		}
		if m.file != "" || s.onService {
			set.outer = append(set.outer, m)
		}
	}
	slices.SortStableFunc(set.outer, func(a, b *member) int { return cmp.Compare(a.file, b.file) })
	return set, nil
}

// resolve returns the path with the symbolic links of its directory followed, as far as that exists. The
// results for directories are kept in known. The engine follows no link in place of a lock file.
func resolve(path string, known map[string]string) string {
	dir, file := filepath.Split(path)
	real, ok := known[dir]
	if !ok {
		real = resolveDirectory(filepath.Clean(dir))
		known[dir] = real
	}
	return filepath.Join(real, file)
}

func resolveDirectory(dir string) string {
	real, err := filepath.EvalSymlinks(dir)
	if err == nil {
		return real
	}
	parent, last := filepath.Split(dir)
	if last == "" {
		return dir
	}
	return filepath.Join(resolveDirectory(filepath.Clean(parent)), last)
}

// acquire acquires the members one after the other.
func (set *lockSet) acquire(ctx context.Context) error {
	s := set.settings
	for _, m := range set.members {
		if !m.isAlias {
			m.log = newAcquireLog(ctx, m.name, "", m.path, s)
		}
		m.log.acquiring()
		err := set.step(ctx, m, func(ctx context.Context, s *settings) (err error) {
			m.held.internal, err = acquireIn(ctx, s.table(), s.key(m.name), s)
			return err
		})
		if err != nil {
			return m.failed(s, err)
		}
		m.hold = m.held.internal
		m.lock, _ = m.hold.Of()
	}
	for i, m := range set.outer {
		err := set.step(ctx, m, func(ctx context.Context, s *settings) error {
			if s.waits() {
				if err := m.passOwnFile(set.outer[:i], s); err != nil {
					return err
				}
			}
			return m.held.acquireOuter(ctx, m.name, m.path, s)
		})
		if err != nil {
			return m.failed(s, err)
		}
		m.hasOuter = true
	}
	set.handOver()
	for _, m := range set.members {
		if s.waits() {
			watchOrder(ctx, s.key(m.name), s.mode())
		}
	}
	return nil
}

// passOwnFile keeps a member from waiting for a file that one of those before it holds, since hard links
// lead from both paths to it. A share of the file is shared once more.
func (m *member) passOwnFile(before []*member, s *settings) error {
	if m.path == "" {
		return nil
	}
	i := slices.IndexFunc(before, func(o *member) bool { return isSameFile(m.path, o.path) })
	switch {
	case i < 0:
	case s.shared:
		s.reentrantShare = true
	default:
		return fmt.Errorf("%w: the file of %q is the same", ErrDeadlock, before[i].name)
	}
	return nil
}

// step acquires one layer of a member: at once if that is possible, and else by waiting with a context
// that knows what is held so far. A lock service would have to be asked twice.
func (set *lockSet) step(
	ctx context.Context, m *member, acquire func(context.Context, *settings) error,
) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	s := *set.settings
	s.reentrantShare = m.share
	if !s.onService || s.nonBlocking || s.timed && s.timeout == 0 {
		atOnce := s
		atOnce.nonBlocking = true
		if err := acquire(ctx, &atOnce); !errors.Is(err, ErrLocked) || s.nonBlocking {
			return err
		}
		if s.timed && s.timeout == 0 {
			return errLockedNow
		}
	}
	return acquire(set.holdingSoFar(ctx), &s)
}

// handOver makes the guards of what has been acquired.
func (set *lockSet) handOver() {
	order := set.outer
	if len(order) == 0 {
		order = set.members
	}
	set.guards = make(Guards, 0, len(order))
	for _, m := range order {
		held := m.held
		for _, a := range m.aliases {
			held.aliases = append(held.aliases, alias{a.name, a.held.internal})
			a.held = layers{}
		}
		m.held = layers{}
		if m.tracked = tracked(); m.tracked {
			trackHold(m.name, m.path, &held, set.settings)
		}
		g := newGuard(m.label, m.path, held, m.log)
		m.hold = g.hold
		set.guards = append(set.guards, g)
		m.log.acquired(g)
	}
}

// abandon releases what is held, the last first.
func (set *lockSet) abandon() {
	for _, m := range set.members {
		defer func() { _ = m.held.release() }() // also if a log handler or a driver panics
	}
	_ = set.guards.Unlock()
}

// holding returns ctx with the knowledge of all the locks. It ends when one of them is lost.
func (set *lockSet) holding(ctx context.Context) (context.Context, context.CancelFunc) {
	stops := make([]context.CancelFunc, len(set.guards))
	for i, g := range set.guards {
		ctx, stops[i] = untilLost(ctx, g)
	}
	return set.holdingSoFar(ctx), func() {
		for _, stop := range slices.Backward(stops) {
			stop()
		}
	}
}

// holdingSoFar returns ctx with the knowledge of what is held.
func (set *lockSet) holdingSoFar(ctx context.Context) context.Context {
	var last *holdingContext
	outer := innermost(ctx)
	for _, m := range set.members {
		if !m.hold.Held() {
			continue
		}
		c := newHolding(ctx, outer, m.name, m.hold, set.settings)
		if m.hasOuter {
			c.path = m.path
		} else {
			c.service, c.serviceName = nil, ""
		}
		c.lock, c.tracked = m.lock, m.tracked
		last, outer = c, c
	}
	if last == nil {
		return ctx
	}
	return last
}

// failed returns the error of a member, and logs it.
func (m *member) failed(s *settings, err error) error {
	m.log.failed(err)
	return s.failed(m.name, m.path, err)
}
