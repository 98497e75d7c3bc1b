// Package redislock keeps locks in Redis, for [github.com/lockutils/lockutils.On].
//
// Replication in Redis is asynchronous. When a primary fails and a replica takes its place, by
// hand, by Sentinel or in a Cluster, the replica may not know of the latest holds: it lets others
// in, so a lock can have two holders until the first one learns of it, up to a TTL later. The
// same happens when a server restarts without its data. [WithReplicas] makes it rarer and cannot
// exclude it. Use the fencing token wherever two holders do harm, or a service that is
// driver.Linearizable.
//
//	redis, err := redislock.Dial(ctx, rueidis.ClientOption{InitAddress: []string{"localhost:6379"}})
//	...
//	err = lockutils.Do(ctx, "image-4711", build, lockutils.On(redis))
//
// # Holds
//
// A hold lasts for the TTL and is renewed every third of it, together with all other holds of the
// Service. A holder that cannot renew is told before the server lets in the next one: its
// deadline counts from when the last confirmed renewal was sent, and is a tenth of the TTL, at
// least 500 ms, early. A holder that was killed keeps its lock for at most the TTL. The server
// measures the TTL on its wall clock: if that is set forward, holds end early.
//
// A release wakes the two exclusive requests that have waited longest, and the shared ones before
// them; in a Cluster all that wait. The lock goes to the first that comes, and that may be the
// process that has just released it, so there is no order. New shared holders are kept out while
// an exclusive request waits for the present ones, so that it gets its turn.
//
// # Tokens
//
// Tokens grow with each hold of a name. They begin at the server's time in microseconds, so that
// they go on growing if the server loses its data, unless its clock was set back by more than the
// time since.
//
// # Servers
//
// Redis 6 or later, or what is compatible with it: a single server, Sentinel or a Cluster. A
// Service has two connections to the server, in a Cluster one to each primary and one more. The
// user needs
//
//	+@scripting +@connection +info +get +set +del +incr +pexpire +pttl +time +hset +hget +hdel
//	+hgetall +zadd +zrem +zpopmin +publish +subscribe, for replicas +wait,
//	for Inspect +scan +zrange +pubsub,
//	~lockutils{* &lockutils{*
//
// Locks have no meaning beyond one namespace of one database of one server.
package redislock

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/redis/rueidis"
)

// The bounds of [WithTTL].
const (
	MinTTL = time.Second
	MaxTTL = 24 * time.Hour
)

// An Option changes what Dial returns.
type Option func(*config)

type config struct {
	ttl       time.Duration
	namespace string
	replicas  int
}

// WithTTL sets how long the server keeps a hold that is not renewed, from MinTTL to MaxTTL. Without
// it that is 15 s.
func WithTTL(d time.Duration) Option { return func(c *config) { c.ttl = d } }

// WithNamespace sets the prefix of all keys. Services contend for locks only within a namespace. It
// may be any bytes; without it, or if it is empty, it is "lockutils".
func WithNamespace(s string) Option { return func(c *config) { c.namespace = s } }

// WithReplicas has a lock count as acquired only once n replicas have it. With fewer replicas, or
// ones that do not keep up, Acquire fails. A promotion of one of the other replicas may still lose
// the lock, and renewals do not wait for replicas.
func WithReplicas(n int) Option { return func(c *config) { c.replicas = n } }

func newConfig(opts []Option) (config, error) {
	c := config{ttl: 15 * time.Second}
	for _, opt := range opts {
		opt(&c)
	}
	if c.namespace == "" {
		c.namespace = "lockutils"
	}
	if c.ttl < MinTTL || c.ttl > MaxTTL {
		return c, fmt.Errorf("redislock: a TTL of %v is not between %v and %v", c.ttl, MinTTL, MaxTTL)
	}
	if c.replicas < 0 {
		return c, fmt.Errorf("redislock: %d replicas", c.replicas)
	}
	return c, nil
}

// A Service keeps locks in Redis. It must come from Dial. All methods may be called concurrently.
type Service struct {
	config
	where  string // the addresses, for messages
	client rueidis.Client

	id   string // idLength random characters; the ids of all requests begin with it
	last atomic.Uint64
	most string // how many exclusive requests a release wakes

	channels string // the channel of each Service of the namespace is this and its id

	leases  leases
	wakeups wakeups

	closing chan struct{} // closed by Close
	mu      sync.Mutex    // guards closed, and orders begin before Close waits
	closed  bool
	active  sync.WaitGroup // calls of Acquire, and tries that go on without them
	loops   sync.WaitGroup
}

// idLength is known to luaWake too.
const idLength = 16

var _ driver.Service = (*Service)(nil)

// ErrClosed is the error of a Service that is closed, nil, or not from Dial.
var ErrClosed = errors.New("redislock: the Service is closed")

func newService(c config, where string) *Service {
	id := make([]byte, 12)
	rand.Read(id)
	s := &Service{
		config: c, where: where, closing: make(chan struct{}),
		id: base64.RawURLEncoding.EncodeToString(id), channels: braces.Replace(c.namespace) + "{service}",
	}
	s.leases.init(s)
	s.wakeups.init(s)
	return s
}

// Name returns "redis".
func (s *Service) Name() string { return "redis" }

// Can returns driver.Shared and driver.Fenced.
func (s *Service) Can() driver.Capability { return driver.Shared | driver.Fenced }

// Close ends all waits, releases all holds, whose Lost it closes, and then the connections. It
// returns an error if the server has not confirmed all releases within a third of the TTL; what is
// left ends by the TTL. A second call does nothing.
func (s *Service) Close() error {
	if s == nil || s.client == nil {
		return nil
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.closing)
	s.mu.Unlock()
	s.active.Wait()
	s.wakeups.close()
	s.loops.Wait()
	err := s.leases.releaseAll()
	s.client.Close()
	return err
}

// begin counts a call that uses the client. It reports whether the Service is open.
func (s *Service) begin() bool {
	if s == nil || s.client == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.active.Add(1)
	return true
}

// deadline returns when a hold may end at the server whose last confirmed renewal was sent then.
func (s *Service) deadline(sent time.Duration) time.Duration {
	return sent + s.ttl - max(s.ttl/10, 500*time.Millisecond)
}

// tryTime bounds each try of a request.
func (s *Service) tryTime() time.Duration { return s.ttl / 6 }

// failure adds the server to an error.
func (s *Service) failure(err error) error {
	return fmt.Errorf("redislock: %s: %w", s.where, err)
}

// A request is one wish for a lock. Its id tells it from all others at the server, so it can be
// repeated and withdrawn.
type request struct {
	driver.Request
	id   string
	keys []string // lock, counter, shares, waiters
	px   string   // the TTL in ms

	most, channels string // see Service
}

// braces keep a namespace from being taken for a hash tag.
var braces = strings.NewReplacer("%", "%25", "{", "%7B", "}", "%7D")

// newRequest returns a request with an id of its own. The hash tag of its keys begins with a colon,
// since Redis ignores empty ones.
func (s *Service) newRequest(r driver.Request) *request {
	return s.requestFor(r, braces.Replace(s.namespace)+"{:"+r.Name+"}")
}

func (s *Service) requestFor(r driver.Request, lock string) *request {
	return &request{
		Request: r,
		id:      s.id + strconv.FormatUint(s.last.Add(1), 36),
		keys:    []string{lock, lock + "token", lock + "shares", lock + "waiters"},
		px:      strconv.FormatInt(int64((s.ttl+time.Millisecond-1)/time.Millisecond), 10),
		most:    s.most, channels: s.channels,
	}
}

// The calls that a request makes.

func (q *request) acquire(again bool) call {
	x := acquireExclusive
	if q.Shared {
		x = acquireShared
	}
	return call{x, q.keys, []string{q.id, q.px, flag(!q.NoWait), flag(again)}}
}

func (q *request) renew() call {
	if q.Shared {
		return call{renewShared, q.keys, []string{q.id, q.px}}
	}
	return call{renewExclusive, q.keys[:1], []string{q.id, q.px}}
}

func (q *request) release() call {
	x := releaseExclusive
	if q.Shared {
		x = releaseShared
	}
	return call{x, q.keys, []string{q.id, q.channels, q.most}}
}

// withdraw releases the lock if it is held, and takes back the wait for it.
func (q *request) withdraw() call {
	x := withdrawExclusive
	if q.Shared {
		x = withdrawShared
	}
	return call{x, q.keys, []string{q.id, q.channels, q.most}}
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func (s *Service) run(ctx context.Context, x call) (int64, error) {
	return x.run(ctx, s.client, x.keys, x.args)
}
