package lockutils

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/internal/queue"
	"github.com/lockutils/lockutils/internal/servicelock"
)

// On keeps the lock at a lock service, so that it excludes other hosts too. Packages
// drivers/etcdlock, drivers/pglock and drivers/redislock have services.
//
// The name at the service is prefix, hyphen, name, byte for byte, or the name without a prefix. So
// any name will do there, and "a/b" and "a_b" are two locks. All processes that share a lock must use
// the same service and namespace. The meaning of the name inside the process does not change.
// [External] adds nothing to On, and options about the lock file have no effect.
//
// A service that cannot do what [Shared] or [Fair] mean makes the call fail, with an error that
// matches [ErrOptions] and [errors.ErrUnsupported]. A nil service, or one of a type that cannot be
// compared, gives an error that matches ErrOptions.
//
// A hold can be lost: its process is cut off from the service or stands still for too long, or the
// service loses its data. [Guard.Lost], [Guard.Err] and the context of [Do] tell. Only
// [Guard.Token], checked by the resource that the lock protects, keeps a holder that does not know
// yet from doing harm.
//
// Sharers of one process have one hold at the service. A sharer joins the hold that its process has,
// and so may pass a writer of another process, unless it is [Fair].
func On(s driver.Service) Option {
	return Option{optionSpec: &optionSpec{kind: optService, service: s}}
}

// Token returns the fencing token of a lock at a service: a number larger than those of all earlier
// exclusive holds of the name. It returns 0 for a lock without a service, or whose service has no
// tokens. A resource that refuses requests with a smaller token than the greatest it has seen is safe
// from holders that were lost and do not know it.
func (g Guard) Token() uint64 {
	if h := g.atService(); h != nil {
		return h.Token()
	}
	return 0
}

// Lost returns a channel that is closed when the hold is lost: it has ended, or may have, without
// having been released. It is closed before the service lets in another holder, provided that this
// process runs. The channel is nil if the hold cannot be lost.
func (g Guard) Lost() <-chan struct{} {
	if h := g.atService(); h != nil {
		return h.Lost()
	}
	return nil
}

// Err returns [ErrLost] if the hold was lost before it was released. It also does so once the
// deadline of the hold has passed by the clock, so that a process which has stood still learns of the
// loss before anything else has run. It returns [ErrNotHeld] for other holds that have ended, and nil
// as long as the lock is held.
func (g Guard) Err() error {
	if h := g.atService(); h != nil {
		if err := h.Err(); err != nil {
			return ErrLost
		}
	}
	if !g.hold.Held() {
		return ErrNotHeld
	}
	return nil
}

// atService returns the hold at the service, or nil. It is known also when it has ended.
func (g Guard) atService() *servicelock.Hold {
	if x := g.state(); x != nil {
		return x.atService
	}
	return nil
}

// untilLost returns a context that ends with cause ErrLost when the guard's hold is lost.
func untilLost(ctx context.Context, g Guard) (context.Context, context.CancelFunc) {
	lost := g.Lost()
	if lost == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-lost:
			cancel(ErrLost)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// hasFile reports whether the lock has a lock file.
func (s *settings) hasFile() bool {
	return s.fileOnly || s.external && !s.onService && !noProcessLocking.Load()
}

// checkService returns an error if the service cannot be used as the settings want.
func (s *settings) checkService() error {
	if !s.onService {
		return nil
	}
	switch {
	case isNil(s.service):
		return invalid("On with a nil service")
	case !reflect.ValueOf(s.service).Comparable():
		return invalid(fmt.Sprintf("On with a service of type %T, which cannot be compared", s.service))
	case s.shared && !s.service.Can().Has(driver.Shared):
		return s.unsupported("Shared")
	case s.fair && !s.service.Can().Has(driver.Fair):
		return s.unsupported("Fair")
	}
	return nil
}

func isNil(s driver.Service) bool {
	v := reflect.ValueOf(s)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}

func (s *settings) unsupported(option string) error {
	return fmt.Errorf("%w: %s is not supported by %s: %w",
		ErrOptions, option, s.service.Name(), errors.ErrUnsupported)
}

// serviceKind returns the kind of the service for messages, or "".
func (s *settings) serviceKind() string {
	if !s.onService || isNil(s.service) {
		return ""
	}
	return s.service.Name()
}

// serviceName returns the name of the lock at the service, or "" without one.
func (s *settings) serviceName(name string) string {
	if !s.onService {
		return ""
	}
	return s.filePrefix() + name
}

// acquireAt acquires the lock of the service.
func acquireAt(
	ctx context.Context, name string, internal queue.Hold, s *settings,
) (*servicelock.Hold, error) {
	at := serviceID{s.service, s.serviceName(name)}
	h, err := servicelock.Acquire(ctx, servicelock.Request{
		Service: s.service,
		Request: driver.Request{
			Name: at.name, Shared: s.shared, Fair: s.fair, NoWait: s.nonBlocking,
		},
		Subject: queue.Subject{
			In: at, Scope: s.prefixScope, Name: name, Within: internal, Origin: s.origin(),
		},
		Reentrant: s.reentrantShare,
	})
	if err != nil {
		return nil, serviceError(ctx, err)
	}
	return h, nil
}

// A serviceID identifies a lock at a service.
type serviceID struct {
	service driver.Service
	name    string
}

// serviceOf returns the service that a wait is at, or nil.
func serviceOf(in any) driver.Service {
	at, _ := in.(serviceID)
	return at.service
}

// serviceError puts a driver's errors in the terms of this package.
func serviceError(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, ErrLocked):
		return ErrLocked
	case ctx.Err() == nil || !errors.Is(err, ctx.Err()) && !errors.Is(err, context.Cause(ctx)):
		return err
	case err.Error() == ctx.Err().Error() || err.Error() == context.Cause(ctx).Error():
		return ended(ctx)
	}
	return endedAtService{err, ended(ctx)}
}

// An endedAtService is the error of a wait that a context has ended, in the words of the driver,
// which knows why the service has not answered.
type endedAtService struct {
	error
	ended error
}

func (e endedAtService) Unwrap() []error { return []error{e.ended, e.error} }
