package lockutils

import (
	"cmp"
	"context"
	"slices"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/internal/names"
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

func doAs(ctx context.Context, name, by string, fn func(ctx context.Context) error, s *settings) error {
	if fn != nil && canWait(ctx) {
		if h, ok := s.acquireFast(ctx, name); ok {
			defer release(h)
			return fn(holdingFree(ctx, name, h, s))
		}
	}
	return doSlow(ctx, name, by, fn, s)
}

// doSlow is doAs for all but a free lock of this process.
func doSlow(
	ctx context.Context, name, by string, fn func(ctx context.Context) error, s *settings,
) (err error) {
	if fn == nil {
		return s.refused(name, invalid("nil function"))
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
// of [Do], [DoAll] and [Synchronized] that ctx comes from, and of [Guard.Context]. An [InterProcessLock]
// has its path in place of a name. A nil ctx holds none.
func HeldLocks(ctx context.Context) []string {
	names, _ := heldBelow(innermost(ctx))
	return names
}

// A holdingContext is the context that Do passes on: one link of the chain of locks held. It is
// small, since nothing else of a free lock costs as much.
type holdingContext struct {
	context.Context
	outer           *holdingContext // the next one out, or nil
	hold            queue.Hold      // tells whether the lock is still held
	*holdingDetails                 // never nil
}

// holdingDetails are what the hold of a holdingContext does not tell.
type holdingDetails struct {
	ofHold bool // the hold tells all: it is an exclusive one of internalLocks

	name    string
	scope   string      // of the key
	lock    *queue.Lock // inside the process; nil if there is none
	mode    queue.Mode
	path    string // of the lock file; "" without one
	tracked bool   // the hold has a record, see SetTracking
	keyless bool   // the scope is not known

	service     driver.Service // nil without one
	serviceName string
}

// noDetails are those of a lock that acquireFast has acquired exclusively.
var noDetails = holdingDetails{ofHold: true}

type holdingKey struct{}

// holdingFree returns ctx with the knowledge of a hold of acquireFast.
func holdingFree(ctx context.Context, name string, h queue.Hold, s *settings) *holdingContext {
	if s.shared { // The name of its slot may change while it is being released.
		c := newHolding(ctx, innermost(ctx), name, h, s)
		c.lock, _ = h.Of()
		return c
	}
	return &holdingContext{ctx, innermost(ctx), h, &noDetails}
}

// holding returns ctx with the knowledge of the hold of a guard.
func holding(ctx context.Context, g Guard, s *settings) *holdingContext {
	path, name := g.parts()
	c := newHolding(ctx, innermost(ctx), name, g.hold, s)
	c.path = path
	c.setLock(g)
	return c
}

// holdingGuard is holding for a guard that is all that is known of the lock.
func holdingGuard(ctx context.Context, g Guard) context.Context {
	path, name := g.parts()
	c := newHolding(ctx, innermost(ctx), name, g.hold, &noSettings)
	c.path, c.keyless = path, true
	held := g.hold.WhileHeld(func() {
		c.mode = c.setLock(g)
		x := g.state()
		if x == nil {
			return
		}
		for _, a := range x.aliases {
			other := newHolding(ctx, c.outer, a.name, a.hold, &noSettings)
			other.keyless, other.mode = true, x.mode
			other.lock, _ = a.hold.Of()
			c.outer = other
		}
		if x.file != nil || x.service != nil {
			c.mode, c.service, c.serviceName = x.mode, x.at.service, x.at.name
		}
	})
	if !held {
		return ctx
	}
	return c
}

// newHolding returns a link with details of its own, as far as the settings tell them.
func newHolding(
	ctx context.Context, outer *holdingContext, name string, hold queue.Hold, s *settings,
) *holdingContext {
	x := new(struct { // one allocation
		holdingContext
		details holdingDetails
	})
	x.holdingContext = holdingContext{ctx, outer, hold, &x.details}
	x.name, x.scope, x.mode = name, s.prefixScope, s.mode()
	if s.onService {
		x.service, x.serviceName = s.service, s.serviceName(name)
	}
	return &x.holdingContext
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

// Value answers for the chain itself, and leaves the rest to the contexts further out.
func (c *holdingContext) Value(key any) any {
	if key == (holdingKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// key returns the key of the lock, unless it has been released. The mutex of no lock may be held, see
// names.Table.KeyOf.
func (c *holdingContext) key() (k names.Key, held bool) {
	if c.ofHold {
		return internalLocks.KeyOf(c.hold)
	}
	return names.Key{Scope: c.scope, Name: c.name}, c.hold.Held()
}

// of returns which lock inside the process is held, or nil, and how.
func (c *holdingContext) of() (*queue.Lock, queue.Mode) {
	if c.ofHold {
		return c.hold.Of()
	}
	return c.lock, c.mode
}

func innermost(ctx context.Context) *holdingContext {
	if ctx == nil {
		return nil
	}
	c, _ := ctx.Value(holdingKey{}).(*holdingContext)
	return c
}

// heldBelow returns what HeldLocks does, for a chain.
func heldBelow(c *holdingContext) (held, scopes []string) {
	for ; c != nil; c = c.outer {
		if k, is := c.key(); is {
			held = append(held, cmp.Or(k.Name, c.path))
			scopes = append(scopes, k.Scope)
		}
	}
	slices.Reverse(held)
	slices.Reverse(scopes)
	return held, scopes
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
	innermost := innermost(ctx)
	if innermost == nil {
		return found
	}
	permits := s.table().Permits()
	var requested *queue.Lock // if it is in use: a context that holds it has held it all the while
	if !s.fileOnly {
		requested = s.table().Serving(s.key(name))
	}
	for c := innermost; c != nil; c = c.outer {
		if !c.hold.Held() {
			continue
		}
		lock, mode := c.of()
		samePath := path != "" && c.path != "" && isSameFile(path, c.path)
		sameName := lock != nil && lock == requested
		sameService := s.onService && c.service == s.service && c.serviceName == s.serviceName(name)
		switch {
		case !samePath && !sameName && !sameService:
		case mode == queue.Shared && s.shared:
			found = holdsShare
		case samePath || sameService || mode == queue.Shared || s.shared:
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
