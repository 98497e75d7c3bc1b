// Package driver defines what a lock service must offer so that
// [github.com/lockutils/lockutils.On] can keep locks there. It depends on the standard library
// only, so anybody can implement it; package drivertest has the suite that checks an
// implementation.
//
// A driver does not know prefixes, options or guards. It gets the name of a lock, as any bytes, and
// returns a hold. lockutils sends one request per process and name, whatever the number of
// goroutines that want the lock.
//
// # The rule of the lease
//
// A service that ends holds by time must tell the holder before it lets in the next one. A driver
// counts a deadline from the instant at which it sent the renewal that the service confirmed, not
// from the arrival of the reply. It subtracts a margin of a tenth of the TTL, at least 500 ms. It
// measures durations on a clock that also runs while the machine is suspended, and compares no wall
// clocks.
package driver

import (
	"context"
	"errors"
	"strings"
	"time"
)

// A Service keeps locks for several hosts. All methods may be called concurrently. Two requests
// of one Service exclude each other as those of two Services do.
//
// A Service that has a method Close() error releases everything there. Close closes Lost of the
// holds that are left before another process is granted their locks.
type Service interface {
	// Acquire waits until it holds the lock of r.Name, or until ctx ends. It returns ErrLocked if
	// r.NoWait is set and the lock is taken, ctx.Err() or context.Cause(ctx) if ctx ended, and
	// the service's own error otherwise. If r needs a capability that the service lacks, the error
	// matches errors.ErrUnsupported. On an error nothing stays held or queued, also if the answer of
	// the service got lost.
	//
	// Acquire returns soon after ctx has ended: what is left to tidy up at the service goes on in
	// the background. A request with NoWait that gets no answer fails with the service's error
	// after a third of the TTL, so that it ends without a ctx that does.
	Acquire(ctx context.Context, r Request) (Hold, error)

	// Can returns what the service is able to do. It never changes.
	Can() Capability

	// Name returns what kind of service it is, for messages: "etcd", "postgres", "redis".
	Name() string
}

// A Request says which lock is wanted, and how.
type Request struct {
	Name   string // any bytes; the empty name is a name
	Shared bool   // together with other shared holders; needs the capability Shared
	Fair   bool   // in order of arrival; needs the capability Fair
	NoWait bool   // return ErrLocked instead of waiting
}

// A Hold is a lock held at a service. All methods may be called concurrently.
type Hold interface {
	// Release ends this hold, and never a later one of the same name. It returns nil once the
	// service has confirmed it, also if the hold was released before. It returns ErrLost if the
	// hold had ended without it. Any other error, ctx's among them, means that the release is not
	// confirmed. The hold is not renewed any more then, and lockutils calls Release again until
	// it is confirmed.
	Release(ctx context.Context) error

	// Token returns the fencing token: larger for each later exclusive hold of the name than for
	// all holds before. It returns 0 if the service has none.
	Token() uint64

	// Lost returns a channel that is closed when the hold has ended, or may have, without having
	// been released. It is nil if that cannot happen.
	Lost() <-chan struct{}

	// Deadline returns the instant at which the hold may end unless it is renewed, as a reading of
	// boottime.Now. It moves on with each renewal. It returns 0 if the hold has none.
	Deadline() time.Duration
}

// The errors of Acquire and Release, besides the error of ctx and that of the service. Drivers may wrap
// them.
var (
	// ErrLocked reports that the lock is taken, and that the request was not to wait.
	ErrLocked = errors.New("locked by another holder")

	// ErrLost reports that the hold has ended, or may have, without having been released.
	ErrLost = errors.New("lockutils: lock lost")
)

// A Capability is a set of things that a service can do.
type Capability uint

const (
	// Shared services have holds that several holders have together.
	Shared Capability = 1 << iota
	// Fair services serve requests in order of arrival.
	Fair
	// Fenced services give each exclusive hold a token larger than all before.
	Fenced
	// SurvivesPause services keep a hold while its process is stopped for any time.
	SurvivesPause
	// Linearizable services never let two holders in, but for one whose deadline has passed, also
	// when a server of theirs fails.
	Linearizable
)

// Has reports whether c has all capabilities of want.
func (c Capability) Has(want Capability) bool { return c&want == want }

// String returns the names of the capabilities, as in "Shared|Fair", or "none".
func (c Capability) String() string {
	var names []string
	for i, name := range []string{"Shared", "Fair", "Fenced", "SurvivesPause", "Linearizable"} {
		if c.Has(1 << i) {
			names = append(names, name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, "|")
}

// An Inspector is a Service that can tell who has its locks, for display. A Service
// need not be one.
type Inspector interface {
	Service

	// Inspect returns the locks of the Service's namespace that are held or waited for by any
	// client. The answer may be out of date when it arrives.
	Inspect(ctx context.Context) ([]Info, error)
}

// Info describes a lock at a service.
type Info struct {
	Name    string
	Holders []ClientInfo
	Waiters []ClientInfo // in the order in which they are served, if the service has one
}

// ClientInfo describes a holder or a waiter as far as the service knows it.
type ClientInfo struct {
	Client string // the host and the process, or what the service calls the client
	Shared bool
	Since  time.Time // zero if it is not known
}
