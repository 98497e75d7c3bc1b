package redislock_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/redislock"
	"github.com/lockutils/lockutils/drivers/redislock/redistest"
	"github.com/redis/rueidis"
)

var modes = map[string]bool{"exclusive": false, "shared": true}

// fails wants an acquisition to fail, with the server's address and answer, and not because of ctx.
func fails(t *testing.T, s *redislock.Service, r driver.Request, words ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	h, err := s.Acquire(ctx, r)
	if err == nil {
		release(t, h)
		t.Fatalf("%+v was granted", r)
	}
	if errors.Is(err, ctx.Err()) && ctx.Err() != nil {
		t.Errorf("it took until the end of ctx: %v", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

func TestServerOutOfMemory(t *testing.T) {
	server := redistest.Start(t)
	s := dial(t, at(server.Addr), redislock.WithTTL(6*time.Second))
	old := acquire(t, s, driver.Request{Name: "a"})
	oldShared := acquire(t, s, driver.Request{Name: "shared", Shared: true})
	leaving := acquire(t, s, driver.Request{Name: "leaving"})
	leavingShared := acquire(t, s, driver.Request{Name: "leaving, shared", Shared: true})
	waiter := start(t.Context(), s, driver.Request{Name: "a"})
	waiting(t, server, 1)
	server.Do("CONFIG", "SET", "maxmemory", "1")
	for mode, shared := range modes {
		t.Run(mode, func(t *testing.T) {
			fails(t, s, driver.Request{Name: "new", Shared: shared}, server.Addr, "OOM")
			if server.Do("EXISTS", "lockutils{:new}", "lockutils{:new}shares") != "0" {
				t.Error("the server has kept the lock")
			}
		})
	}
	renewed(t, old)
	renewed(t, oldShared)
	release(t, leaving)
	release(t, leavingShared)
	if g := receive(t, "end of a wait", waiter); g.err == nil || !strings.Contains(g.err.Error(), "OOM") {
		t.Errorf("a wait that tries again: %v", g.err)
	}
	waiting(t, server, 0)
	server.Do("CONFIG", "SET", "maxmemory", "0")
	release(t, old)
	release(t, oldShared)
	for _, name := range []string{"a", "shared", "new", "leaving", "leaving, shared"} {
		free(t, s, name)
	}
}

func TestServerBecomesReadOnly(t *testing.T) {
	other := redistest.Start(t)
	server := redistest.Start(t)
	s := dial(t, at(server.Addr))
	server.Do("REPLICAOF", "127.0.0.1", other.Port)
	for mode, shared := range modes {
		t.Run(mode, func(t *testing.T) {
			fails(t, s, driver.Request{Name: "a", Shared: shared}, server.Addr, "READONLY")
		})
	}
	server.Promote()
	free(t, s, "a")
}

func TestWaitOutlastsReadOnly(t *testing.T) {
	server := redistest.Start(t)
	replica := server.StartReplica()
	s := dial(t, at(server.Addr), redislock.WithTTL(10*time.Second))
	h := acquire(t, s, driver.Request{Name: "a"})
	waiter := start(t.Context(), s, driver.Request{Name: "a"})
	waiting(t, server, 1)
	replica.Promote()
	server.Do("REPLICAOF", "127.0.0.1", replica.Port)
	server.Do("CLIENT", "KILL", "TYPE", "pubsub") // the waiter tries
	server.Promote()
	h.Release(t.Context())
	release(t, granted(t, waiter))
}

func TestScriptsAreLoadedAgain(t *testing.T) {
	server := redistest.Start(t)
	s := dial(t, at(server.Addr), redislock.WithTTL(8*time.Second))
	flush := func() { server.Do("SCRIPT", "FLUSH") }
	for mode, shared := range modes {
		t.Run(mode, func(t *testing.T) {
			r := driver.Request{Name: "a", Shared: shared}
			flush()
			h := acquire(t, s, r)
			flush()
			renewed(t, h)
			flush()
			waiter := start(t.Context(), s, driver.Request{Name: "a"})
			waiting(t, server, 1)
			flush()
			release(t, h)
			flush()
			release(t, granted(t, waiter))
		})
	}
}

func TestKeyOfAnotherTypeInThePlaceOfTheLock(t *testing.T) {
	server := redistest.Start(t)
	s := dial(t, at(server.Addr))
	for _, key := range []string{"lockutils{:a}", "lockutils{:a}token", "lockutils{:a}shares"} {
		t.Run(key, func(t *testing.T) {
			server.Do("FLUSHALL")
			server.Do("RPUSH", key, "mine")
			for mode, shared := range modes {
				if strings.HasSuffix(key, "shares") && !shared {
					continue // not needed while there are no shared holders
				}
				t.Log(mode)
				fails(t, s, driver.Request{Name: "a", Shared: shared}, server.Addr, "WRONGTYPE", key)
			}
			if server.Do("LLEN", key) != "1" || server.Do("DBSIZE") != "1" {
				t.Errorf("the server has %q", server.Do("KEYS", "*"))
			}
			server.Do("DEL", key)
			free(t, s, "a")
		})
	}
}

// The key of the waiters is needed only where somebody waits.
func TestKeyOfAnotherTypeInThePlaceOfTheWaiters(t *testing.T) {
	server := redistest.Start(t)
	s := dial(t, at(server.Addr))
	for mode, shared := range modes {
		t.Run(mode, func(t *testing.T) {
			h := acquire(t, s, driver.Request{Name: "a"})
			server.Do("RPUSH", "lockutils{:a}waiters", "mine")
			fails(t, s, driver.Request{Name: "a", Shared: shared}, server.Addr, "WRONGTYPE")
			err := h.Release(t.Context())
			if err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
				t.Errorf("release: %v", err)
			}
			if held := server.Do("EXISTS", "lockutils{:a}"); held != "0" {
				t.Error("the lock is held after the release")
			}
			server.Do("DEL", "lockutils{:a}waiters")
			free(t, s, "a")
		})
	}
}

func TestForeignHolderIsRespected(t *testing.T) {
	server := redistest.Start(t)
	s := dial(t, at(server.Addr))
	server.Do("SET", "lockutils{:a}", "somebody")
	for _, shared := range modes {
		refused(t, s, driver.Request{Name: "a", Shared: shared})
	}
	server.Do("DEL", "lockutils{:a}")
	free(t, s, "a")
}

func TestRightsTakenAwayAndGivenBack(t *testing.T) {
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "locks", "on", ">secret", "~*", "&*", "+@all")
	option := at(server.Addr)
	option.Username, option.Password = "locks", "secret"
	s := dial(t, option)
	h := acquire(t, s, driver.Request{Name: "held"})
	server.Do("ACL", "SETUSER", "locks", "-set", "-zpopmin")
	fails(t, s, driver.Request{Name: "a"}, server.Addr, "can't run this command")
	if err := h.Release(t.Context()); err == nil || !strings.Contains(err.Error(), "can't run this command") {
		t.Errorf("release: %v", err)
	}
	server.Do("ACL", "SETUSER", "locks", "+set", "+zpopmin")
	free(t, s, "a")
	release(t, h)
}

// The connections that were there are broken, so that new ones meet the password.
func TestPasswordThatIsChanged(t *testing.T) {
	server := redistest.Start(t, "requirepass first")
	option := at(server.Addr)
	option.Password = "first"
	s := dial(t, option)
	admin := connect(t, option)
	admin("CONFIG", "SET", "requirepass", "second")
	admin("CLIENT", "KILL", "TYPE", "pubsub")
	admin("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	for _, shared := range modes {
		fails(t, s, driver.Request{Name: "a", Shared: shared}, server.Addr, "WRONGPASS")
	}
	admin("CONFIG", "SET", "requirepass", "first")
	free(t, s, "a")
}

// The server closes each new connection, and its reason gets lost.
func TestServerWithTooManyClientsIsWaitedFor(t *testing.T) {
	server := redistest.Start(t)
	s := dial(t, at(server.Addr))
	admin := connect(t, at(server.Addr))
	admin("CONFIG", "SET", "maxclients", "1")
	err := dialFails(t, 300*time.Millisecond, at(server.Addr), []string{server.Addr})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	admin("CLIENT", "KILL", "TYPE", "pubsub")
	admin("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	for _, shared := range modes {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := s.Acquire(ctx, driver.Request{Name: "a", Shared: shared})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), server.Addr) {
			t.Error(err)
		}
	}
	waiter := start(t.Context(), s, driver.Request{Name: "a"})
	admin("CONFIG", "SET", "maxclients", "100")
	release(t, granted(t, waiter))
}

// connect returns what runs commands on a connection that stays.
func connect(t *testing.T, option rueidis.ClientOption) func(args ...string) {
	t.Helper()
	option.DisableCache, option.ForceSingleClient, option.PipelineMultiplex = true, true, -1
	c, err := rueidis.NewClient(option)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return func(args ...string) {
		t.Helper()
		if err := c.Do(t.Context(), c.B().Arbitrary(args...).Build()).Error(); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
}

func TestServerThatMustNotWrite(t *testing.T) {
	server := redistest.Start(t)
	s := dial(t, at(server.Addr))
	h := acquire(t, s, driver.Request{Name: "held"})
	server.Do("CONFIG", "SET", "min-replicas-to-write", "1")
	for _, shared := range modes {
		fails(t, s, driver.Request{Name: "a", Shared: shared}, server.Addr, "NOREPLICAS")
	}
	if err := h.Release(t.Context()); err == nil || !strings.Contains(err.Error(), "NOREPLICAS") {
		t.Errorf("release: %v", err)
	}
	server.Do("CONFIG", "SET", "min-replicas-to-write", "0")
	release(t, h)
	free(t, s, "a")
}

func TestRequestThatMustNotWaitEndsWithoutAnswer(t *testing.T) {
	server := redistest.Start(t)
	s := dial(t, at(server.Addr), redislock.WithTTL(6*time.Second))
	server.Freeze()
	h, err := s.Acquire(context.Background(), driver.Request{Name: "a", NoWait: true})
	if err == nil || errors.Is(err, driver.ErrLocked) || !strings.Contains(err.Error(), server.Addr) {
		t.Errorf("%v, %v", h, err)
	}
	server.Thaw()
	free(t, s, "a")
}

func TestHoldIsLostWhenTheServerForgets(t *testing.T) {
	for mode, shared := range modes {
		t.Run(mode, func(t *testing.T) {
			server := redistest.Start(t)
			s := dial(t, at(server.Addr), redislock.WithTTL(8*time.Second))
			r := driver.Request{Name: "a", Shared: shared}
			h := acquire(t, s, r)
			server.Kill()
			server.Restart()
			next := acquire(t, s, driver.Request{Name: "a"})
			if next.Token() <= h.Token() {
				t.Errorf("token %d after %d", next.Token(), h.Token())
			}
			receive(t, "closed Lost", h.Lost())
			if err := h.Release(t.Context()); !errors.Is(err, driver.ErrLost) {
				t.Errorf("release: %v", err)
			}
			refused(t, s, r)
			release(t, next)
		})
	}
}

func TestHoldOutlivesARestartWithPersistence(t *testing.T) {
	for mode, shared := range modes {
		t.Run(mode, func(t *testing.T) {
			server := redistest.Start(t, "appendonly yes", "appendfsync always")
			s := dial(t, at(server.Addr), redislock.WithTTL(10*time.Second))
			h := acquire(t, s, driver.Request{Name: "a", Shared: shared})
			waiter := start(t.Context(), s, driver.Request{Name: "a"})
			server.Kill()
			server.Restart()
			refused(t, s, driver.Request{Name: "a"})
			renewed(t, h)
			release(t, h)
			next := granted(t, waiter)
			if next.Token() <= h.Token() {
				t.Errorf("token %d after %d", next.Token(), h.Token())
			}
			release(t, next)
		})
	}
}

func TestWaitersOutlastARestart(t *testing.T) {
	server := redistest.Start(t)
	s := dial(t, at(server.Addr), redislock.WithTTL(10*time.Second))
	h := acquire(t, s, driver.Request{Name: "a"})
	waiter := start(t.Context(), s, driver.Request{Name: "a"})
	waiting(t, server, 1)
	server.Kill()
	server.Restart()
	next := granted(t, waiter)
	if next.Token() <= h.Token() {
		t.Errorf("token %d after %d", next.Token(), h.Token())
	}
	release(t, next)
}

// A message may get lost with its connection: the waiter comes back when it is connected again.
func TestWaitOutlastsALostSubscription(t *testing.T) {
	server := redistest.Start(t)
	s := dial(t, at(server.Addr), redislock.WithTTL(time.Minute))
	other := dial(t, at(server.Addr), redislock.WithTTL(time.Minute))
	for range 10 {
		h := acquire(t, other, driver.Request{Name: "a"})
		waiter := start(t.Context(), s, driver.Request{Name: "a"})
		waiting(t, server, 1)
		server.Do("CLIENT", "KILL", "TYPE", "pubsub")
		release(t, h)
		release(t, granted(t, waiter))
	}
}

func TestHolderThatDiesKeepsItsLockForATTLAtMost(t *testing.T) {
	server := redistest.Start(t)
	link, addr := linkTo(t, server)
	dead := dial(t, at(addr), redislock.WithTTL(3*time.Second))
	s := dial(t, at(server.Addr), redislock.WithTTL(time.Hour))
	for mode, shared := range modes {
		acquire(t, dead, driver.Request{Name: mode, Shared: shared})
	}
	link.Cut()
	for mode := range modes {
		free(t, s, mode)
	}
}

func TestCancellationLeavesNothing(t *testing.T) {
	server := redistest.Start(t)
	link, addr := linkTo(t, server)
	s := dial(t, at(addr), redislock.WithTTL(5*time.Second))
	link.Delay(300*time.Microsecond, 300*time.Microsecond)
	for i := range 300 {
		r := driver.Request{Name: strconv.Itoa(i % 10), Shared: i%3 == 0, NoWait: i%5 == 0}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*10*time.Microsecond)
		if i%40 == 39 {
			link.DropReply()
		}
		h, err := s.Acquire(ctx, r)
		cancel()
		switch {
		case err == nil:
			release(t, h)
		case !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, driver.ErrLocked):
			t.Fatal(err)
		}
	}
	link.Mend()
	server.Eventually("there is no lock", func() bool {
		for key := range strings.Lines(server.Do("KEYS", "*")) {
			if !strings.HasSuffix(strings.TrimSpace(key), "token") {
				return false
			}
		}
		return true
	})
}

// The deadline of ctx is far, so the caller would send the release itself.
func TestReleaseByACallerThatHasGivenUpGoesOn(t *testing.T) {
	s := dial(t, at(redistest.Start(t).Addr), redislock.WithTTL(long))
	for mode, shared := range modes {
		t.Run(mode, func(t *testing.T) {
			h := acquire(t, s, driver.Request{Name: "a", Shared: shared})
			ctx, cancel := context.WithTimeout(t.Context(), long)
			cancel()
			h.Release(ctx)
			free(t, s, "a")
		})
	}
}

// The answer to the release is late, but not those to what Close does.
func TestCloseWaitsForAReleaseUnderWay(t *testing.T) {
	server := redistest.Start(t)
	link, addr := linkTo(t, server)
	commands := true // the first connection is that for commands
	option := at(server.Addr)
	option.DialCtxFn = func(
		ctx context.Context, to string, d *net.Dialer, _ *tls.Config,
	) (net.Conn, error) {
		if commands {
			commands, to = false, addr
		}
		return d.DialContext(ctx, "tcp", to)
	}
	s := dial(t, option, redislock.WithTTL(long))
	h := acquire(t, s, driver.Request{Name: "a"})
	link.Delay(0, 300*time.Millisecond)
	released := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), long)
		defer cancel()
		released <- h.Release(ctx)
	}()
	server.Eventually("the lock is free", func() bool {
		return server.Do("EXISTS", "lockutils{:a}") == "0"
	})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := receive(t, "end of the release", released); err != nil {
		t.Error(err)
	}
}

func TestExclusiveRequestIsNotStarvedByShared(t *testing.T) {
	server := redistest.Start(t)
	a, b := dial(t, at(server.Addr)), dial(t, at(server.Addr))
	shared := driver.Request{Name: "a", Shared: true}
	first := acquire(t, a, shared)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	given := start(ctx, a, driver.Request{Name: "a"})
	eventually(t, "new sharers are kept out", func() bool {
		h, err := try(t, b, shared)
		if err == nil {
			release(t, h)
		}
		return errors.Is(err, driver.ErrLocked)
	})
	cancel()
	if g := receive(t, "end of a wait", given); g.err == nil {
		t.Fatal("granted beside a sharer")
	}
	release(t, acquire(t, b, shared)) // nobody waits any more

	writer := start(t.Context(), a, driver.Request{Name: "a"})
	eventually(t, "new sharers are kept out", func() bool {
		h, err := try(t, b, shared)
		if err == nil {
			release(t, h)
		}
		return errors.Is(err, driver.ErrLocked)
	})
	reader := start(t.Context(), b, shared)
	release(t, first)
	h := granted(t, writer)
	refused(t, b, shared)
	release(t, h)
	release(t, granted(t, reader))
}

func TestManyHoldsAreRenewedWithoutGoroutinesOfTheirOwn(t *testing.T) {
	server := redistest.Start(t)
	s := dial(t, at(server.Addr), redislock.WithTTL(12*time.Second))
	before := runtime.NumGoroutine()
	var holds []driver.Hold
	for i := range 1500 {
		holds = append(holds, acquire(t, s, driver.Request{Name: strconv.Itoa(i), Shared: i%4 == 0}))
	}
	last := holds[len(holds)-1].Deadline()
	for _, h := range holds {
		eventually(t, "all holds are renewed", func() bool { return h.Deadline() > last })
	}
	if n := runtime.NumGoroutine() - before; n > 20 { // of connections, for the most part
		t.Errorf("%d more goroutines for %d holds", n, len(holds))
	}
	for _, h := range holds {
		release(t, h)
	}
}

func TestFairIsUnsupported(t *testing.T) {
	s := dial(t, at(redistest.Start(t).Addr))
	_, err := s.Acquire(t.Context(), driver.Request{Fair: true})
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}
