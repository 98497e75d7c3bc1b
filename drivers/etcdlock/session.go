package etcdlock

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/driver/boottime"
)

// errSessionEnded is why a request of a session fails that has to be made again in the next one.
var errSessionEnded = errors.New("session has ended")

// A session is the life of one lease.
//
// The rule of the lease: a renewal that was sent at t and confirmed makes the deadline t + TTL less
// the margin. When the deadline passes, the holds are lost, which is before etcd can end the lease.
//
// # The gate
//
// A transaction whose answer is lost may still be on its way, and reach etcd after the request was
// withdrawn: the key would then stay as long as the lease. So each transaction that creates a key
// compares the revision of the session's gate, a key of the lease. A request that withdraws a
// transaction of unknown fate deletes the gate in the same transaction as the key, and nothing that
// was sent before can create a key any more. Other requests of the session that were on their way
// fail and are repeated with a new gate. Deleting works also when etcd has no space left.
type session struct {
	service *Service
	id      clientv3.LeaseID
	ttl     time.Duration
	ctx     context.Context // ends with the session
	cancel  context.CancelCauseFunc

	deadline atomic.Int64 // a boottime.Now
	gate     atomic.Int64 // mod revision of the gate key; 0 if it has to be made
	lapse    *time.Timer  // checks the deadline

	watchStream atomic.Int64 // the number of the stream for watches to come

	mu    sync.Mutex // guards all below, and lets each hold be lost or released, not both
	ended bool
	holds map[*hold]struct{}
	free  []int // numbers of keys that can be used again
	used  int   // how many numbers there are
}

// openSession obtains a lease.
func (s *Service) openSession(ctx context.Context) (*session, error) {
	n := &session{service: s, holds: map[*hold]struct{}{}}
	var sent time.Duration
	err := s.repeat(ctx, func(ctx context.Context) error {
		sent = boottime.Now()
		lease, err := s.leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: int64(math.Ceil(s.ttl.Seconds()))})
		if err != nil {
			return rpctypes.Error(err)
		}
		n.id, n.ttl = clientv3.LeaseID(lease.ID), min(s.ttl, time.Duration(lease.TTL)*time.Second)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open a session with TTL %v: %w", s.ttl, err)
	}
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	n.lapse = time.AfterFunc(time.Hour, n.checkDeadline)
	n.extend(sent)
	if err := s.repeat(ctx, n.openGate); err != nil {
		n.end(err)
		return nil, fmt.Errorf("open a session with TTL %v: %w", s.ttl, err)
	}
	n.startKeepers()
	return n, nil
}

// openGate makes the gate if there is none.
func (n *session) openGate(ctx context.Context) error {
	if n.gate.Load() != 0 {
		return nil
	}
	if n.ctx.Err() != nil {
		return errSessionEnded
	}
	put, err := n.service.client.Put(ctx, n.gateKey(), n.service.owner, clientv3.WithLease(n.id))
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		n.end(errSessionEnded)
		return errSessionEnded
	}
	if err == nil {
		n.gate.Store(put.Header.Revision)
	}
	return err
}

// margin is how long before the end of a lease its holds are lost.
func margin(ttl time.Duration) time.Duration { return max(ttl/10, 500*time.Millisecond) }

// extend moves the deadline on, after a renewal that was sent then.
func (n *session) extend(sent time.Duration) {
	n.mu.Lock() // keepers may finish together
	defer n.mu.Unlock()
	if n.ended {
		return
	}
	n.deadline.Store(max(n.deadline.Load(), int64(sent+n.ttl-margin(n.ttl))))
	n.watchDeadline()
}

func (n *session) left() time.Duration {
	return time.Duration(n.deadline.Load()) - boottime.Now()
}

// watchDeadline arranges for the next check. A timer stands still while the machine is suspended,
// so it never runs for more than a second.
func (n *session) watchDeadline() { n.lapse.Reset(min(n.left(), time.Second)) }

func (n *session) checkDeadline() {
	switch {
	case n.ctx.Err() != nil:
	case n.left() <= 0:
		n.end(errSessionEnded)
	default:
		n.watchDeadline()
	}
}

// startKeepers starts as many keepers as the client has endpoints. They take turns, so the renewals of
// a session are spread over the endpoints and over time: when a member fails, another one has
// renewed the lease shortly before.
func (n *session) startKeepers() {
	keepers := len(n.service.client.Endpoints())
	for i := range keepers {
		first := n.ttl / 3 * time.Duration(i) / time.Duration(keepers)
		n.service.goBackground(func() { n.keepAlive(first) })
	}
}

// keepAlive renews the lease every third of the TTL, until the session ends.
func (n *session) keepAlive(first time.Duration) {
	k := &keeper{session: n}
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-n.ctx.Done():
			return
		}
		begun := boottime.Now()
		if k.renew() == nil {
			timer.Reset(begun + n.ttl/3 - boottime.Now())
		} else {
			n.service.reconnect()
			timer.Reset(max(begun+n.ttl/30-boottime.Now(), 0))
		}
	}
}

// A keeper renews the lease of a session. It keeps its stream, since each new one authenticates. When
// an answer is late, the next renewal goes to another endpoint, by a stream of its own. The late
// one stays meanwhile: a member without a leader answers when it has one, and authenticates nobody
// until then.
type keeper struct {
	session *session
	streams []*stream // the one in use, and those that are late
}

// A stream carries one renewal after the other.
type stream struct {
	pb.Lease_LeaseKeepAliveClient
	cancel   context.CancelFunc
	answered chan error // receives the outcome of the renewal under way, unless exchange has
}

// errLate is the outcome of a renewal whose answer is still awaited.
var errLate = errors.New("the lease is not renewed yet")

// renew renews the lease once. It returns an error if that has to be done again.
func (k *keeper) renew() (err error) {
	s := k.ready()
	if s == nil {
		if s, err = k.open(); err != nil {
			return err
		}
		k.streams = append(k.streams, s)
	}
	switch err = k.exchange(s); err {
	case nil:
		k.dropOthers(s)
	case errLate:
	default:
		k.drop(s)
	}
	return err
}

// ready returns a stream without a renewal under way, or nil.
func (k *keeper) ready() (ready *stream) {
	for _, s := range slices.Clone(k.streams) {
		select {
		case err := <-s.answered:
			if err != nil {
				k.drop(s)
				continue
			}
			s.answered = nil
		default:
		}
		if s.answered == nil {
			ready = s
		}
	}
	return ready
}

// open makes a stream. That takes some time only if it has to authenticate.
func (k *keeper) open() (*stream, error) {
	n := k.session
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(n.ctx))
	defer time.AfterFunc(n.ttl/3, cancel).Stop()
	client, err := n.service.leases.LeaseKeepAlive(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	return &stream{client, cancel, nil}, nil
}

// exchange renews the lease by the stream, and waits for a sixth of the TTL for the answer.
func (k *keeper) exchange(s *stream) error {
	n := k.session
	sent := boottime.Now()
	if err := s.Send(&pb.LeaseKeepAliveRequest{ID: int64(n.id)}); err != nil {
		return err
	}
	answered := make(chan error, 1)
	if !n.service.goBackground(func() { answered <- n.renewed(s, sent) }) {
		return errClosed
	}
	late := time.NewTimer(n.ttl / 6)
	defer late.Stop()
	select {
	case err := <-answered:
		s.answered = nil
		return err
	case <-late.C:
		s.answered = answered
		return errLate
	}
}

// renewed waits for the answer to the renewal that was sent then.
func (n *session) renewed(s *stream, sent time.Duration) error {
	reply, err := s.Recv()
	switch {
	case err != nil:
		return err
	case reply.TTL <= 0:
		n.end(errSessionEnded)
		return errSessionEnded
	}
	n.extend(sent)
	return nil
}

// drop ends a stream.
func (k *keeper) drop(s *stream) {
	s.cancel()
	k.streams = slices.DeleteFunc(k.streams, func(t *stream) bool { return t == s })
}

// dropOthers ends the streams that are late, since this one is not.
func (k *keeper) dropOthers(s *stream) {
	for _, t := range slices.Clone(k.streams) {
		if t != s {
			k.drop(t)
		}
	}
}

// end ends the session: all holds are lost, and all requests fail with the cause.
func (n *session) end(cause error) {
	s := n.service
	s.mu.Lock()
	if s.session == n { // before the holders know: Close does not end it again
		s.session = nil
	}
	s.mu.Unlock()
	n.mu.Lock()
	was := n.ended
	n.ended = true
	for h := range n.holds {
		h.lose()
	}
	n.mu.Unlock()
	if was {
		return
	}
	n.cancel(cause)
	n.lapse.Stop()
	// The holders know. Others need not wait for the lease to end by itself.
	s.goBackground(func() {
		ctx, cancel := context.WithTimeout(context.Background(), n.ttl/3)
		defer cancel()
		n.revoke(ctx)
	})
}

// revoke ends the lease at etcd, with all its keys.
func (n *session) revoke(ctx context.Context) error {
	err := n.service.repeat(ctx, func(ctx context.Context) error {
		_, err := n.service.leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: int64(n.id)})
		if err = rpctypes.Error(err); errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("end the session, which ends by itself within %v: %w", n.ttl, err)
	}
	return nil
}

// takeNumber returns a number for a key that no other request of the session has. Numbers are
// used again, the last one first: etcd remembers every key that there ever was until it is
// compacted, and reads of a name would take longer with each.
func (n *session) takeNumber() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if last := len(n.free) - 1; last >= 0 {
		number := n.free[last]
		n.free = n.free[:last]
		return number
	}
	n.used++
	return n.used
}

func (n *session) returnNumber(number int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.free = append(n.free, number)
}

// add makes h a hold of the session.
func (n *session) add(h *hold) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended || n.left() <= 0 {
		return errSessionEnded
	}
	n.holds[h] = struct{}{}
	return nil
}

// acquire makes a request and waits until it is granted.
func (n *session) acquire(caller context.Context, r driver.Request) (driver.Hold, error) {
	ctx, cancel := context.WithCancelCause(caller)
	defer cancel(nil)
	defer context.AfterFunc(n.ctx, func() { cancel(context.Cause(n.ctx)) })()

	q := n.newRequest(r)
	err := q.enqueue(ctx)
	for err == nil && q.ahead.key != "" {
		err = q.await(ctx)
	}
	if err == nil {
		h := &hold{request: q, lost: make(chan struct{})}
		if err = n.add(h); err == nil {
			return h, nil
		}
	}
	q.withdraw()
	return nil, err
}
