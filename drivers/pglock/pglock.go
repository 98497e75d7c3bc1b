// Package pglock keeps the locks of [github.com/lockutils/lockutils.On] at a PostgreSQL server,
// as advisory locks of a session.
//
//	config, err := pgx.ParseConfig("postgres://app@db.example/locks")
//	...
//	service, err := pglock.Dial(ctx, config)
//	...
//	defer service.Close()
//	err = lockutils.Do(ctx, "image-4711", build, lockutils.On(service))
//
// [Setup] makes what a database needs once: a sequence.
//
// # What is promised
//
// A lock belongs to a session of the server. The server keeps it while the process that holds
// it stands still, for as long as the session lives: [driver.SurvivesPause]. It frees it at
// once when the process ends, and after about the TTL when the host of the holder is gone. The
// Service sends a heartbeat every third of the TTL, and ends its holds before the server does.
//
// When a connection breaks, the server and the holder learn of it at the same time, and the next
// holder may be granted the lock a moment before the former one knows. Nor does a server tell its
// successor who holds locks. Two holders are possible for up to a
// TTL when a replica is promoted while the old primary, or the way to it, still works, and when
// the server restarts or an administrator ends a session while the holder cannot hear of it.
// For this reason the Service is not [driver.Linearizable]. The fencing token closes the gap: it
// grows with each hold, also across restarts and promotions, since the timeline of the server
// is its upper part. It starts anew with a new database cluster, as pg_upgrade and a restored
// dump make one.
//
// # Order
//
// Requests without [driver.Request.Fair] are served in no order, and a sharer joins the hold
// that its Service has. So overlapping sharers can keep out an exclusive request.
//
// A fair request that has to wait queues at the server, on a connection of its own. The hold
// lives on that connection until it is released. The server counts the wait as a running
// statement, which has two effects in the database that the Service is connected to. VACUUM
// cannot remove rows that were deleted after the wait began. CREATE INDEX CONCURRENTLY and its
// relatives wait until the wait ends: a holder that runs one while another process waits, waits
// for ever. Neither happens to other databases, so a database of its own for locks avoids both.
//
// # Connections
//
// A Service has two connections: one for the locks and one that hears of releases. It needs
// sessions, so [Dial] refuses a pooler that shares server connections by transaction or
// statement. Through a pooler that shares them by session, the pooler's own timeouts say when a
// lost host is noticed. Its pool must have two connections for each Service, and one for each fair
// request that waits: otherwise Dial waits for the pooler. A connection string may name several
// hosts; the Service uses the one that takes writes.
package pglock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lockutils/lockutils/driver"
)

// An Option changes what Dial returns.
type Option func(*settings)

type settings struct {
	ttl       time.Duration
	namespace string
	maxLocks  int // 0: as many as suit the server, at most defaultMaxLocks
}

const (
	defaultTTL      = 15 * time.Second
	minTTL          = time.Second
	maxTTL          = 24 * time.Hour
	defaultMaxLocks = 1000
)

// WithTTL sets the time after which the server frees the locks of a host that is gone. A holder
// that is cut off learns of it a tenth of the TTL earlier, at least 500 ms. The TTL is 15
// seconds by default, and between a second and a day.
func WithTTL(d time.Duration) Option { return func(s *settings) { s.ttl = d } }

// WithNamespace separates the names of this Service from those of Services with another
// namespace in the same database. It may have any bytes, and is empty by default.
func WithNamespace(namespace string) Option {
	return func(s *settings) { s.namespace = namespace }
}

// WithMaxLocks sets how many locks the Service may hold or wait for at a time. It is 1,000 by
// default, and at most half of the server's lock table: when that is full, every session fails.
func WithMaxLocks(n int) Option { return func(s *settings) { s.maxLocks = n } }

func (s *settings) check() error {
	switch {
	case s.ttl < minTTL || s.ttl > maxTTL:
		return fmt.Errorf("pglock: WithTTL(%v) is not between %v and %v", s.ttl, minTTL, maxTTL)
	case s.maxLocks < 0:
		return fmt.Errorf("pglock: WithMaxLocks(%d) is negative", s.maxLocks)
	}
	return nil
}

// margin is how long before the end of the TTL a holder ends its holds.
func (s *settings) margin() time.Duration { return max(s.ttl/10, 500*time.Millisecond) }

// A Service keeps locks at a PostgreSQL server. It must come from [Dial]. All methods may be called
// concurrently.
type Service struct {
	settings
	config *pgconn.Config
	server string // where it is, for messages

	stop    context.Context // ends with Close
	closing context.CancelCauseFunc
	running sync.WaitGroup // all goroutines but those that waiting counts
	waiting sync.WaitGroup // fair requests
	ending  sync.Once

	mu        sync.Mutex // guards all below, and the state of locks, requests and holds
	limit     int        // of locks
	locks     map[int64]*lock
	main      *session // holds the locks; nil while there is none
	listener  *session // hears of releases; nil while there is none
	watched   map[*session]struct{}
	fairConns int           // connections of fair requests
	up        chan struct{} // closed while main is set
	down      error         // why main is not set
	wanted    chan struct{} // has a value when a connection is missing
}

var _ driver.Service = (*Service)(nil)

// Dial connects to the server that config names and checks that it can keep locks. ctx bounds
// that, and has no effect later. The error says what was tried and what is missing; if that is
// the sequence or the right to use it, it has the SQL.
//
// Only what concerns connections is taken from config. The Service reconnects by itself when a
// connection is lost. Close ends it.
func Dial(ctx context.Context, config *pgx.ConnConfig, opts ...Option) (*Service, error) {
	s := &Service{
		settings: settings{ttl: defaultTTL},
		locks:    map[int64]*lock{},
		watched:  map[*session]struct{}{},
		up:       make(chan struct{}),
		wanted:   make(chan struct{}, 1),
	}
	for _, opt := range opts {
		opt(&s.settings)
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	var err error
	if s.config, err = connectable(config); err != nil {
		return nil, err
	}
	s.server = describe(s.config)
	s.stop, s.closing = context.WithCancelCause(context.Background())
	if err = s.connectMain(ctx); err == nil {
		err = s.connectListener(ctx)
	}
	if err != nil {
		s.Close()
		return nil, s.failed("connect", err)
	}
	s.running.Go(s.keepConnected)
	s.running.Go(s.keepAlive)
	return s, nil
}

// Name returns "postgres".
func (s *Service) Name() string { return "postgres" }

// Can returns what the service is able to do.
func (s *Service) Can() driver.Capability {
	return driver.Shared | driver.Fair | driver.Fenced | driver.SurvivesPause
}

var errNotDialed = errors.New("pglock: Service that is not from Dial")

func (s *Service) isDialed() bool { return s != nil && s.stop != nil }

// errClosed is the error of a Service that is closed.
var errClosed = errors.New("the service is closed")

// Acquire implements driver.Service. A wait goes on, from the end of the queue, when the
// connection is lost and comes back. It ends with an error if the server refuses the new
// connection for good.
func (s *Service) Acquire(ctx context.Context, r driver.Request) (driver.Hold, error) {
	if !s.isDialed() {
		return nil, errNotDialed
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	h, err := s.acquire(ctx, r)
	if err != nil {
		return nil, err // not h, which would be an interface with a nil pointer
	}
	return h, nil
}

func (s *Service) acquire(ctx context.Context, r driver.Request) (*hold, error) {
	switch {
	case r.NoWait:
		return s.acquireNow(ctx, r)
	case r.Fair:
		return s.acquireFair(ctx, r)
	default:
		return s.wait(ctx, r)
	}
}

// errNoAnswer is the cause of the end of a request that must not wait.
var errNoAnswer = errors.New("no answer from the server")

// acquireNow acquires the lock if it is free. It waits for the answer for a third of the TTL.
func (s *Service) acquireNow(ctx context.Context, r driver.Request) (*hold, error) {
	r.NoWait = true
	bounded, cancel := context.WithTimeoutCause(ctx, s.ttl/3, errNoAnswer)
	defer cancel()
	h, err := s.wait(bounded, r)
	if errors.Is(err, errNoAnswer) {
		return nil, s.failed("acquire", fmt.Errorf("%w within %v", err, s.ttl/3))
	}
	return h, err
}

// wait acquires the lock through the Service's own session.
func (s *Service) wait(ctx context.Context, r driver.Request) (*hold, error) {
	q, err := s.enqueue(r)
	if err != nil {
		return nil, err
	}
	select {
	case g := <-q.granted:
		return g.hold, g.err
	case <-ctx.Done():
		return s.withdraw(ctx, q)
	}
}

// Close releases all holds, ends all waits and closes the connections. It waits for the server
// to confirm for a third of the TTL. If that fails the locks are free as soon as the server
// notices that the connections are closed, and Close returns why. Later calls return nil.
func (s *Service) Close() (err error) {
	if !s.isDialed() {
		return nil
	}
	s.ending.Do(func() { err = s.close() })
	return err
}

// failed says what failed, where, and why.
func (s *Service) failed(what string, err error) error {
	return fmt.Errorf("pglock: %s: %s: %w", s.server, what, err)
}
