package names

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockutils/lockutils/internal/queue"
	"github.com/lockutils/lockutils/internal/queuetest"
)

// TestStress has goroutines do everything that can be done with a lock, at random, to few and to
// many keys, in tables where collisions are rare, frequent and the rule. It goes in short rounds,
// since a waiter that nobody wakes shows at the end of a round: while others come and go they
// would wake it by the way.
func TestStress(t *testing.T) {
	var cases []*stressed
	for _, permits := range []int64{1, 3} {
		for _, keys := range []int{1, 2, 6, 60} {
			cases = append(cases,
				newStressed(NewTable(64, permits), keys),
				newStressed(collisions(1, 0, permits), keys),
				newStressed(collisions(1, 1, permits), keys),
				newStressed(collisions(4, 2, permits), keys))
		}
	}
	rounds := 0
	for start := time.Now(); rounds < len(cases) || time.Since(start) < *stressTime; rounds++ {
		// Two tables at a time, since they share pools.
		a, b := cases[rounds%len(cases)], cases[rand.IntN(len(cases))]
		var group sync.WaitGroup
		for i := range 12 {
			s := a
			if a != b && i%4 == 0 {
				s = b
			}
			group.Go(func() { s.work(100) })
		}
		waitOrDump(t, &group, a, b)
		for _, s := range []*stressed{a, b} {
			s.check(t)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d rounds", rounds)
}

// A stressed is a table under stress.
type stressed struct {
	name  string
	table *Table
	keys  []Key
	rooms []queuetest.Room
	ended chan queue.Hold // stale holds of the past, of all kinds
	wrong chan string
}

func newStressed(table *Table, keys int) *stressed {
	s := &stressed{
		name: fmt.Sprintf("%d keys in %d slots with hash bits %#x, %d permits", keys, len(table.slots),
			table.bits, table.permits),
		table: table,
		rooms: make([]queuetest.Room, keys),
		ended: make(chan queue.Hold, 64),
		wrong: make(chan string, 1),
	}
	for i := range keys {
		name := fmt.Sprint("name-", i)
		if i%5 == 4 {
			name += strings.Repeat("-long", 12)
		}
		s.keys = append(s.keys, Key{[]string{"", "scope"}[i%2], name})
		s.rooms[i].Permits = table.permits
	}
	return s
}

// work does that many random things.
func (s *stressed) work(steps int) {
	for range steps {
		i := rand.IntN(len(s.keys))
		h, m, ok := s.acquire(s.keys[i])
		if !ok {
			continue
		}
		if m == queue.Shared {
			s.rooms[i].Read(queuetest.Dawdle)
		} else {
			s.rooms[i].Write(queuetest.Dawdle)
		}
		s.release(s.keys[i], h, m)
		s.releaseStale()
	}
}

// acquire tries to become a holder. It returns the zero Hold for one that is released by name.
func (s *stressed) acquire(k Key) (h queue.Hold, m queue.Mode, ok bool) {
	m, o := queue.Mode(rand.IntN(2)), queue.Order(rand.IntN(2))
	switch n := rand.IntN(10); {
	case n >= 8 && m == queue.Exclusive:
		if s.table.permits > 1 {
			ok = s.table.AcquirePermitFast(k, k.Hash(), o)
		} else {
			h, ok = s.table.AcquireFast(k, k.Hash(), o)
		}
	case n == 8 && s.table.permits <= 1:
		h, ok = s.table.ShareFast(k, k.Hash())
	case n == 9 && k.Scope == "":
		ok = s.table.ShareNamedFast(k.Name, k.Hash())
	case n <= 1:
		h, ok = s.table.TryAcquire(k, m, o)
	case n <= 3:
		var err error
		h, err = s.table.Acquire(background, k, m, o)
		ok = err == nil
	case n == 4:
		ctx, cancel := context.WithCancel(background)
		go func() {
			queuetest.Dawdle()
			cancel()
		}()
		var err error
		h, err = s.table.Acquire(ctx, k, m, o)
		ok = err == nil
	case n == 6:
		ok = s.table.TryAcquireNamed(k, k.Hash(), m, o)
	case n == 7:
		ctx, cancel := context.WithTimeout(background, time.Duration(rand.IntN(100))*time.Microsecond)
		ok = s.table.AcquireNamed(ctx, k, k.Hash(), m, o) == nil
		cancel()
	case n == 5:
		ctx, cancel := context.WithTimeout(background, time.Duration(rand.IntN(100))*time.Microsecond)
		var err error
		h, err = s.table.Acquire(ctx, k, m, o)
		ok = err == nil
		cancel()
	}
	if ok && h != (queue.Hold{}) && !h.Held() {
		s.complain("a fresh hold is not held")
	}
	if ok && h != (queue.Hold{}) && rand.IntN(4) == 0 {
		if of, held := s.table.KeyOf(h); !held || of != k {
			s.complain("a hold is shown as that of another key")
		}
	}
	return h, m, ok
}

// release gives a hold up in one of the ways that there are.
func (s *stressed) release(k Key, h queue.Hold, m queue.Mode) {
	if h == (queue.Hold{}) {
		if !s.table.Release(k, k.Hash(), m) {
			s.complain("a hold could not be released by name")
		}
	} else {
		if rand.IntN(4) == 0 {
			// Copies race for it.
			released := make(chan bool)
			go func() { released <- h.Release() }()
			if h.Release() == <-released {
				s.complain("of two copies of a hold, both or none could be released")
			}
		} else if !h.ReleaseFast() && !h.Release() {
			s.complain("a hold could not be released")
		}
	}
	select {
	case s.ended <- h:
	default:
	}
}

// releaseStale releases a hold that is none any more.
func (s *stressed) releaseStale() {
	if rand.IntN(4) != 0 {
		return
	}
	select {
	case h := <-s.ended:
		if _, held := s.table.KeyOf(h); held || h.Held() {
			s.complain("a hold released is still held")
		}
		if h.ReleaseFast() || h.Release() {
			s.complain("a hold was released twice")
		}
	default:
	}
}

func (s *stressed) complain(message string) {
	select {
	case s.wrong <- message:
	default:
	}
}

// check reports what has gone wrong once all is quiet.
func (s *stressed) check(t *testing.T) {
	t.Helper()
	for i := range s.rooms {
		if n := s.rooms[i].Overlaps.Load(); n != 0 {
			t.Errorf("%s: %d overlaps", s.name, n)
		}
	}
	select {
	case message := <-s.wrong:
		t.Errorf("%s: %s", s.name, message)
	default:
	}
	s.table.checkIdle(t)
}

// waitOrDump waits for a round. One that takes minutes hangs: somebody was not woken.
func waitOrDump(t *testing.T, group *sync.WaitGroup, cases ...*stressed) {
	t.Helper()
	watchdog := time.AfterFunc(2*time.Minute, func() {
		for _, s := range cases {
			println("hangs:", s.name)
		}
		panic("a waiter was not woken")
	})
	group.Wait()
	watchdog.Stop()
}
