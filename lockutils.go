// Package lockutils provides locks by name. A program acquires the lock called "instance-4711",
// whether the contenders are goroutines of one process, processes of one host or hosts of a
// cluster. It does not create, keep or clean up lock objects: a name costs memory only while its
// lock is held or waited for.
//
//	guard, err := lockutils.Lock("instance-4711")
//	if err != nil {
//		return err
//	}
//	defer guard.Unlock()
//
// [Lock], [LockContext] and [TryLock] return a [Guard]. [Do] runs a function with the lock held,
// and [Synchronized] makes a function that always runs so. [LockAll] and [DoAll] acquire several
// locks. Containers such as [Semaphores] and [ReaderWriterLocks] have handles that work like a
// [sync.Locker]. Options say which lock a call means, and how to acquire it:
//
//   - [External] excludes other processes of the host too, through a lock file.
//   - [WithFcntl] also excludes programs that know fcntl locks only, such as Python's
//     oslo.concurrency.
//   - [On] excludes other hosts too, through a lock service.
//   - [Shared] lets readers in together.
//   - [Fair] serves requests strictly in order of arrival.
//   - [WithPrefix] puts the name in the scope of a project.
//
// Without Fair, a request may acquire a free lock although others wait for it, as with
// [sync.Mutex]. A waiter that has been passed for two milliseconds is served next.
//
// No lock is reentrant: a goroutine that requests a lock that it holds waits for ever. A request
// with the context of [Do] gets [ErrDeadlock] instead.
//
// All functions and methods may be called concurrently, unless their documentation says otherwise.
// The package is the Go counterpart of Python's oslo_concurrency.lockutils, from which many names
// come.
//
// # Memory
//
// In the terminology of [the Go memory model], the n'th release of a lock “synchronizes before” the
// m'th acquisition of it, for any n < m, inside one process. This holds for all locks of this
// package, lock files and lock services included, and for Do, Synchronized and the handles of
// containers. With shared holds, it holds between a release and an acquisition of which at least
// one is exclusive. A downgrade is a release of the exclusive hold. With n permits, the k'th
// release “synchronizes before” the k+n'th acquisition. A call that fails to acquire a lock
// establishes no “synchronizes before” relation.
//
// # Errors and panics
//
// A call that can fail in a correct program returns an error, or false if it only tries. A call
// that can fail only because the program is wrong panics, as the sync package does.
//
//	Lock, LockContext, TryLock, InternalLock, InternalFairLock,   *AcquireError
//	ExternalLock, LockAll, and their forms with a prefix
//	Do, DoAll; synchronized functions with an error result        *AcquireError, or fn's error,
//	                                                              or that of Unlock
//	synchronized functions without one                            panic with the *AcquireError
//	Guard.Unlock, Guards.Unlock                                   ErrNotHeld, ErrLost, or an error of
//	                                                              the file system or the service
//	InterProcessLock: Lock, RLock, their Context and Guard forms  *AcquireError
//	InterProcessLock: TryLock, TryRLock                           false; *AcquireError for other
//	                                                              reasons than ErrLocked
//	InterProcessLock: Unlock, RUnlock                             as Guard.Unlock
//	handles: Acquire, LockContext, RLockContext                   *AcquireError
//	handles: Lock, RLock, TryLock, TryRLock, TryAcquire           none; false
//	handles: Unlock, RUnlock, Downgrade, Release                  panic if the lock is not held so
//	RemoveExternalLockFile, Holders and others about lock files   error
//	NewSemaphores, Synchronized, Guard.Context, ReadStats and     panic if an argument makes no sense
//	the setters of settings
//
// The text of each error and panic begins with “lockutils: ”, once: the reason inside an
// AcquireError does not repeat it. Errors of fn are passed on as they are.
//
// [the Go memory model]: https://go.dev/ref/mem
package lockutils

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/lockutils/lockutils/internal/filelock"
	"github.com/lockutils/lockutils/internal/names"
	"github.com/lockutils/lockutils/internal/queue"
	"github.com/lockutils/lockutils/internal/servicelock"
)

// Lock acquires the named lock and returns the guard that releases it. It waits for as long as it
// takes, unless an option says otherwise. Its error is an [*AcquireError].
//
// Inside a process the prefix, the container and the name make the lock. Calls with and without
// [External], [On] or [Fair] exclude each other. The name may be any string. A lock with a file
// needs one that is fit for a file name, see [ErrName].
func Lock(name string, opts ...Option) (Guard, error) {
	ctx := context.Background()
	if len(opts) > 0 {
		if h, ok := lockPlain(ctx, name, opts); ok {
			return Guard{name, h}, nil
		}
		return lockSlow(ctx, name, opts)
	}
	if !detour.Load() && !handler().Enabled(ctx, slog.LevelDebug) {
		if h, ok := internalLocks.AcquireFast(names.Key{Name: name}, noScope.Of(name), queue.Barging); ok {
			return Guard{name, h}, nil
		}
	}
	return lockSlow(ctx, name, nil)
}

// LockContext is [Lock] with a wait that ends with ctx. The error then matches ctx.Err() and
// context.Cause(ctx). If ctx has ended before, LockContext does not acquire even a free lock. If
// ctx comes from [Do] and holds the lock, the error matches [ErrDeadlock]. A nil ctx gives an error
// that matches [ErrOptions].
func LockContext(ctx context.Context, name string, opts ...Option) (Guard, error) {
	if !canWait(ctx) {
		return lockSlow(ctx, name, opts)
	}
	if len(opts) > 0 {
		if h, ok := lockPlain(ctx, name, opts); ok {
			return Guard{name, h}, nil
		}
		return lockSlow(ctx, name, opts)
	}
	if !detour.Load() && !handler().Enabled(ctx, slog.LevelDebug) {
		if h, ok := internalLocks.AcquireFast(names.Key{Name: name}, noScope.Of(name), queue.Barging); ok {
			return Guard{name, h}, nil
		}
	}
	return lockSlow(ctx, name, nil)
}

// lockSlow is LockContext for all but a free lock of this process.
func lockSlow(ctx context.Context, name string, opts []Option) (Guard, error) {
	if len(opts) == 0 {
		return acquireSlow(ctx, name, "", defaultsNow())
	}
	var s settings
	s.collect(opts)
	return acquireSlow(ctx, name, "", &s)
}

// lockPlain acquires a free lock of this process whose options need no settings: to fill and to
// read those takes longer than the rest. The context must not have ended.
func lockPlain(ctx context.Context, name string, opts []Option) (queue.Hold, bool) {
	prefix, shared, silent, order := "", false, false, queue.Barging
	for i := range opts {
		o := &opts[i]
		if o.optionSpec == nil {
			continue
		}
		switch o.kind {
		case optPrefix:
			prefix = o.text
		case optFair:
			order = queue.Fair
		case optShared:
			shared = true
		case optLogging:
			silent = o.number != 0
		case optTimeout:
			if o.number < 0 {
				return queue.Hold{}, false
			}
		default:
			return queue.Hold{}, false
		}
	}
	if detour.Load() || !silent && handler().Enabled(ctx, slog.LevelDebug) {
		return queue.Hold{}, false
	}
	k := names.Key{Scope: strings.TrimSuffix(prefix, "-"), Name: name}
	hash := names.NewScopeHash(k.Scope).Of(name)
	if shared {
		return internalLocks.ShareFast(k, hash)
	}
	return internalLocks.AcquireFast(k, hash, order)
}

// TryLock is [Lock] with [NonBlocking]: it returns an error that matches [ErrLocked] if the lock is
// held. As with [sync.Mutex.TryLock], that can happen although no goroutine holds the lock, if
// others acquire and release it at the same instant.
func TryLock(name string, opts ...Option) (Guard, error) {
	var s settings
	s.collect(opts)
	s.applyNonBlocking()
	return acquire(context.Background(), name, "", &s)
}

// InternalLock acquires the layer of [Lock] inside the process only, for programs that compose
// locks themselves. [External] and [On] are errors.
func InternalLock(name string, opts ...Option) (Guard, error) {
	s := settingsOf(opts)
	if s.given.has(optExternal) || s.given.has(optService) {
		return Guard{}, s.refused(name, invalid("InternalLock with External or On"))
	}
	s.external, s.onService = false, false
	return acquire(context.Background(), name, "", &s)
}

// InternalFairLock is [InternalLock] with [Fair].
func InternalFairLock(name string, opts ...Option) (Guard, error) {
	s := settingsOf(opts)
	if s.given.has(optExternal) || s.given.has(optService) {
		return Guard{}, s.refused(name, invalid("InternalFairLock with External or On"))
	}
	s.external, s.onService, s.fair = false, false, true
	return acquire(context.Background(), name, "", &s)
}

// Len returns how many locks of the package's own container are in use now: held or waited for. The
// locks of other containers, of [ExternalLock] and of [InterProcessLock] do not count.
func Len() int { return internalLocks.Len() }

// A Guard stands for one acquisition of a lock. It is a small value that may be copied. Any
// goroutine may unlock it. The zero Guard holds nothing.
type Guard struct {
	label string     // the lock's name; with a guardState: path, labelSeparator, name
	hold  queue.Hold // of the internal lock, or a guardState's record
}

// A guardState is what a guard needs for a lock with a file, or with log messages, until it is
// unlocked. It is not part of the guard, which must stay small enough to be returned in registers.
type guardState struct {
	record    queue.Record
	atService *servicelock.Hold // that of layers, if there is one; never changed
	layers
	log *acquireLog // nil unless the release is to be logged
}

// layers are the holds that one lock is made of, in the order in which they are acquired.
type layers struct {
	internal queue.Hold        // zero for nothing but a file
	aliases  []alias           // other names that LockAll has found to lead to the same file
	file     *filelock.Hold    // nil if there is none
	service  *servicelock.Hold // nil if there is none
	track    *track            // nil unless the hold is tracked

	// For Guard.Context, if there is a file or a service.
	mode queue.Mode
	at   serviceID
	key  names.Key // of the internal lock, if there is a service
}

// An alias is the lock inside the process of another name.
type alias struct {
	name string
	hold queue.Hold
}

// guardStates is a pool: the records tell which guards they belong to. States with a service are
// not pooled, since their guards can be asked about the hold after its end.
var guardStates = sync.Pool{New: func() any { return new(guardState) }}

func newGuardState(held layers, log *acquireLog) queue.Hold {
	var x *guardState
	if held.service != nil {
		x = &guardState{atService: held.service}
	} else {
		x = guardStates.Get().(*guardState)
	}
	x.layers, x.log = held, log
	return x.record.Issue(x)
}

// Unlock releases the lock. A second Unlock, of whatever copy, returns [ErrNotHeld] and has no
// effect.
//
// With [On], Unlock returns [ErrLost] if the hold was lost before, or may have been. Any other
// error of the service means that it has not confirmed the release within a third of the TTL. The
// release then goes on in the background, until it is confirmed or the hold ends. Requests of this
// process for the lock wait for that.
//
// An error of the file system means that the lock file could not be closed properly. The lock is
// released all the same.
func (g Guard) Unlock() error {
	if g.hold.ReleaseFast() {
		return nil // nearly always
	}
	return g.unlockSlow()
}

// unlockSlow is Unlock for a lock with a guardState, or that others wait for, and for a guard that
// holds nothing any more.
func (g Guard) unlockSlow() error {
	x := g.state()
	if !g.hold.Release() {
		return ErrNotHeld
	}
	if x == nil {
		return nil
	}
	err := x.release()
	if err == nil || errors.Is(err, ErrLost) {
		return err
	}
	path, name := g.parts()
	return fmt.Errorf("lockutils: cannot confirm the release of %s%s: %w", title("", name), inFile(path), err)
}

// Name returns the lock's name, as given to the call. It is "" for the guard of an
// [InterProcessLock].
func (g Guard) Name() string {
	_, name := g.parts()
	return name
}

// Path returns the path of the lock file, or "" for a lock without one.
func (g Guard) Path() string {
	path, _ := g.parts()
	return path
}

func (g Guard) parts() (path, name string) {
	if g.state() == nil {
		return "", g.label
	}
	path, name, _ = strings.Cut(g.label, labelSeparator)
	return path, name
}

// labelSeparator is in no path.
const labelSeparator = "\x00"

func (g Guard) state() *guardState {
	x, _ := g.hold.Attachment().(*guardState)
	return x
}

// release releases in the opposite order of acquisition. It is called once for each hold of the
// record.
func (x *guardState) release() (err error) {
	held, log := x.layers, x.log
	if held.service == nil {
		x.layers, x.log = layers{}, nil
		guardStates.Put(x)
	}
	err = held.release()
	log.released()
	return err
}

// release releases in the opposite order of acquisition, also if a driver panics.
func (h layers) release() (err error) {
	defer h.internal.Release()
	for _, a := range h.aliases {
		defer a.hold.Release()
	}
	if h.service == nil {
		h.track.end()
	} else {
		defer h.track.end() // shown until the service has answered
	}
	if h.service != nil {
		err = h.service.Release()
		if errors.Is(err, ErrLost) {
			countLost(h.key.Scope, h.key.Name, h.mode)
		}
	}
	if h.file != nil {
		err = h.file.Unlock()
	}
	return err
}

// acquire takes the lock with these settings: the way of every acquisition by name. Log messages
// name the function that takes the lock, by, unless it is "".
func acquire(ctx context.Context, name, by string, s *settings) (Guard, error) {
	if canWait(ctx) {
		if h, ok := s.acquireFast(ctx, name); ok {
			return Guard{name, h}, nil
		}
	}
	return acquireSlow(ctx, name, by, s)
}

// acquireFast acquires a free lock of this process, of no container. The context must not have
// ended.
func (s *settings) acquireFast(ctx context.Context, name string) (queue.Hold, bool) {
	if !s.plain() || observed.Load() || !s.silent && handler().Enabled(ctx, slog.LevelDebug) {
		return queue.Hold{}, false
	}
	k, hash := s.key(name), s.prefixHash.Of(name)
	if s.shared {
		return internalLocks.ShareFast(k, hash)
	}
	return internalLocks.AcquireFast(k, hash, s.order())
}

// acquireSlow is acquire for all but a free lock of this process.
func acquireSlow(ctx context.Context, name, by string, s *settings) (Guard, error) {
	if err := s.check(); err != nil {
		return Guard{}, s.refused(name, err)
	}
	if err := usable(ctx); err != nil {
		return Guard{}, s.refused(name, err)
	}
	if s.plain() && !s.nonBlocking && !s.timed && innermost(ctx) == nil &&
		(s.silent || !handler().Enabled(ctx, slog.LevelDebug)) {
		return s.wait(ctx, name, by)
	}
	path, label := "", name
	if s.hasFile() {
		var err error
		if path, label, err = s.filePath(name); err != nil {
			return Guard{}, s.refused(name, err)
		}
	}
	return acquireChecked(ctx, name, by, path, label, s)
}

// wait is acquireChecked for what acquireFast acquires if it is free, and a context that holds
// nothing. It takes less than half of the stack: those of many waiters do not fit into the caches
// of a processor.
func (s *settings) wait(ctx context.Context, name, by string) (Guard, error) {
	from := queue.Origin{By: by, Quiet: s.silent}
	h, err := internalLocks.AcquireFrom(ctx, s.key(name), s.mode(), s.order(), from)
	if err != nil {
		return Guard{}, s.failed(name, "", waitError(ctx, err))
	}
	if observed.Load() {
		return s.observe(ctx, name, by, h), nil
	}
	return Guard{name, h}, nil
}

// observe ends a wait while acquisitions are observed.
func (s *settings) observe(ctx context.Context, name, by string, h queue.Hold) Guard {
	held, named := layers{internal: h}, *s
	named.by = by
	observeHold(ctx, name, "", &held, &named)
	return newGuard(name, "", held, nil)
}

// acquireChecked is acquire for settings and a context that can be used. The label is that of the
// guard.
func acquireChecked(ctx context.Context, name, by, path, label string, s *settings) (Guard, error) {
	switch checkHeld(ctx, path, name, s) {
	case wouldDeadlock:
		if s.waits() {
			return Guard{}, s.failed(name, path, ErrDeadlock)
		}
	case holdsShare:
		share := *s
		share.reentrantShare = true
		s = &share
	}
	if by != "" {
		named := *s
		named.by = by
		s = &named
	}
	log := newAcquireLog(ctx, name, by, path, s)
	log.acquiring()
	held, err := acquireTimed(ctx, name, path, s)
	if err != nil {
		log.failed(err)
		return Guard{}, s.failed(name, path, err)
	}
	if observed.Load() {
		observeHold(ctx, name, path, &held, s)
	}
	g := newGuard(label, path, held, log)
	log.acquired(g)
	return g, nil
}

// newGuard returns the guard of what is held. The label is the name, or path, labelSeparator, name.
func newGuard(label, path string, held layers, log *acquireLog) Guard {
	if log == nil && held.file == nil && held.service == nil && held.aliases == nil && held.track == nil {
		return Guard{label, held.internal}
	}
	if path == "" {
		label = labelSeparator + label
	}
	return Guard{label, newGuardState(held, log)}
}

// acquireTimed applies the timeout, if there is one. A lock that is free is acquired however short
// the timeout is.
func acquireTimed(ctx context.Context, name, path string, s *settings) (layers, error) {
	if s.timed {
		// A lock service would have to be asked twice.
		if !s.onService || s.timeout == 0 {
			atOnce := *s
			atOnce.nonBlocking = true
			held, err := acquireLayers(ctx, name, path, &atOnce)
			if !errors.Is(err, ErrLocked) {
				return held, err
			}
		}
		if s.timeout == 0 {
			return layers{}, errLockedNow
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.timeout, ErrTimeout)
		defer cancel()
	}
	return acquireLayers(ctx, name, path, s)
}

// acquireLayers acquires the internal lock, unless there is nothing but the file, and then the lock
// file or the lock of the service, if there is one.
func acquireLayers(ctx context.Context, name, path string, s *settings) (held layers, err error) {
	if !s.fileOnly {
		if held.internal, err = acquireIn(ctx, s.table(), s.key(name), s); err != nil {
			return layers{}, err
		}
	}
	complete, internal := false, held.internal
	defer func() {
		if !complete { // also if a driver panics
			internal.Release()
		}
	}()
	if err = held.acquireOuter(ctx, name, path, s); err != nil {
		return layers{}, err
	}
	complete = true
	return held, nil
}

// acquireOuter acquires what other processes contend for: the lock of the service or the lock file.
func (h *layers) acquireOuter(ctx context.Context, name, path string, s *settings) (err error) {
	h.mode = s.mode()
	switch {
	case s.onService:
		h.at, h.key = serviceID{s.service, s.serviceName(name)}, s.key(name)
		h.service, err = acquireAt(ctx, name, h.internal, s)
	case path != "":
		h.file, err = acquireFile(ctx, name, path, h.internal, s)
	}
	return err
}

// acquireIn acquires the lock of a key as the settings say.
func acquireIn(ctx context.Context, t *names.Table, key names.Key, s *settings) (queue.Hold, error) {
	if s.nonBlocking {
		h, ok := t.TryAcquire(key, s.mode(), s.order())
		if !ok {
			return h, ErrLocked
		}
		return h, nil
	}
	h, err := t.AcquireFrom(ctx, key, s.mode(), s.order(), s.origin())
	if err != nil {
		return h, waitError(ctx, err)
	}
	return h, nil
}

// origin returns what observers of a wait are told.
func (s *settings) origin() queue.Origin { return queue.Origin{By: s.by, Quiet: s.silent} }

// internalLocks is the container of all locks that are given no other.
var internalLocks = names.Default

// noScope is what the hashes of names without a prefix begin with.
const noScope names.ScopeHash = 0

func (s *settings) table() *names.Table {
	if s.semaphores != nil {
		return s.semaphores.locks()
	}
	return internalLocks
}

// key returns what a lock is known by in its container.
func (s *settings) key(name string) names.Key { return names.Key{Scope: s.prefixScope, Name: name} }

// scope returns what tells the lock from those of the same name in errors and log messages.
func (s *settings) scope() string {
	if s.semaphores == nil || s.fileOnly {
		return s.prefixScope
	}
	return scopeWithin(s.semaphores.scope(), s.prefixScope)
}

// waits reports whether the call may wait.
func (s *settings) waits() bool { return !s.nonBlocking && !(s.timed && s.timeout == 0) }

func (s *settings) mode() queue.Mode {
	if s.shared {
		return queue.Shared
	}
	return queue.Exclusive
}

func (s *settings) order() queue.Order {
	switch {
	case s.reentrantShare:
		return queue.Reentrant
	case s.fair:
		return queue.Fair
	}
	return queue.Barging
}
