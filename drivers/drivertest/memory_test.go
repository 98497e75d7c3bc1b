package drivertest_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/driver/boottime"
	"github.com/lockutils/lockutils/drivers/drivertest"
)

func TestMemoryPassesTheSuite(t *testing.T) {
	for name, ttl := range map[string]time.Duration{"without TTL": 0, "with TTL": 4 * time.Second} {
		t.Run(name, func(t *testing.T) {
			server := drivertest.NewMemory(drivertest.WithTTL(ttl))
			drivertest.TestService(t, func(*testing.T) driver.Service { return process(server, ttl) })
		})
	}
}

func process(server *drivertest.Memory, ttl time.Duration) driver.Service {
	s := server.Open()
	return drivertest.Process{
		Service:  s,
		Link:     s,
		TTL:      ttl,
		Requests: func(name string) int { return server.Holding(name) + server.Waiting(name) },
	}
}

func TestMemoryIsExactInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 15 * time.Second
		server := drivertest.NewMemory(drivertest.WithTTL(ttl))
		holder, waiter := server.Open(), server.Open()
		h, err := holder.Acquire(t.Context(), driver.Request{Name: "a"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * ttl) // it is renewed all the time
		synctest.Wait()
		begun := time.Now()
		holder.Freeze()
		go func() {
			<-h.Lost()
			if d := time.Since(begun); d != ttl-drivertest.Margin(ttl) {
				t.Errorf("lost after %v", d)
			}
		}()
		next, err := waiter.Acquire(t.Context(), driver.Request{Name: "a"})
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun); d != ttl {
			t.Errorf("the next one is granted the lock after %v", d)
		}
		if err := h.Release(t.Context()); !errors.Is(err, driver.ErrLost) {
			t.Errorf("release: %v", err)
		}
		if err := next.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestPausedServiceTellsByTheClockOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := drivertest.NewMemory(drivertest.WithTTL(10 * time.Second))
		s := server.Open()
		h, err := s.Acquire(t.Context(), driver.Request{Name: "a"})
		if err != nil {
			t.Fatal(err)
		}
		s.Pause()
		time.Sleep(time.Minute)
		select {
		case <-h.Lost():
			t.Error("Lost was closed by a Service that is paused")
		default:
		}
		if h.Deadline() > boottime.Now() {
			t.Error("the deadline has not passed")
		}
		if n := server.Holding("a"); n != 0 {
			t.Errorf("%d requests hold the lock at the server", n)
		}
		s.Resume()
		<-h.Lost()
	})
}

// The answer to the first message of a session is lost, and the session ends before the next one.
func TestRequestOutlastsASessionItNeverHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 6 * time.Second
		s := drivertest.NewMemory(drivertest.WithTTL(ttl)).Open()
		s.DropReplies()
		result := make(chan error)
		go func() {
			_, err := s.Acquire(t.Context(), driver.Request{Name: "a"})
			result <- err
		}()
		synctest.Wait()
		s.Cut()
		time.Sleep(2 * ttl)
		s.Mend()
		if err := <-result; err != nil {
			t.Error(err)
		}
		s.Close()
	})
}

// acquireAt returns a hold of the lock called a.
func acquireAt(t *testing.T, s driver.Service) driver.Hold {
	t.Helper()
	h, err := s.Acquire(t.Context(), driver.Request{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// stopsWaiting calls f with a ctx that ends soon, and wants its error.
func stopsWaiting(t *testing.T, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := f(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v, want the end of ctx", err)
	}
}

func TestFrozenRequestsArriveWhenTheLinkIsMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := drivertest.NewMemory()
		s := server.Open()
		h := acquireAt(t, s)
		s.Freeze()
		stopsWaiting(t, h.Release)
		if n := server.Holding("a"); n != 1 {
			t.Fatalf("%d hold the lock while the release is on its way", n)
		}
		s.Mend()
		if n := server.Holding("a"); n != 0 {
			t.Errorf("%d hold the lock when the release has arrived", n)
		}
	})
}

func TestDelayedRequestsArriveAfterTheirSendersStopWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := drivertest.NewMemory()
		s := server.Open()
		h := acquireAt(t, s)
		s.Delay(time.Hour, 0)
		stopsWaiting(t, h.Release)
		time.Sleep(time.Hour - time.Minute)
		if n := server.Holding("a"); n != 1 {
			t.Fatalf("%d hold the lock while the release is on its way", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := server.Holding("a"); n != 0 {
			t.Errorf("%d hold the lock when the release has arrived", n)
		}
	})
}

func TestRequestsThatArriveAfterTheirWithdrawalLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := drivertest.NewMemory()
		s := server.Open()
		if err := acquireAt(t, s).Release(t.Context()); err != nil { // it has a session now
			t.Fatal(err)
		}
		s.Freeze()
		stopsWaiting(t, func(ctx context.Context) error {
			_, err := s.Acquire(ctx, driver.Request{Name: "b"})
			return err
		})
		s.Mend()
		if n := server.Requests(); n != 2 {
			t.Fatalf("%d requests have reached the server, want the frozen one too", n)
		}
		synctest.Wait()
		if n := server.Holding("b"); n != 0 {
			t.Errorf("%d requests are left", n)
		}
	})
}

func TestRefusalWhoseReplyIsLostIsARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := drivertest.NewMemory()
		holder, s := server.Open(), server.Open()
		acquireAt(t, holder)
		if _, err := s.Acquire(t.Context(), driver.Request{Name: "b"}); err != nil { // it has a session now
			t.Fatal(err)
		}
		s.DropReply()
		_, err := s.Acquire(t.Context(), driver.Request{Name: "a", NoWait: true})
		if !errors.Is(err, driver.ErrLocked) {
			t.Errorf("%v, want ErrLocked", err)
		}
	})
}

func TestLoseEndsTheHoldsNamed(t *testing.T) {
	server := drivertest.NewMemory()
	s := server.Open()
	holds := map[string]driver.Hold{}
	for _, name := range []string{"a", "b", "c"} {
		h, err := s.Acquire(t.Context(), driver.Request{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		holds[name] = h
	}
	s.Lose("a")
	<-holds["a"].Lost()
	if server.Holding("a") != 0 || server.Holding("b") != 1 {
		t.Error("the loss of one hold is not that hold's alone")
	}
	s.Lose()
	<-holds["b"].Lost()
	<-holds["c"].Lost()
	if err := holds["b"].Release(t.Context()); !errors.Is(err, driver.ErrLost) {
		t.Errorf("release: %v", err)
	}
	if _, err := s.Acquire(t.Context(), driver.Request{Name: "b"}); err != nil {
		t.Errorf("a new hold after the loss: %v", err)
	}
}

func TestFailAnswersWithTheError(t *testing.T) {
	server, full := drivertest.NewMemory(), errors.New("no space")
	s := server.Open()
	h, err := s.Acquire(t.Context(), driver.Request{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	s.Fail(full)
	if _, err := s.Acquire(t.Context(), driver.Request{Name: "b"}); !errors.Is(err, full) {
		t.Errorf("acquire: %v", err)
	}
	if err := h.Release(t.Context()); !errors.Is(err, full) {
		t.Errorf("release: %v", err)
	}
	s.Mend()
	if err := h.Release(t.Context()); err != nil {
		t.Errorf("release once the server works: %v", err)
	}
}

func TestFlawsOfMemoryAreCaught(t *testing.T) {
	const ttl = 3 * time.Second
	var mu sync.Mutex
	servers := map[*testing.T]*drivertest.Memory{}
	drivertest.TestFlaws(t, func(t *testing.T) driver.Service {
		mu.Lock()
		defer mu.Unlock()
		if servers[t] == nil {
			servers[t] = drivertest.NewMemory(drivertest.WithTTL(ttl))
		}
		return process(servers[t], ttl)
	})
}
