package drivertest

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/driver/boottime"
)

// A lease is the session of a MemoryService with its server. All holds of the Service hang on it.
// The server's mutex guards it.
type lease struct {
	service *MemoryService
	holds   map[*memoryHold]struct{}
	ended   chan struct{} // closed at the client when the lease has ended, or may have
	gone    bool          // at the server: it has ended

	// With a TTL only:
	deadline time.Time   // at the client: when the lease may end, by the rule of the lease
	renewal  *time.Timer // at the client: sends the next renewal
	loss     *time.Timer // at the client: ends the lease at the deadline
	expiry   *time.Timer // at the server: ends the lease a TTL after the last renewal arrived
}

// session returns the present lease of the Service, or a new one.
func (s *MemoryService) session(ctx context.Context) (*lease, error) {
	s.server.mu.Lock()
	l := s.lease
	s.server.mu.Unlock()
	if l != nil {
		return l, nil
	}
	l = &lease{service: s, holds: map[*memoryHold]struct{}{}, ended: make(chan struct{})}
	sent, err := s.call(ctx, l, func() error { return s.server.renew(l) })
	if err != nil {
		return nil, err
	}
	return s.adopt(l, sent)
}

// adopt makes l the lease of the Service, unless the Service has another one by now.
func (s *MemoryService) adopt(l *lease, sent time.Time) (*lease, error) {
	m := s.server
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.isClosed() {
		m.expire(l)
		return nil, errClosed
	}
	if s.lease != nil {
		m.expire(l)
		return s.lease, nil
	}
	s.lease = l
	if m.ttl > 0 {
		l.deadline = m.deadline(sent)
		l.loss = time.AfterFunc(time.Until(l.deadline), l.lapse)
		l.renewal = time.AfterFunc(m.ttl/3, l.renew)
	}
	return l, nil
}

// deadline returns when a lease may end whose last renewal was sent then.
func (m *Memory) deadline(sent time.Time) time.Time {
	return sent.Add(m.ttl - Margin(m.ttl))
}

// Margin returns what the rule of the lease subtracts from a TTL: a tenth, at least 500 ms.
func Margin(ttl time.Duration) time.Duration { return max(ttl/10, 500*time.Millisecond) }

// renew sends a renewal, and arranges for the next one.
func (l *lease) renew() {
	s, m := l.service, l.service.server
	m.mu.Lock()
	paused := s.paused
	m.mu.Unlock()
	if paused {
		return // until Resume
	}
	sent, err := s.call(context.Background(), l, func() error { return m.renew(l) })

	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case l.hasEnded() || s.paused:
	case errors.Is(err, driver.ErrLost):
		l.end()
	default:
		if deadline := m.deadline(sent); err == nil && deadline.After(l.deadline) {
			l.deadline = deadline
			l.loss.Reset(time.Until(deadline))
		}
		l.renewal.Reset(m.ttl / 3)
	}
}

// lapse ends the lease if its deadline has passed.
func (l *lease) lapse() {
	l.service.server.mu.Lock()
	defer l.service.server.mu.Unlock()
	if !l.service.paused && !time.Now().Before(l.deadline) {
		l.end()
	}
}

// add makes h a hold of the lease. It returns driver.ErrLost if the lease has ended.
func (l *lease) add(h *memoryHold) error {
	l.service.server.mu.Lock()
	defer l.service.server.mu.Unlock()
	if l.hasEnded() {
		return driver.ErrLost
	}
	l.holds[h] = struct{}{}
	return nil
}

// end ends the lease at the client, with all holds. The server's mutex is held.
func (l *lease) end() {
	if l.hasEnded() {
		return
	}
	close(l.ended)
	for h := range l.holds {
		h.lose()
	}
	if l.service.lease == l {
		l.service.lease = nil
	}
	if l.renewal != nil {
		l.renewal.Stop()
		l.loss.Stop()
	}
}

func (l *lease) hasEnded() bool { return isClosed(l.ended) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A memoryHold is a hold at a Memory.
type memoryHold struct {
	service  *MemoryService
	key      *key
	lost     chan struct{}
	released bool // confirmed; guarded by the server's mutex
}

// lose closes Lost. The server's mutex is held.
func (h *memoryHold) lose() {
	delete(h.key.lease.holds, h)
	close(h.lost)
}

// Token implements driver.Hold.
func (h *memoryHold) Token() uint64 {
	if !h.service.Can().Has(driver.Fenced) {
		return 0
	}
	return h.key.token
}

// Lost implements driver.Hold.
func (h *memoryHold) Lost() <-chan struct{} { return h.lost }

// Deadline implements driver.Hold. Timers of package time measure the lease, so that the deadline
// is right in a bubble of testing/synctest too.
func (h *memoryHold) Deadline() time.Duration {
	m := h.service.server
	if m.ttl <= 0 {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return boottime.Now() + time.Until(h.key.lease.deadline)
}

// Release implements driver.Hold.
func (h *memoryHold) Release(ctx context.Context) error {
	m, l := h.service.server, h.key.lease
	if err, done := h.outcome(); done {
		return err
	}
	var found atomic.Bool // by one of the messages, which may arrive late
	_, err := h.service.call(ctx, l, func() error {
		if m.remove(h.key) {
			found.Store(true)
		}
		return nil
	})
	if err, done := h.outcome(); done {
		return err
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(l.holds, h)
	h.released = true
	if !found.Load() && l.gone {
		close(h.lost)
		return driver.ErrLost
	}
	return nil
}

// outcome returns what Release returns for a hold that has ended.
func (h *memoryHold) outcome() (err error, done bool) {
	h.service.server.mu.Lock()
	defer h.service.server.mu.Unlock()
	if h.released {
		return nil, true
	}
	if isClosed(h.lost) {
		return driver.ErrLost, true
	}
	return nil, false
}
