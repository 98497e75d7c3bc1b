package drivertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
)

// A stage is what one check plays on.
type stage struct {
	t         *testing.T
	open      func(t *testing.T) driver.Service
	random    *rand.Rand
	run       string // part of every name, so that runs do not meet
	begun     time.Time
	ctx       context.Context
	stop      context.CancelFunc
	processes []Process

	// patience is how long the suite waits for what must happen. It is far longer than anything
	// takes, so that only what never happens is a failure.
	patience time.Duration
}

func newStage(
	t *testing.T, seed uint64, open func(t *testing.T) driver.Service, patience time.Duration,
) *stage {
	s := &stage{
		t: t, open: open, patience: patience, begun: time.Now(),
		random: rand.New(rand.NewPCG(seed, 0)),
		run:    fmt.Sprintf("%x-%s", rand.Uint64(), t.Name()),
	}
	limit := time.Duration(rounds(10))*time.Minute + *timeFlag
	s.ctx, s.stop = context.WithTimeout(t.Context(), limit)
	t.Cleanup(s.close)
	return s
}

// process returns the i-th Service, and opens it if need be.
func (s *stage) process(i int) Process {
	for len(s.processes) <= i {
		service := s.open(s.t)
		p, ok := service.(Process)
		if !ok {
			p = Process{Service: service}
		}
		s.processes = append(s.processes, p)
	}
	return s.processes[i]
}

// close releases what the check has left, and closes the Services.
func (s *stage) close() {
	s.stop()
	for _, p := range s.processes {
		if p.Link != nil {
			p.Link.Mend()
		}
		p.close()
	}
	s.processes = nil
}

func (p Process) close() error {
	if c, ok := p.Service.(interface{ Close() error }); ok {
		return c.Close()
	}
	return nil
}

// missing returns what the check needs and the Service has not.
func (s *stage) missing(c check) string {
	p := s.process(0)
	switch {
	case !p.Can().Has(c.needs):
		return fmt.Sprint("capability ", c.needs&^p.Can())
	case c.link && p.Link == nil:
		return "link"
	case c.ttl && p.TTL == 0:
		return "TTL"
	default:
		return ""
	}
}

// name returns a name that no other check and no other run uses.
func (s *stage) name(parts ...any) string {
	return s.run + "-" + fmt.Sprint(parts...)
}

// rounds returns how often a random test repeats what it does n times by default.
func rounds(n int) int { return n * *roundsFlag }

// again reports whether a random test that has done some rounds, n by default, goes on.
func (s *stage) again(done, n int) bool {
	if *timeFlag > 0 {
		return time.Since(s.begun) < *timeFlag
	}
	return done < rounds(n)
}

// acquire acquires a lock that must become free.
func (s *stage) acquire(p Process, r driver.Request) (driver.Hold, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.patience+p.TTL)
	defer cancel()
	h, err := p.Acquire(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("acquire %s: %w", describe(r), err)
	}
	if h == nil {
		return nil, fmt.Errorf("acquire %s: no hold and no error", describe(r))
	}
	return h, nil
}

// try acquires the lock if it is free.
func (s *stage) try(p Process, r driver.Request) (driver.Hold, error) {
	r.NoWait = true
	ctx, cancel := context.WithTimeout(s.ctx, s.patience)
	defer cancel()
	return p.Acquire(ctx, r)
}

// refused returns an error unless the lock is taken for this request.
func (s *stage) refused(p Process, r driver.Request) error {
	h, err := s.try(p, r)
	if err == nil {
		return errors.Join(fmt.Errorf("%s was granted beside its holder", describe(r)), s.release(h))
	}
	if !errors.Is(err, driver.ErrLocked) {
		return fmt.Errorf("%s that must not wait returned %w, want ErrLocked", describe(r), err)
	}
	return nil
}

// release releases a hold that is not lost.
func (s *stage) release(h driver.Hold) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.patience)
	defer cancel()
	if err := h.Release(ctx); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// free returns an error unless the lock can be acquired at once, or soon: what a cancelled request
// leaves may be removed in the background.
func (s *stage) free(p Process, name string) error {
	h, err := s.acquire(p, driver.Request{Name: name})
	if err != nil {
		return fmt.Errorf("a lock that should be free: %w", err)
	}
	return s.release(h)
}

// A grant is what a request in the background returns.
type grant struct {
	hold driver.Hold
	err  error
	at   time.Time
}

// start acquires in the background.
func (s *stage) start(ctx context.Context, p Process, r driver.Request) <-chan grant {
	c := make(chan grant, 1)
	go func() {
		h, err := p.Acquire(ctx, r)
		c <- grant{h, err, time.Now()}
	}()
	return c
}

// arrived waits until the server knows n requests for that name.
func (s *stage) arrived(p Process, name string, n int) error {
	if p.Requests == nil {
		time.Sleep(100 * time.Millisecond)
		return nil
	}
	return s.eventually(fmt.Sprintf("the server knows %d requests", n), func() bool {
		return p.Requests(name) == n
	})
}

func (s *stage) eventually(what string, is func() bool) error {
	for begun := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > s.patience {
			return fmt.Errorf("after %v it is still not so that %s", s.patience, what)
		}
	}
	return nil
}

// receive returns what arrives within the suite's patience.
func receive[T any](s *stage, c <-chan T, what string) (v T, err error) {
	select {
	case v = <-c:
		return v, nil
	case <-time.After(s.patience):
		return v, fmt.Errorf("no %s after %v", what, s.patience)
	}
}

// granted returns the hold of a request in the background.
func (s *stage) granted(c <-chan grant) (driver.Hold, error) {
	g, err := receive(s, c, "grant for a waiter")
	if err != nil {
		return nil, err
	}
	return g.hold, g.err
}

func describe(r driver.Request) string {
	var words []string
	if r.Shared {
		words = append(words, "shared")
	} else {
		words = append(words, "exclusive")
	}
	if r.Fair {
		words = append(words, "fair")
	}
	name := r.Name
	if len(name) > 60 {
		name = name[:60] + "..."
	}
	return fmt.Sprintf("%q (%s)", name, strings.Join(words, " "))
}
