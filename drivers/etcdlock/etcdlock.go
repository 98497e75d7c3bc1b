// Package etcdlock keeps named locks in etcd, for use with
// [github.com/lockutils/lockutils.On]:
//
//	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"etcd-1:2379", "etcd-2:2379"}})
//	...
//	locks, err := etcdlock.Dial(ctx, client)
//	...
//	guard, err := lockutils.Lock("image-4711", lockutils.On(locks))
//
// Locks are exclusive or shared, granted in order of arrival, and fenced: the token is the revision
// at which etcd created the key of the request. Authentication, TLS and endpoints are the client's.
//
// # Sessions
//
// A Service has one lease, whatever the number of its holds. It renews the lease every third of
// the TTL, and tries each endpoint of the client in turn. If none confirms it in time, or if etcd
// says that the lease has ended, all holds are lost: Lost is closed before another process can be
// granted any of the locks, as long as this process runs. Requests that wait go on with a new
// lease, at the end of the queue. The next request opens a
// new lease too, so the Service is of use again as soon as etcd is.
//
// # What can happen
//
// A holder that is killed keeps its locks for a TTL at most, in whole seconds. So does one that
// is stopped or cut off, and it learns of the loss before, unless it is stopped: then only Err of
// the guard tells, and only the token protects. A leader that fails costs a stall of a second or
// two, no hold. Without a quorum nothing is granted or released, and leases do not end either;
// holders are told of a loss when their TTL has passed all the same. An etcd that has lost its
// data has lost the locks and begins with small revisions: holders learn of that at their next
// renewal, and tokens do not grow across it. A key that an operator deletes is a hold lost
// without notice, until its release returns ErrLost.
//
// # Requests
//
// A free lock costs one transaction to acquire and one deletion to release. A request that waits costs
// one watch, and one read every two seconds in case the watch is stuck. Each request has a key of its
// own, so a transaction can be repeated when its answer is lost. A request whose ctx ends is
// withdrawn in the background if etcd does not answer at once.
package etcdlock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lockutils/lockutils/driver"
)

// An Option changes how Dial opens a Service.
type Option func(*Service)

// WithTTL sets how long a lock outlives a holder that has failed. It is 15 s by default, and at
// least one second. etcd counts in whole seconds and has a lower bound of its own, about 1.5
// times its election timeout; it rounds up, the Service does not.
func WithTTL(d time.Duration) Option {
	return func(s *Service) { s.ttl = d }
}

// WithNamespace sets the prefix of all keys, "lockutils" by default. Locks of different
// namespaces are different locks, also if one namespace begins with the other. All keys begin
// with the namespace as it is and a colon, except that a colon or a percent sign in it is escaped
// as in a URL.
func WithNamespace(namespace string) Option {
	return func(s *Service) { s.namespace = namespace }
}

// A Service keeps locks in etcd. It must come from [Dial]. All methods may be called concurrently.
type Service struct {
	client    *clientv3.Client
	leases    pb.LeaseClient // the client's own hides why a call fails, and repeats it without a pause
	ttl       time.Duration
	namespace string
	owner     string // the value of keys, for those who look at them

	reconnected atomic.Int64 // when reconnect did, a boottime.Now

	opening chan struct{} // holds a value while a session is being opened

	mu         sync.Mutex
	session    *session // the present one, or nil
	closed     bool
	background sync.WaitGroup // nothing is added once the Service is closed
}

var _ driver.Service = (*Service)(nil)

// Dial returns a Service on the cluster of the client, once that has granted it a lease. It keeps
// trying until ctx ends; the error says then what was tried. The client stays the caller's: it must
// remain open until Close has returned.
func Dial(ctx context.Context, client *clientv3.Client, opts ...Option) (*Service, error) {
	s := &Service{
		client:    client,
		ttl:       15 * time.Second,
		namespace: "lockutils",
		owner:     owner(),
		opening:   make(chan struct{}, 1),
	}
	for _, opt := range opts {
		opt(s)
	}
	switch {
	case client == nil || client.ActiveConnection() == nil:
		return nil, errors.New("etcdlock: no client, or one without a connection")
	case s.ttl < time.Second:
		return nil, fmt.Errorf("etcdlock: TTL %v is below one second", s.ttl)
	}
	s.leases = pb.NewLeaseClient(client.ActiveConnection())
	if _, err := s.currentSession(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Service) isDialed() bool { return s != nil && s.client != nil }

func owner() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("%s %d", host, os.Getpid())
}

// Name returns "etcd".
func (s *Service) Name() string { return "etcd" }

// Can returns what etcd can do: all but keep a hold while its process is stopped.
func (s *Service) Can() driver.Capability {
	return driver.Shared | driver.Fair | driver.Fenced | driver.Linearizable
}

var (
	errClosed       = errors.New("service is closed")
	errClientClosed = errors.New("client is closed")
	errNotDialed    = errors.New("etcdlock: Service that is not from Dial")
)

// Acquire implements driver.Service. A request that must not wait for the lock waits for etcd for a
// third of the TTL at most.
func (s *Service) Acquire(ctx context.Context, r driver.Request) (driver.Hold, error) {
	if !s.isDialed() {
		return nil, errNotDialed
	}
	if r.NoWait {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.ttl/3, errNoAnswer)
		defer cancel()
	}
	for {
		session, err := s.currentSession(ctx)
		if err != nil {
			return nil, err
		}
		h, err := session.acquire(ctx, r)
		if !errors.Is(err, errSessionEnded) {
			return h, err
		}
	}
}

// currentSession returns the session of the Service, and opens one if there is none.
func (s *Service) currentSession(ctx context.Context) (*session, error) {
	if session, err := s.knownSession(); session != nil || err != nil {
		return session, err
	}
	select {
	case s.opening <- struct{}{}:
		defer func() { <-s.opening }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if session, err := s.knownSession(); session != nil || err != nil {
		return session, err
	}
	for {
		session, err := s.openSession(ctx)
		if err == nil {
			err = s.adopt(ctx, session)
		}
		switch {
		case err == nil:
			return session, nil
		case !errors.Is(err, errSessionEnded): // which it can while it is being opened
			return nil, err
		}
	}
}

// adopt makes the session the present one, unless it has ended or the Service is closed.
func (s *Service) adopt(ctx context.Context, session *session) error {
	s.mu.Lock()
	closed := s.closed
	ended := session.ctx.Err() != nil // from then on, end takes the mutex
	if !closed && !ended {
		s.session = session
	}
	s.mu.Unlock()
	switch {
	case closed:
		session.end(errClosed)
		return errors.Join(s.failed(errClosed), session.revoke(ctx))
	case ended:
		return errSessionEnded
	default:
		return nil
	}
}

func (s *Service) knownSession() (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, s.failed(errClosed)
	}
	return s.session, nil
}

// goBackground runs f in a goroutine that Close waits for. It reports false, and does not run it,
// if the Service is closed.
func (s *Service) goBackground(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.background.Go(f)
	return true
}

// Close releases all holds and ends all requests of the Service. Holders that are left are told
// that their locks are lost. If etcd does not confirm the end within a third of the TTL, Close
// returns an error: the locks then end with the lease. The client stays open. Closing again does
// nothing.
func (s *Service) Close() error {
	if !s.isDialed() {
		return errNotDialed
	}
	s.mu.Lock()
	session, was := s.session, s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	var err error
	if session != nil {
		session.end(errClosed)
		ctx, cancel := context.WithTimeoutCause(context.Background(), s.ttl/3, errNoAnswer)
		defer cancel()
		err = session.revoke(ctx)
	}
	s.background.Wait()
	return err
}

// failed returns err with the name and the endpoints of the service.
func (s *Service) failed(err error) error {
	return fmt.Errorf("etcd %s: %w", strings.Join(s.client.Endpoints(), ","), err)
}
