package lockutils

import (
	"context"
	"slices"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/internal/queue"
)

// Do runs fn with the named lock held. It releases the lock when fn returns, panics or ends its
// goroutine with [runtime.Goexit]. It returns fn's error. If it cannot acquire the lock, it returns
// an [*AcquireError] and does not run fn. The wait ends with ctx, as in [LockContext]. A nil fn
// gives an error that matches [ErrOptions].
//
// The context that fn gets is ctx with the knowledge of the lock: [HeldLocks] lists it. A request
// with this context that would wait for the lock fails with [ErrDeadlock], since the wait could not
// end. A request to share the lock while it is held exclusively is one of them, and so is the
// reverse. A lock that the context shares can be shared once more, also while other requests wait
// for it. The knowledge ends with the hold.
//
// If a lock at a service is lost, the context that fn gets ends with the cause [ErrLost], and Do
// returns ErrLost if fn returns nil.
func Do(ctx context.Context, name string, fn func(ctx context.Context) error, opts ...Option) error {
	if len(opts) == 0 {
		return doAs(ctx, name, "", fn, defaultsNow())
	}
	var s settings
	s.collect(opts)
	return doAs(ctx, name, "", fn, &s)
}

func doAs(ctx context.Context, name, by string, fn func(ctx context.Context) error, s *settings) (err error) {
	if fn == nil {
		return s.refused(name, invalid("nil function"))
	}
	if h, ok := s.acquireFast(ctx, name); ok {
		defer release(h)
		c := new(holdingContext)
		c.set(ctx, innermost(ctx), name, "", h, s)
		c.lock, _ = h.Of()
		return fn(c)
	}
	g, err := acquireSlow(ctx, name, by, s)
	if err != nil {
		return err
	}
	defer func() {
		if e := g.Unlock(); err == nil {
			err = e
		}
	}()
	c := holding(ctx, g, s)
	if g.Lost() == nil {
		return fn(c)
	}
	ctx, stop := untilLost(c, g)
	defer stop()
	return fn(ctx)
}

// release releases a hold of acquireFast, which nobody else can have released.
func release(h queue.Hold) {
	if !h.ReleaseFast() {
		h.Release()
	}
}

// HeldLocks returns the names of the locks that ctx holds, the outermost first: those of the calls
// of [Do], [DoAll] and [Synchronized] that ctx comes from, and of [Guard.Context]. A nil ctx holds none.
func HeldLocks(ctx context.Context) []string { return heldBelow(innermost(ctx)) }

// A holdingContext is the context that Do passes on: one link of the chain of locks held.
type holdingContext struct {
	context.Context
	outer *holdingContext // the next one out, or nil
	name  string
	path  string       // of the lock file; "" without one
	hold  queue.Hold   // tells whether the lock is still held
	lock  *queue.Lock  // inside the process; nil if there is none
	table *queue.Table // nil if only lock is known
	scope string       // of the key
	mode  queue.Mode

	tracked bool // the hold has a record, see SetTracking

	service     driver.Service // nil without one
	serviceName string
}

type holdingKey struct{}

func holding(ctx context.Context, g Guard, s *settings) context.Context {
	path, name := g.parts()
	c := new(holdingContext)
	c.set(ctx, innermost(ctx), name, path, g.hold, s)
	c.setLock(g)
	return c
}

// holdingGuard is holding for a guard that is all that is known of the lock.
func holdingGuard(ctx context.Context, g Guard) context.Context {
	path, name := g.parts()
	c := &holdingContext{Context: ctx, outer: innermost(ctx), name: name, path: path, hold: g.hold}
	held := g.hold.WhileHeld(func() {
		c.mode = c.setLock(g)
		if x := g.state(); x != nil && (x.file != nil || x.service != nil) {
			c.mode, c.service, c.serviceName = x.mode, x.at.service, x.at.name
		}
	})
	if !held {
		return ctx
	}
	return c
}

// setLock notes which lock inside the process is held, and returns how.
func (c *holdingContext) setLock(g Guard) (m queue.Mode) {
	hold := g.hold
	if x := g.state(); x != nil {
		hold = x.internal
		c.tracked = x.track != nil
	}
	c.lock, m = hold.Of()
	return m
}

// set fills a new link in place, since a copy would take longer than a free lock.
func (c *holdingContext) set(
	ctx context.Context, outer *holdingContext, name, path string, hold queue.Hold, s *settings,
) {
	c.Context, c.outer = ctx, outer
	c.name, c.path, c.hold = name, path, hold
	c.table, c.scope, c.mode = s.table(), s.prefixScope(), s.mode()
	if s.onService {
		c.service, c.serviceName = s.service, s.serviceName(name)
	}
}

// Value answers for the chain itself, and leaves the rest to the contexts further out.
func (c *holdingContext) Value(key any) any {
	if key == (holdingKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// isOf reports whether the hold is of the lock of that name.
func (c *holdingContext) isOf(s *settings, name string) bool {
	if c.table == nil {
		return c.lock != nil && c.lock == s.table().Serving(s.key(name))
	}
	return c.table == s.table() && c.name == name && c.scope == s.prefixScope()
}

func innermost(ctx context.Context) *holdingContext {
	if ctx == nil {
		return nil
	}
	c, _ := ctx.Value(holdingKey{}).(*holdingContext)
	return c
}

// heldBelow returns what HeldLocks does, for a chain.
func heldBelow(c *holdingContext) []string {
	var names []string
	for ; c != nil; c = c.outer {
		if c.hold.Held() {
			names = append(names, c.name)
		}
	}
	slices.Reverse(names)
	return names
}

// A heldCheck says what a request has to do with the locks that its context holds.
type heldCheck int

const (
	holdsNone     heldCheck = iota // nothing
	holdsShare                     // it shares one of them once more
	wouldDeadlock                  // it would wait for one of them, and so for itself
)

// checkHeld compares a request with what its context holds.
func checkHeld(ctx context.Context, path, name string, s *settings) heldCheck {
	found := holdsNone
	permits := s.table().Permits()
	for c := innermost(ctx); c != nil; c = c.outer {
		if !c.hold.Held() {
			continue
		}
		samePath := path != "" && c.path != "" && isSameFile(path, c.path)
		sameName := !s.fileOnly && c.isOf(s, name)
		sameService := s.onService && c.service == s.service && c.serviceName == s.serviceName(name)
		switch {
		case !samePath && !sameName && !sameService:
		case c.mode == queue.Shared && s.shared:
			found = holdsShare
		case samePath || sameService || c.mode == queue.Shared || s.shared:
			return wouldDeadlock
		default:
			// The context must hold all permits if there are several.
			if permits--; permits == 0 {
				return wouldDeadlock
			}
		}
	}
	return found
}
