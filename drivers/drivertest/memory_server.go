package drivertest

import (
	"slices"
	"time"

	"github.com/lockutils/lockutils/driver"
)

// A key is one request at the server: it waits in the queue of its name, or holds the lock.
type key struct {
	lease  *lease
	name   string
	shared bool

	granted chan struct{} // closed when the key holds the lock
	held    bool
	removed bool // it has left the queue, and does not come back
	refused bool // it was not to wait
	token   uint64
}

// enqueue puts the request at the end of the queue, unless it is there already. If it would have to
// wait and must not, it is refused with driver.ErrLocked.
func (m *Memory) enqueue(k *key, noWait bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k.lease.gone {
		return driver.ErrLost
	}
	if k.refused {
		return driver.ErrLocked
	}
	if k.removed || slices.Contains(m.queues[k.name], k) {
		return nil
	}
	m.requests++
	m.queues[k.name] = append(m.queues[k.name], k)
	m.grant(k.name)
	if noWait && !k.held {
		m.drop(k)
		k.refused = true
		return driver.ErrLocked
	}
	return nil
}

// remove takes the request out of its queue, and reports whether it was there.
func (m *Memory) remove(k *key) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.drop(k)
}

// drop is remove with the mutex held.
func (m *Memory) drop(k *key) bool {
	k.removed = true
	queue := m.queues[k.name]
	i := slices.Index(queue, k)
	if i < 0 {
		return false
	}
	m.queues[k.name] = slices.Delete(queue, i, i+1)
	m.grant(k.name)
	return true
}

// grant gives the lock to those at the head of the queue that may have it together.
func (m *Memory) grant(name string) {
	queue := m.queues[name]
	if len(queue) == 0 {
		delete(m.queues, name)
		return
	}
	for i, k := range queue {
		if i > 0 && !(k.shared && queue[i-1].shared) {
			return
		}
		if !k.held {
			m.revision++
			k.held, k.token = true, m.revision
			close(k.granted)
		}
	}
}

// renew has the lease last for another TTL from now.
func (m *Memory) renew(l *lease) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case l.gone:
		return driver.ErrLost
	case m.ttl <= 0:
	case l.expiry == nil:
		l.expiry = time.AfterFunc(m.ttl, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.expire(l)
		})
	default:
		l.expiry.Reset(m.ttl)
	}
	return nil
}

// expire ends the lease at the server, with all its requests. The mutex is held.
func (m *Memory) expire(l *lease) {
	l.gone = true
	if l.expiry != nil {
		l.expiry.Stop()
	}
	for _, queue := range m.queues {
		for _, k := range slices.Clone(queue) {
			if k.lease == l {
				m.drop(k)
			}
		}
	}
}
