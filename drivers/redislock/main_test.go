package redislock_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/drivertest"
	"github.com/lockutils/lockutils/drivers/redislock"
	"github.com/lockutils/lockutils/drivers/redislock/redistest"
	"github.com/redis/rueidis"
	"go.uber.org/goleak"
)

// TestMain checks that no goroutine is left. The client of a Cluster closes its connections in the
// background, those to nodes that have gone after five seconds.
func TestMain(m *testing.M) {
	code := m.Run()
	for begun := time.Now(); code == 0; {
		err := goleak.Find()
		if err == nil {
			break
		}
		if time.Since(begun) > patience {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// patience bounds what must happen.
const patience = 2 * time.Minute

func at(addr ...string) rueidis.ClientOption { return rueidis.ClientOption{InitAddress: addr} }

// linkTo returns a connection to the server that can be disturbed, and the address of its near end.
func linkTo(t *testing.T, server *redistest.Server) (link *drivertest.Proxy, addr string) {
	t.Helper()
	link = drivertest.NewProxy()
	t.Cleanup(func() { link.Close() })
	addr, err := link.Addr(server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return link, addr
}

func dial(t *testing.T, option rueidis.ClientOption, opts ...redislock.Option) *redislock.Service {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := redislock.Dial(ctx, option, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func acquire(t *testing.T, s *redislock.Service, r driver.Request) driver.Hold {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	h, err := s.Acquire(ctx, r)
	if err != nil {
		t.Fatalf("acquire %+v: %v", r, err)
	}
	return h
}

func release(t *testing.T, h driver.Hold) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.Release(ctx); err != nil {
		t.Fatalf("release: %v", err)
	}
}

// try acquires if the lock is free.
func try(t *testing.T, s *redislock.Service, r driver.Request) (driver.Hold, error) {
	t.Helper()
	r.NoWait = true
	return s.Acquire(t.Context(), r)
}

func refused(t *testing.T, s *redislock.Service, r driver.Request) {
	t.Helper()
	if h, err := try(t, s, r); !errors.Is(err, driver.ErrLocked) {
		t.Fatalf("%+v: %v, %v, want ErrLocked", r, h, err)
	}
}

// free checks that the lock can be acquired, and soon.
func free(t *testing.T, s *redislock.Service, name string) {
	t.Helper()
	release(t, acquire(t, s, driver.Request{Name: name}))
}

type grant struct {
	hold driver.Hold
	err  error
}

func start(ctx context.Context, s *redislock.Service, r driver.Request) <-chan grant {
	c := make(chan grant, 1)
	go func() {
		h, err := s.Acquire(ctx, r)
		c <- grant{h, err}
	}()
	return c
}

func receive[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("no ", what)
	}
	return v
}

func granted(t *testing.T, c <-chan grant) driver.Hold {
	t.Helper()
	g := receive(t, "grant", c)
	if g.err != nil {
		t.Fatal(g.err)
	}
	return g.hold
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for begun := time.Now(); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatal("it is still not so that ", what)
		}
	}
}

// waiting returns once the server knows of so many requests that wait for the lock "a".
func waiting(t *testing.T, server *redistest.Server, n int) {
	t.Helper()
	server.Eventually(fmt.Sprintf("%d requests wait", n), func() bool {
		return server.Do("ZCARD", "lockutils{:a}waiters") == strconv.Itoa(n)
	})
}

// renewed waits until the hold has been renewed by the server twice more.
func renewed(t *testing.T, h driver.Hold) {
	t.Helper()
	for range 2 {
		was := h.Deadline()
		eventually(t, "the hold is renewed", func() bool { return h.Deadline() > was })
	}
}
