package drivertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/driver/boottime"
)

// TestFlaws breaks the Services that open returns, in the ways in which drivers get it wrong, and
// fails if the suite does not catch that. It takes what TestService takes, and open has to return
// a [Process]. Flaws that need a Link or a TTL are left out for Services without.
func TestFlaws(t *testing.T, open func(t *testing.T) driver.Service) {
	for _, f := range flaws {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := checkNamed(f.caughtBy)
			for range flawTries {
				s := brokenStage(t, f, open)
				if missing := s.missing(c); missing != "" {
					t.Logf("not checked: the service has no %s", missing)
					return
				}
				err := c.run(s)
				s.close()
				if err != nil {
					t.Logf("caught: %v", err)
					return
				}
			}
			t.Errorf("%s was not caught by the check that %s", f.name, c.promise)
		})
	}
}

// flawTries is how often a flaw may go unnoticed, less one: those that show only while an answer is
// on its way do not show on a machine that is too busy for the answer to come in time.
const flawTries = 4

// brokenStage returns a stage on which all Services have a flaw.
func brokenStage(t *testing.T, f flaw, open func(t *testing.T) driver.Service) *stage {
	together := newTogether()
	return newStage(t, rand.Uint64(), func(t *testing.T) driver.Service {
		p, ok := open(t).(Process)
		if !ok {
			t.Fatal("open has to return a Process")
		}
		p.Service = &broken{
			Service: p.Service, flaw: f, ttl: p.TTL, done: t.Context().Done(),
			together: together, own: newTogether(),
		}
		return p
	}, 5*time.Second)
}

func checkNamed(name string) check {
	for _, c := range checks {
		if c.name == name {
			return c
		}
	}
	panic("drivertest: no check " + name)
}

// A flaw is one way to get it wrong.
type flaw struct {
	name     string
	caughtBy string
	acquire  func(ctx context.Context, b *broken, r driver.Request) (driver.Hold, error)
}

var flaws = []flaw{
	{"ReleaseWithoutComparison", "Release", releaseWithoutComparison},
	{"OneKeyPerSession", "OneService", oneKeyPerSession},
	{"MissedRelease", "Handover", missedRelease},
	{"DeadlineFromReceipt", "Deadline", deadlineFromReceipt},
	{"DeadlineByWallClock", "Deadline", deadlineByWallClock},
	{"LateNews", "Lost", lateNews},
	{"LeftBehind", "Cancel", leftBehind},
	{"DeafAfterTrouble", "Wait", deafAfterTrouble},
}

// A broken Service has one flaw.
type broken struct {
	driver.Service
	flaw     flaw
	ttl      time.Duration
	done     <-chan struct{} // closed at the end of the test
	together *together       // what all broken Services of one test know
	own      *together       // what this one knows
}

// together is what broken Services remember of each name.
type together struct {
	mu       sync.Mutex
	latest   map[string]driver.Hold
	released map[string]chan struct{} // closed, and replaced, by a release
}

func newTogether() *together {
	return &together{latest: map[string]driver.Hold{}, released: map[string]chan struct{}{}}
}

func (b *broken) Acquire(ctx context.Context, r driver.Request) (driver.Hold, error) {
	return b.flaw.acquire(ctx, b, r)
}

func (b *broken) Close() error { return Process{Service: b.Service}.close() }

// brokenHold is a hold with some methods replaced.
type brokenHold struct {
	driver.Hold
	release  func(context.Context) error
	deadline func() time.Duration
	lost     chan struct{}
}

func (h *brokenHold) Release(ctx context.Context) error {
	if h.release != nil {
		return h.release(ctx)
	}
	return h.Hold.Release(ctx)
}

func (h *brokenHold) Deadline() time.Duration {
	if h.deadline != nil {
		return h.deadline()
	}
	return h.Hold.Deadline()
}

func (h *brokenHold) Lost() <-chan struct{} {
	if h.lost != nil {
		return h.lost
	}
	return h.Hold.Lost()
}

// releaseWithoutComparison frees whoever holds the lock.
func releaseWithoutComparison(ctx context.Context, b *broken, r driver.Request) (driver.Hold, error) {
	h, err := b.Service.Acquire(ctx, r)
	if err != nil {
		return nil, err
	}
	b.together.mu.Lock()
	defer b.together.mu.Unlock()
	b.together.latest[r.Name] = h
	return &brokenHold{Hold: h, release: func(ctx context.Context) error {
		b.together.mu.Lock()
		latest := b.together.latest[r.Name]
		b.together.mu.Unlock()
		return latest.Release(ctx)
	}}, nil
}

// oneKeyPerSession grants a lock that the Service has already.
func oneKeyPerSession(ctx context.Context, b *broken, r driver.Request) (driver.Hold, error) {
	b.own.mu.Lock()
	h := b.own.latest[r.Name]
	b.own.mu.Unlock()
	if h == nil {
		var err error
		if h, err = b.Service.Acquire(ctx, r); err != nil {
			return nil, err
		}
	}
	b.own.mu.Lock()
	defer b.own.mu.Unlock()
	b.own.latest[r.Name] = h
	return &brokenHold{Hold: h, release: func(ctx context.Context) error {
		b.own.mu.Lock()
		delete(b.own.latest, r.Name)
		b.own.mu.Unlock()
		return h.Release(ctx)
	}}, nil
}

// missedRelease waits for releases from some time after it has found the lock taken, without
// looking again.
func missedRelease(ctx context.Context, b *broken, r driver.Request) (driver.Hold, error) {
	for {
		try := r
		try.NoWait = true
		h, err := b.Service.Acquire(ctx, try)
		switch {
		case err == nil:
			return &brokenHold{Hold: h, release: func(ctx context.Context) error {
				err := h.Release(ctx)
				b.together.mu.Lock()
				defer b.together.mu.Unlock()
				if c := b.together.released[r.Name]; c != nil {
					close(c)
				}
				delete(b.together.released, r.Name)
				return err
			}}, nil
		case r.NoWait, !errors.Is(err, driver.ErrLocked):
			return nil, err
		}
		time.Sleep(5 * time.Millisecond) // the releases of this time are missed
		b.together.mu.Lock()
		released := b.together.released[r.Name]
		if released == nil {
			released = make(chan struct{})
			b.together.released[r.Name] = released
		}
		b.together.mu.Unlock()
		select {
		case <-released:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// deafAfterTrouble hears of no release any more once the server was silent for a while.
func deafAfterTrouble(ctx context.Context, b *broken, r driver.Request) (driver.Hold, error) {
	if r.NoWait {
		return b.Service.Acquire(ctx, r)
	}
	r.NoWait = true
	for {
		try, cancel := context.WithTimeout(ctx, b.ttl/8)
		h, err := b.Service.Acquire(try, r)
		cancel()
		switch {
		case err == nil:
			return h, nil
		case !errors.Is(err, driver.ErrLocked):
			<-ctx.Done()
			return nil, ctx.Err()
		}
		time.Sleep(b.ttl / 100)
	}
}

// renewed calls f whenever the deadline of the hold has moved, until the hold has ended.
func renewed(h driver.Hold, f func()) *brokenHold {
	released := make(chan struct{})
	var once sync.Once
	f()
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for last := h.Deadline(); ; {
			select {
			case <-tick.C:
			case <-h.Lost():
				return
			case <-released:
				return
			}
			if now := h.Deadline(); now-last > 20*time.Millisecond {
				last = now
				f()
			}
		}
	}()
	return &brokenHold{Hold: h, release: func(ctx context.Context) error {
		once.Do(func() { close(released) })
		return h.Release(ctx)
	}}
}

// deadlineFromReceipt counts from when the reply to a renewal arrives.
func deadlineFromReceipt(ctx context.Context, b *broken, r driver.Request) (driver.Hold, error) {
	h, err := b.Service.Acquire(ctx, r)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var deadline time.Duration
	wrong := renewed(h, func() {
		mu.Lock()
		defer mu.Unlock()
		deadline = boottime.Now() + b.ttl - Margin(b.ttl)
	})
	wrong.deadline = func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return deadline
	}
	return wrong, nil
}

// deadlineByWallClock compares the deadline with a clock that is set back by a minute meanwhile.
func deadlineByWallClock(ctx context.Context, b *broken, r driver.Request) (driver.Hold, error) {
	h, err := b.Service.Acquire(ctx, r)
	if err != nil {
		return nil, err
	}
	granted := time.Now()
	return &brokenHold{Hold: h, deadline: func() time.Duration {
		setBack := time.Duration(0)
		if time.Since(granted) > b.ttl/3 {
			setBack = time.Minute
		}
		return h.Deadline() + setBack
	}}, nil
}

// lateNews tells of a loss after the TTL.
func lateNews(ctx context.Context, b *broken, r driver.Request) (driver.Hold, error) {
	h, err := b.Service.Acquire(ctx, r)
	if err != nil {
		return nil, err
	}
	late := b.ttl
	wrong := &brokenHold{Hold: h, lost: make(chan struct{})}
	wrong.deadline = func() time.Duration { return h.Deadline() + late }
	go func() {
		select {
		case <-h.Lost():
			time.Sleep(late)
			close(wrong.lost)
		case <-b.done:
		}
	}()
	return wrong, nil
}

// leftBehind leaves a request when its ctx ends.
func leftBehind(ctx context.Context, b *broken, r driver.Request) (driver.Hold, error) {
	type answer struct {
		hold driver.Hold
		err  error
	}
	c := make(chan answer, 1)
	go func() {
		h, err := b.Service.Acquire(context.WithoutCancel(ctx), r)
		c <- answer{h, err}
	}()
	select {
	case a := <-c:
		return a.hold, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("left behind: %w", ctx.Err())
	}
}
