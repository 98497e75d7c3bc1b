package servicelock

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/drivertest"
)

// inBubble runs the test in a bubble, and fails it if a lock is still in the table at its end.
func inBubble(t *testing.T, test func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		test(t)
		synctest.Wait()
		if used := locks.inUse(); len(used) != 0 {
			t.Errorf("%d locks are still in the table", len(used))
		}
	})
}

func exclusive(s driver.Service) Request {
	return Request{Service: s, Request: driver.Request{Name: "x"}}
}

func shared(s driver.Service) Request {
	return Request{Service: s, Request: driver.Request{Name: "x", Shared: true}}
}

func mustAcquire(t *testing.T, r Request) *Hold {
	t.Helper()
	h, err := Acquire(t.Context(), r)
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	return h
}

func mustRelease(t *testing.T, h *Hold) {
	t.Helper()
	if err := h.Release(); err != nil {
		t.Errorf("Release: %v", err)
	}
}

func TestOneRequestIsAtTheServiceForAllOfAProcess(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		other := mustAcquire(t, exclusive(m.Open()))
		s := m.Open()
		var group sync.WaitGroup
		for _, r := range []Request{exclusive(s), exclusive(s), shared(s), shared(s)} {
			group.Go(func() { mustRelease(t, mustAcquire(t, r)) })
		}
		synctest.Wait()
		if n := m.Waiting("x"); n != 1 {
			t.Errorf("%d requests wait at the service", n)
		}
		mustRelease(t, other)
		group.Wait()
	})
}

func TestSharersHaveOneHoldUntilTheLastHasGone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s := m.Open()
		first, second := mustAcquire(t, shared(s)), mustAcquire(t, shared(s))
		if n := m.Requests(); n != 1 {
			t.Errorf("%d requests", n)
		}
		mustRelease(t, first)
		if n := m.Holding("x"); n != 1 {
			t.Errorf("%d holds with one sharer left", n)
		}
		mustRelease(t, second)
		if n := m.Holding("x"); n != 0 {
			t.Errorf("%d holds with none left", n)
		}
	})
}

func TestAFairSharerDoesNotPassThoseAtTheService(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s, elsewhere := m.Open(), m.Open()
		here := mustAcquire(t, shared(s))
		got := make(chan *Hold)
		go func() { got <- mustAcquire(t, exclusive(elsewhere)) }()
		synctest.Wait()
		fair := shared(s)
		fair.Fair = true
		late := make(chan *Hold)
		go func() { late <- mustAcquire(t, fair) }()
		synctest.Wait()
		mustRelease(t, here)
		mustRelease(t, <-got)
		mustRelease(t, <-late)
	})
}

func TestTheLastSharerThatGivesUpCancelsTheRequest(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		other := mustAcquire(t, exclusive(m.Open()))
		s := m.Open()
		var group sync.WaitGroup
		var cancels []context.CancelFunc
		for range 2 {
			ctx, cancel := context.WithCancel(t.Context())
			cancels = append(cancels, cancel)
			group.Go(func() {
				if _, err := Acquire(ctx, shared(s)); !errors.Is(err, context.Canceled) {
					t.Errorf("%v", err)
				}
			})
		}
		for i, cancel := range cancels {
			synctest.Wait()
			if n := m.Waiting("x"); n != 1 {
				t.Errorf("%d requests wait after %d have given up", n, i)
			}
			cancel()
		}
		group.Wait()
		synctest.Wait()
		if n := m.Waiting("x"); n != 0 {
			t.Errorf("%d requests wait after all have given up", n)
		}
		mustRelease(t, other)
	})
}

func TestRequestsThatMustNotWaitDoNot(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s := m.Open()
		for _, holder := range []*Hold{mustAcquire(t, exclusive(m.Open())), nil} {
			if holder == nil {
				holder = mustAcquire(t, exclusive(s))
			}
			for _, r := range []Request{exclusive(s), shared(s)} {
				r.NoWait = true
				if _, err := Acquire(t.Context(), r); !errors.Is(err, driver.ErrLocked) {
					t.Errorf("%v", err)
				}
			}
			mustRelease(t, holder)
		}
	})
}

func TestAReleaseThatIsNotConfirmedGoesOnAndOthersWaitForIt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s := m.Open()
		h := mustAcquire(t, exclusive(s))
		broken := errors.New("broken")
		s.Fail(broken)
		if err := h.Release(); !errors.Is(err, broken) {
			t.Errorf("Release: %v", err)
		}
		next := exclusive(s)
		next.NoWait = true
		if _, err := Acquire(t.Context(), next); !errors.Is(err, driver.ErrLocked) {
			t.Errorf("the next request: %v", err)
		}
		s.Mend()
		mustRelease(t, mustAcquire(t, exclusive(s)))
	})
}

func TestALostHoldIsReportedByErrAndRelease(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s := m.Open()
		h := mustAcquire(t, exclusive(s))
		if err := h.Err(); err != nil {
			t.Error(err)
		}
		s.Lose("x")
		for _, err := range []error{h.Err(), h.Release(), h.Err()} {
			if !errors.Is(err, driver.ErrLost) {
				t.Errorf("%v", err)
			}
		}
		mustRelease(t, mustAcquire(t, exclusive(s)))
	})
}

// A scripted service does what its fields say.
type scripted struct {
	acquire func(ctx context.Context) error
	release func() error
}

func (s *scripted) Can() driver.Capability { return driver.Shared }
func (s *scripted) Name() string           { return "scripted" }

func (s *scripted) Acquire(ctx context.Context, _ driver.Request) (driver.Hold, error) {
	if s.acquire != nil {
		if err := s.acquire(ctx); err != nil {
			return nil, err
		}
	}
	return scriptedHold{s}, nil
}

type scriptedHold struct{ *scripted }

func (scriptedHold) Token() uint64           { return 0 }
func (scriptedHold) Lost() <-chan struct{}   { return nil }
func (scriptedHold) Deadline() time.Duration { return 0 }
func (h scriptedHold) Release(context.Context) error {
	if h.release != nil {
		return h.release()
	}
	return nil
}

func TestAPanicOfTheDriverReachesAllWhoHaveAsked(t *testing.T) {
	for _, request := range []func(driver.Service) Request{exclusive, shared} {
		inBubble(t, func(t *testing.T) {
			s := &scripted{acquire: func(context.Context) error {
				time.Sleep(time.Second)
				panic("broken driver")
			}}
			var group sync.WaitGroup
			for range 3 {
				group.Go(func() {
					defer func() {
						if v, ok := recover().(string); !ok || !strings.Contains(v, "broken driver") {
							t.Errorf("it panics with %v", v)
						}
					}()
					h, err := Acquire(t.Context(), request(s))
					t.Errorf("%v, %v", h, err)
				})
			}
			group.Wait()
			s.acquire = nil
			mustRelease(t, mustAcquire(t, exclusive(s)))
		})
	}
}

func TestAPanicAfterAllHaveGivenUpReachesNobody(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &scripted{acquire: func(ctx context.Context) error {
			<-ctx.Done()
			panic("broken driver")
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Acquire(ctx, shared(s)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

func TestADriverThatEndsItsGoroutineLeavesNobodyWaiting(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &scripted{acquire: func(context.Context) error {
			runtime.Goexit()
			return nil
		}}
		if _, err := Acquire(t.Context(), shared(s)); !errors.Is(err, errExit) {
			t.Errorf("%v", err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = Acquire(t.Context(), exclusive(s))
		}()
		<-done
		s.acquire = nil
		mustRelease(t, mustAcquire(t, exclusive(s)))
	})
}

func TestABackgroundReleaseThatPanicsIsTriedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		tries := 0
		s := &scripted{release: func() error {
			switch tries++; tries {
			case 1:
				return errors.New("not confirmed")
			case 2:
				panic("broken driver")
			}
			return nil
		}}
		h := mustAcquire(t, exclusive(s))
		if h.Release() == nil {
			t.Error("the first release is confirmed")
		}
		next := mustAcquire(t, exclusive(s))
		if tries != 3 {
			t.Errorf("the next holder comes after %d tries", tries)
		}
		mustRelease(t, next)
	})
}

func TestABackgroundReleaseThatEndsItsGoroutineGivesTheTurnBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		tries := 0
		s := &scripted{release: func() error {
			if tries++; tries == 2 {
				runtime.Goexit()
			}
			return errors.New("not confirmed")
		}}
		_ = mustAcquire(t, exclusive(s)).Release()
		next := mustAcquire(t, exclusive(s))
		s.release = nil
		mustRelease(t, next)
	})
}

// A losing service gives holds that are lost when the channel is closed.
type losing struct {
	*scripted
	lost chan struct{}
}

func (s losing) Acquire(context.Context, driver.Request) (driver.Hold, error) {
	return losingHold{scriptedHold{s.scripted}, s.lost}, nil
}

type losingHold struct {
	scriptedHold
	lost chan struct{}
}

func (h losingHold) Lost() <-chan struct{} { return h.lost }

func TestABackgroundReleaseThatAlwaysPanicsEndsWithALostHold(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		tries := 0
		s := losing{&scripted{release: func() error {
			if tries++; tries > 1000 {
				runtime.Goexit() // so that the test ends
			}
			panic("broken driver")
		}}, make(chan struct{})}
		h := mustAcquire(t, exclusive(s))
		close(s.lost)
		if err := h.Release(); !errors.Is(err, driver.ErrLost) {
			t.Errorf("Release: %v", err)
		}
		next := mustAcquire(t, exclusive(s))
		if tries != 1 {
			t.Errorf("the next holder comes after %d tries", tries)
		}
		_ = next.Release()
	})
}
