package drivertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockutils/lockutils/driver"
)

// A Memory is a lock server in memory. The Services that Open returns contend for its locks, as
// processes of several hosts do at a real one.
//
// It has every capability unless WithCapability says otherwise, and serves requests in order of
// arrival. It starts no goroutine that outlives a call, and it runs on the clock of package time,
// so it can be used in a bubble of testing/synctest, where it is deterministic. All methods may
// be called concurrently.
type Memory struct {
	ttl time.Duration
	can driver.Capability

	mu       sync.Mutex // guards all below, and the state of every Service
	queues   map[string][]*key
	revision uint64
	requests int
}

// A MemoryOption changes what NewMemory returns.
type MemoryOption func(*Memory)

// WithTTL has holds end d after their Service was last able to renew them. Without it, or with a d
// that is not positive, they end by Release, Close or Lose only, and have no deadline. A server with
// a TTL does not survive a pause. A hold is lost from the start unless d exceeds [Margin].
func WithTTL(d time.Duration) MemoryOption {
	return func(m *Memory) { m.ttl = d }
}

// WithCapability has the server offer c only.
func WithCapability(c driver.Capability) MemoryOption {
	return func(m *Memory) { m.can = c }
}

// NewMemory returns a server without locks.
func NewMemory(opts ...MemoryOption) *Memory {
	m := &Memory{
		can:    driver.Shared | driver.Fair | driver.Fenced | driver.SurvivesPause | driver.Linearizable,
		queues: map[string][]*key{},
	}
	for _, opt := range opts {
		opt(m)
	}
	if m.ttl > 0 {
		m.can &^= driver.SurvivesPause
	}
	return m
}

// Open returns a new Service with a session of its own, as another process would have it.
func (m *Memory) Open() *MemoryService {
	s := &MemoryService{server: m, closed: make(chan struct{})}
	s.link.init()
	return s
}

// Requests returns how many requests for locks have reached the server.
func (m *Memory) Requests() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.requests
}

// Holding returns how many requests hold the lock of that name.
func (m *Memory) Holding(name string) int { return m.count(name, true) }

// Waiting returns how many requests wait for the lock of that name.
func (m *Memory) Waiting(name string) int { return m.count(name, false) }

func (m *Memory) count(name string, held bool) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.queues[name] {
		if k.held == held {
			n++
		}
	}
	return n
}

// A MemoryService is a Service of a Memory, with controls for what can go wrong between the two. It
// is a Link as well: what the Link does happens to the messages of this Service only.
type MemoryService struct {
	server *Memory
	link   memoryLink
	lease  *lease        // the present one; nil before the first request and after a loss
	closed chan struct{} // closed by Close
	paused bool
}

var _ driver.Service = (*MemoryService)(nil)

// Name returns "memory".
func (s *MemoryService) Name() string { return "memory" }

// Can returns the server's capabilities.
func (s *MemoryService) Can() driver.Capability { return s.server.can }

// errClosed is the error of a closed Service.
var errClosed = errors.New("memory: service is closed")

// Acquire implements driver.Service. A wait goes on, from the end of the queue, if the session ends
// meanwhile.
func (s *MemoryService) Acquire(ctx context.Context, r driver.Request) (driver.Hold, error) {
	if err := s.refuse(r); err != nil {
		return nil, err
	}
	for {
		h, err := s.acquire(ctx, r)
		if !errors.Is(err, driver.ErrLost) {
			return h, err
		}
	}
}

// refuse returns an error if the request needs a capability that the server lacks.
func (s *MemoryService) refuse(r driver.Request) error {
	var need driver.Capability
	if r.Shared {
		need |= driver.Shared
	}
	if r.Fair {
		need |= driver.Fair
	}
	if !s.Can().Has(need) {
		return fmt.Errorf("memory: %v: %w", need&^s.Can(), errors.ErrUnsupported)
	}
	return nil
}

// acquire requests the lock within the present session, or a new one. It returns driver.ErrLost if
// the session ends meanwhile.
func (s *MemoryService) acquire(ctx context.Context, r driver.Request) (driver.Hold, error) {
	l, err := s.session(ctx)
	if err != nil {
		return nil, err
	}
	k := &key{lease: l, name: r.Name, shared: r.Shared, granted: make(chan struct{})}
	_, err = s.call(ctx, l, func() error { return s.server.enqueue(k, r.NoWait) })
	if err == nil {
		err = s.await(ctx, k)
	}
	h := &memoryHold{service: s, key: k, lost: make(chan struct{})}
	if err == nil {
		err = l.add(h)
	}
	if err != nil {
		s.withdraw(k)
		return nil, err
	}
	return h, nil
}

// await waits until the request is granted and the news of it has arrived.
func (s *MemoryService) await(ctx context.Context, k *key) error {
	select {
	case <-k.granted:
		return nil // the reply said so
	default:
	}
	select {
	case <-k.granted:
		_, err := s.call(ctx, k.lease, func() error { return nil })
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-k.lease.ended:
		return driver.ErrLost
	case <-s.closed:
		return errClosed
	}
}

// withdraw removes the request from the server. It goes on in the background if the server cannot
// be reached at once.
func (s *MemoryService) withdraw(k *key) {
	remove := func() error { s.server.remove(k); return nil }
	if s.link.clear() {
		remove()
		return
	}
	go s.call(context.Background(), k.lease, remove)
}

// Close ends all holds and waits of the Service. Holders that are left are told that their locks
// are lost.
func (s *MemoryService) Close() error {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if s.isClosed() {
		return nil
	}
	close(s.closed)
	if l := s.lease; l != nil {
		l.end()
		s.server.expire(l)
	}
	return nil
}

func (s *MemoryService) isClosed() bool { return isClosed(s.closed) }

// Lose ends the holds of those names, or all holds and the session if there are no names. Their
// Lost is closed before anybody else is granted the lock.
func (s *MemoryService) Lose(names ...string) {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	l := s.lease
	switch {
	case l == nil:
	case len(names) == 0:
		l.end()
		s.server.expire(l)
	default:
		for _, name := range names {
			for h := range l.holds {
				if h.key.name == name {
					h.lose()
					s.server.drop(h.key)
				}
			}
		}
	}
}

// Pause stops what the Service does on its own, as when its process is stopped: it renews nothing
// and closes no Lost, until Resume.
func (s *MemoryService) Pause() {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.paused = true
}

// Resume undoes Pause. The Service notices at once what it has lost in the meantime.
func (s *MemoryService) Resume() {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.paused = false
	if s.lease != nil && s.server.ttl > 0 {
		s.lease.loss.Reset(time.Until(s.lease.deadline))
		s.lease.renewal.Reset(0)
	}
}

// Cut implements Link.
func (s *MemoryService) Cut() { s.link.set(func(l *linkState) { l.cut = true }) }

// Freeze implements Link.
func (s *MemoryService) Freeze() { s.link.set(func(l *linkState) { l.frozen = true }) }

// DropRequests implements Link.
func (s *MemoryService) DropRequests() { s.link.set(func(l *linkState) { l.dropRequests = true }) }

// DropReplies implements Link.
func (s *MemoryService) DropReplies() { s.link.set(func(l *linkState) { l.dropReplies = true }) }

// DropReply implements Link.
func (s *MemoryService) DropReply() { s.link.set(func(l *linkState) { l.dropReply = true }) }

// Delay implements Link.
func (s *MemoryService) Delay(requests, replies time.Duration) {
	s.link.set(func(l *linkState) { l.delayRequests, l.delayReplies = requests, replies })
}

// Fail has the server answer each request with err, until Mend. Renewals fail as well.
func (s *MemoryService) Fail(err error) { s.link.set(func(l *linkState) { l.failure = err }) }

// Mend implements Link, and undoes Fail.
func (s *MemoryService) Mend() { s.link.set(func(l *linkState) { *l = linkState{} }) }
