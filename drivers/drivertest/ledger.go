package drivertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/driver/boottime"
)

// A ledger is what a lock protects: a number, which holders read and write back with one added.
// It stands behind a fence, which refuses a write with a token below the largest seen.
//
// It also keeps who holds the lock. The lock may be granted beside a holder only if that holder
// has been told of its loss or can tell by the clock.
type ledger struct {
	fenced bool

	// notice is how long the news of a cut connection may take to both ends. Holds that a
	// server keeps for as long as the connection end with it, whether or not the holder has
	// heard by then.
	notice time.Duration

	mu       sync.Mutex
	holders  map[driver.Hold]string
	number   int
	largest  uint64
	lost     int // updates that a write has undone
	refused  int
	accepted int
}

// enter is called with a hold that was granted.
func (l *ledger) enter(h driver.Hold, who string) error {
	now := boottime.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for other, name := range l.holders {
		if left := other.Deadline() - now; left > 0 && !closedWithin(other.Lost(), l.notice) {
			return fmt.Errorf("%s is granted the lock beside %s, which has not been told and has a "+
				"deadline in %v; tokens %d and %d", who, name, left, h.Token(), other.Token())
		}
	}
	l.holders[h] = who
	return nil
}

func closedWithin(c <-chan struct{}, d time.Duration) bool {
	if isClosed(c) {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c:
		return true
	case <-timer.C:
		return false
	}
}

// leave is called before the hold is released.
func (l *ledger) leave(h driver.Hold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.holders, h)
}

func (l *ledger) read(token uint64) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.largest = max(l.largest, token)
	return l.number
}

// write replaces the number that was read before, unless the fence refuses it.
func (l *ledger) write(token uint64, before int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fenced && token < l.largest {
		l.refused++
		return
	}
	l.largest = max(l.largest, token)
	l.accepted++
	if before != l.number {
		l.lost++
	}
	l.number = before + 1
}

// ledgers has four processes keep a ledger while the way of each to the server is disturbed.
// Some holders behave as if their process were stopped: they do not look whether their lock is
// lost, and write late.
func ledgers(s *stage) error {
	const processes = 4
	l := &ledger{fenced: s.process(0).Can().Has(driver.Fenced), holders: map[driver.Hold]string{}}
	if s.process(0).Can().Has(driver.SurvivesPause) {
		l.notice = s.process(0).TTL / 6
	}
	errs := make(chan error)
	var disturbances atomic.Int64
	name := s.name()
	for i := range processes {
		p := s.process(i)
		keep, disturb := rand.New(rand.NewPCG(s.random.Uint64(), 0)), rand.New(rand.NewPCG(s.random.Uint64(), 0))
		done := make(chan struct{})
		go func() {
			for i := 0; s.again(i, 3); i++ {
				trouble(p, disturb)
				disturbances.Add(1)
			}
			close(done)
		}()
		begun := time.Now()
		go func() {
			err := s.keepLedger(l, p, fmt.Sprint("process ", i), name, keep, done)
			if err != nil {
				err = fmt.Errorf("after %v: %w", time.Since(begun).Round(time.Millisecond), err)
			}
			errs <- err
		}()
	}
	var all error
	for range processes {
		all = errors.Join(all, <-errs)
	}
	for i := range processes {
		if err := s.free(s.process(i), name); err != nil {
			all = errors.Join(all, fmt.Errorf("process %d, after the disturbances: %w", i, err))
		}
	}
	if l.fenced && l.lost > 0 {
		all = errors.Join(all, fmt.Errorf("%d updates were undone by later writes that the fence let pass", l.lost))
	}
	s.t.Logf("%d disturbances, %d updates, %d late updates refused", disturbances.Load(), l.accepted, l.refused)
	return all
}

// trouble disturbs the way of a process to the server for a while.
func trouble(p Process, random *rand.Rand) {
	time.Sleep(time.Duration(random.Int64N(int64(p.TTL))))
	switch random.IntN(6) {
	case 0:
		p.Link.Cut()
	case 1:
		p.Link.Freeze()
	case 2:
		p.Link.DropRequests()
	case 3:
		p.Link.DropReplies()
	case 4:
		p.Link.DropReply()
	case 5:
		p.Link.Delay(0, time.Duration(random.Int64N(int64(p.TTL/4))))
	}
	time.Sleep(time.Duration(random.Int64N(int64(p.TTL * 5 / 4))))
	p.Link.Mend()
}

// keepLedger acquires, writes and releases until done.
func (s *stage) keepLedger(
	l *ledger, p Process, who, name string, random *rand.Rand, done <-chan struct{},
) error {
	for !isClosed(done) {
		h, err := s.acquire(p, driver.Request{Name: name})
		if errors.Is(err, context.DeadlineExceeded) && !isClosed(s.ctx.Done()) {
			continue // others were always faster, or their holds had to end by the TTL
		}
		if err != nil {
			return fmt.Errorf("%s: %w", who, err)
		}
		if err := l.enter(h, who); err != nil {
			return err
		}
		before := l.read(h.Token())
		switch random.IntN(20) {
		case 0: // stopped
			time.Sleep(time.Duration(random.Int64N(int64(p.TTL * 3 / 2))))
			l.write(h.Token(), before)
		default:
			time.Sleep(time.Duration(random.IntN(2000)) * time.Microsecond)
			if !isClosed(h.Lost()) && h.Deadline() > boottime.Now() {
				l.write(h.Token(), before)
			}
		}
		l.leave(h)
		if err := s.release(h); err != nil && !errors.Is(err, driver.ErrLost) {
			return fmt.Errorf("%s: %w", who, err)
		}
	}
	return nil
}
