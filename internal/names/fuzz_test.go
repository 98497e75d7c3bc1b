package names

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/lockutils/lockutils/internal/queue"
)

// FuzzTable takes its input for a sequence of operations on a table, carries them out one after
// the other, and compares after each who holds, who waits and who has been turned away with a
// model of a few lines.
func FuzzTable(f *testing.F) {
	for seed := range 60 {
		script := make([]byte, 20+5*seed)
		random := rand.New(rand.NewPCG(uint64(seed), 1))
		for i := range script {
			script[i] = byte(random.Uint32())
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		// A bubble makes it known when all that an operation has set going has come to rest.
		synctest.Test(t, func(t *testing.T) {
			if len(script) > 2 {
				r := newRehearsal(t, script[0], script[1])
				r.play(script[2:min(len(script), 500)])
				r.end()
			}
		})
	})
}

// A rehearsal is a table beside its model.
type rehearsal struct {
	*testing.T
	table *Table
	stale []queue.Hold
	model []*model
}

// A model is what a lock should be: who holds it, and who waits, first come first.
type model struct {
	key      Key
	permits  int
	holders  []*request
	waiters  []*request
	departed []*request // given up before they were served
}

// A request is one call of Acquire or TryAcquire.
type request struct {
	mode   queue.Mode
	order  queue.Order
	named  bool // released by name
	cancel context.CancelFunc

	// Written in the bubble, and read when it has come to rest.
	done bool
	err  error
	hold queue.Hold
}

func newRehearsal(t *testing.T, a, b byte) *rehearsal {
	permits := 1 + int(a%4/3)*2
	r := &rehearsal{T: t, table: collisions(1+int(a/4%3), int(b%3), int64(permits))}
	for _, k := range []Key{Key{"", "a"}, Key{"a", ""}, Key{"", "b"}, Key{"", longName}} {
		r.model = append(r.model, &model{key: k, permits: permits})
	}
	return r
}

func (r *rehearsal) play(script []byte) {
	for i := 0; i+1 < len(script) && !r.Failed(); i += 2 {
		what, which := script[i], int(script[i+1])
		m := r.model[which%len(r.model)]
		which /= len(r.model)
		switch what % 8 {
		case 0, 1:
			r.acquire(m, queue.Mode(what/8%2), queue.Order(what/16%3), which%2 == 1)
		case 2:
			r.tryAcquire(m, queue.Mode(what/8%2), queue.Order(what/16%3), which%2 == 1)
		case 3, 4:
			if len(m.holders) > 0 {
				r.release(m, which%len(m.holders))
			}
		case 5:
			if len(m.waiters) > 0 {
				r.cancel(m, which%len(m.waiters))
			}
		case 6:
			if len(r.stale) > 0 && r.stale[which%len(r.stale)].Release() {
				r.Error("a stale hold was released")
			}
		case 7:
			mode := queue.Mode(what / 8 % 2)
			if !m.heldAs(mode) && r.table.Release(m.key, m.key.Hash(), mode) {
				r.Error("a key was released that nobody holds")
			}
		}
		r.compare()
	}
}

// end lets everybody in and out again.
func (r *rehearsal) end() {
	for _, m := range r.model {
		for len(m.holders) > 0 && !r.Failed() {
			r.release(m, 0)
			r.compare()
		}
		if len(m.waiters) > 0 {
			r.Error("some wait for a lock that nobody holds")
		}
	}
	if !r.Failed() {
		r.table.checkIdle(r.T)
	}
}

func (r *rehearsal) acquire(m *model, mode queue.Mode, o queue.Order, named bool) {
	ctx, cancel := context.WithCancel(background)
	q := &request{mode: mode, order: o, named: named, cancel: cancel}
	if m.admits(q) {
		m.holders = append(m.holders, q)
	} else {
		m.waiters = append(m.waiters, q)
	}
	go func() {
		if named {
			q.err = r.table.AcquireNamed(ctx, m.key, m.key.Hash(), mode, o)
		} else {
			q.hold, q.err = r.table.Acquire(ctx, m.key, mode, o)
		}
		q.done = true
	}()
}

func (r *rehearsal) tryAcquire(m *model, mode queue.Mode, o queue.Order, named bool) {
	q := &request{mode: mode, order: o, named: named, cancel: func() {}, done: true}
	var ok bool
	if named {
		ok = r.table.TryAcquireNamed(m.key, m.key.Hash(), mode, o)
	} else {
		q.hold, ok = r.table.TryAcquire(m.key, mode, o)
	}
	if want := m.admits(q); ok != want {
		r.Errorf("TryAcquire returned %t", ok)
	} else if ok {
		m.holders = append(m.holders, q)
	}
}

func (r *rehearsal) release(m *model, i int) {
	q := m.holders[i]
	q.cancel()
	m.holders = slices.Delete(m.holders, i, i+1)
	if q.named {
		if !r.table.Release(m.key, m.key.Hash(), q.mode) {
			r.Error("a hold could not be released by name")
		}
	} else if !q.hold.Release() {
		r.Error("a hold could not be released")
	}
	r.stale = append(r.stale, q.hold)
	m.grantNext()
}

func (r *rehearsal) cancel(m *model, i int) {
	q := m.waiters[i]
	q.cancel()
	m.waiters = slices.Delete(m.waiters, i, i+1)
	m.departed = append(m.departed, q)
	m.grantNext()
}

// compare checks that the table has come to the state of the model.
func (r *rehearsal) compare() {
	synctest.Wait()
	used := 0
	for _, m := range r.model {
		if len(m.holders)+len(m.waiters) > 0 {
			used++
		}
		for _, q := range m.holders {
			if !q.done || q.err != nil || !q.named && !q.hold.Held() {
				r.Errorf("%v: a request that should be a holder is not", m.key)
			}
		}
		for _, q := range m.waiters {
			if q.done {
				r.Errorf("%v: a request that should wait does not", m.key)
			}
		}
		for _, q := range m.departed {
			if !q.done || q.err == nil {
				r.Errorf("%v: a request that was cancelled has not ended", m.key)
			}
		}
	}
	for _, h := range r.stale {
		if h.Held() {
			r.Error("a hold that was released is still held")
		}
	}
	if n := r.table.Len(); n != used {
		r.Errorf("%d keys are in use, want %d", n, used)
	}
}

func (m *model) heldAs(mode queue.Mode) bool {
	return slices.ContainsFunc(m.holders, func(q *request) bool { return q.mode == mode })
}

// room reports whether the holders leave room for the request.
func (m *model) room(q *request) bool {
	if q.mode == queue.Shared {
		return !m.heldAs(queue.Exclusive)
	}
	return !m.heldAs(queue.Shared) && len(m.holders) < m.permits
}

// admits reports whether a new request need not wait.
func (m *model) admits(q *request) bool {
	mayPass := len(m.waiters) == 0 || q.order == queue.Reentrant ||
		q.order == queue.Barging && q.mode == queue.Exclusive &&
			!slices.ContainsFunc(m.waiters, func(w *request) bool { return w.order == queue.Fair })
	return mayPass && m.room(q)
}

// grantNext lets in those in front.
func (m *model) grantNext() {
	for len(m.waiters) > 0 && m.room(m.waiters[0]) {
		m.holders = append(m.holders, m.waiters[0])
		m.waiters = m.waiters[1:]
	}
}
