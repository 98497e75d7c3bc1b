package redislock_test

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/drivertest"
	"github.com/lockutils/lockutils/drivers/redislock"
	"github.com/lockutils/lockutils/drivers/redislock/redistest"
	"github.com/redis/rueidis"
)

// long is a TTL with which no waiter tries by itself during a test, if the holder has it too.
const long = time.Hour

// wait has a Service of its own wait for the lock "a", and returns once the server knows it.
func wait(t *testing.T, server *redistest.Server, option rueidis.ClientOption) <-chan grant {
	t.Helper()
	before := server.Do("ZCARD", "lockutils{:a}waiters")
	c := start(t.Context(), dial(t, option, redislock.WithTTL(long)), driver.Request{Name: "a"})
	server.Eventually("the request waits", func() bool {
		return server.Do("ZCARD", "lockutils{:a}waiters") != before
	})
	return c
}

// waitBehind is wait through a link.
func waitBehind(t *testing.T, server *redistest.Server) *drivertest.Proxy {
	t.Helper()
	link, addr := linkTo(t, server)
	wait(t, server, at(addr))
	return link
}

func published(t *testing.T, server *redistest.Server) int {
	t.Helper()
	calls := regexp.MustCompile(`cmdstat_publish:calls=(\d+)`)
	m := calls.FindStringSubmatch(server.Do("INFO", "commandstats"))
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

func TestReleaseWakesTwoOfThoseWhoWait(t *testing.T) {
	server := redistest.Start(t)
	h := acquire(t, dial(t, at(server.Addr), redislock.WithTTL(long)), driver.Request{Name: "a"})
	wakesTwo(t, server, func() { release(t, h) })
}

// The answer to the request is late, so it is withdrawn once it has the lock.
func TestWithdrawalOfAHoldWakesTwoOfThoseWhoWait(t *testing.T) {
	for mode, shared := range modes {
		t.Run(mode, func(t *testing.T) {
			server := redistest.Start(t)
			link, addr := linkTo(t, server)
			s := dial(t, at(addr), redislock.WithTTL(long))
			link.Delay(0, time.Hour)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			held := start(ctx, s, driver.Request{Name: "a", Shared: shared})
			server.Eventually("the lock is held", func() bool { return server.Do("EXISTS", "lockutils{:a}") == "1" })
			wakesTwo(t, server, func() {
				cancel()
				if g := receive(t, "end of a request", held); !errors.Is(g.err, context.Canceled) {
					t.Error(g.err)
				}
				link.Mend()
			})
		})
	}
}

// wakesTwo has six exclusive requests wait for the lock "a", and checks that what frees it wakes two
// of them, and that all have their turn.
func wakesTwo(t *testing.T, server *redistest.Server, free func()) {
	t.Helper()
	waiters := make(chan grant)
	for range 6 {
		c := wait(t, server, at(server.Addr))
		go func() { waiters <- <-c }()
	}
	before := published(t, server)
	free()
	next := granted(t, waiters)
	if n := published(t, server) - before; n != 2 {
		t.Errorf("%d requests have been woken", n)
	}
	for range 5 {
		release(t, next)
		next = granted(t, waiters)
	}
	release(t, next)
}

func TestWaiterThatStandsStillIsPassed(t *testing.T) {
	server := redistest.Start(t)
	h := acquire(t, dial(t, at(server.Addr), redislock.WithTTL(long)), driver.Request{Name: "a"})
	link := waitBehind(t, server)
	defer link.Mend()
	second := wait(t, server, at(server.Addr))
	link.Freeze()
	release(t, h)
	release(t, granted(t, second))
}

func TestServiceThatStandsStillIsPassedWithAllItsWaiters(t *testing.T) {
	server := redistest.Start(t)
	h := acquire(t, dial(t, at(server.Addr), redislock.WithTTL(long)), driver.Request{Name: "a"})
	link, addr := linkTo(t, server)
	s := dial(t, at(addr), redislock.WithTTL(long))
	for n := range 3 {
		start(t.Context(), s, driver.Request{Name: "a"})
		waiting(t, server, n+1)
	}
	other := wait(t, server, at(server.Addr))
	link.Freeze()
	defer link.Mend()
	release(t, h)
	release(t, granted(t, other))
}

func TestWaitersThatDieArePassed(t *testing.T) {
	server := redistest.Start(t)
	option := at(server.Addr)
	option.ClientName = "live"
	h := acquire(t, dial(t, at(server.Addr), redislock.WithTTL(long)), driver.Request{Name: "a"})
	for range 4 {
		waitBehind(t, server).Cut()
	}
	last := wait(t, server, option)
	server.Eventually("the server knows that they are dead", func() bool {
		return server.Clients("lockutils") == 2 // those of the holder
	})
	release(t, h)
	release(t, granted(t, last))
}

// A request that was woken and ends has another one woken in its place.
func TestCancelledWaiterPassesItsWakeUpOn(t *testing.T) {
	for mode, shared := range modes {
		t.Run(mode, func(t *testing.T) {
			server := redistest.Start(t)
			acquire(t, dial(t, at(server.Addr), redislock.WithTTL(long)), driver.Request{Name: "a"})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			first := start(ctx, dial(t, at(server.Addr), redislock.WithTTL(long)),
				driver.Request{Name: "a", Shared: shared})
			waiting(t, server, 1)
			second := wait(t, server, at(server.Addr))
			server.Do("ZPOPMIN", "lockutils{:a}waiters") // as a release whose message is still on its way
			server.Do("DEL", "lockutils{:a}")
			cancel()
			receive(t, "end of a wait", first)
			release(t, granted(t, second))
		})
	}
}

func TestReleaseWakesAllSharersInFront(t *testing.T) {
	server := redistest.Start(t)
	s := dial(t, at(server.Addr), redislock.WithTTL(long))
	h := acquire(t, dial(t, at(server.Addr), redislock.WithTTL(long)), driver.Request{Name: "a"})
	var waiters []<-chan grant
	for range 5 {
		waiters = append(waiters, start(t.Context(), s, driver.Request{Name: "a", Shared: true}))
	}
	waiting(t, server, 5)
	release(t, h)
	var holds []driver.Hold
	for _, c := range waiters {
		holds = append(holds, granted(t, c))
	}
	for _, h := range holds {
		release(t, h)
	}
}
