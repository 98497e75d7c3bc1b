package redislock_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/redislock"
	"github.com/lockutils/lockutils/drivers/redislock/redistest"
	"github.com/redis/rueidis"
)

// dialFails dials for at most limit, and wants an error that contains all words.
func dialFails(
	t *testing.T, limit time.Duration, option rueidis.ClientOption, words []string, opts ...redislock.Option,
) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	s, err := redislock.Dial(ctx, option, opts...)
	if err == nil {
		s.Close()
		t.Fatal("Dial succeeded")
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
	return err
}

func TestDialRefusesBadOptions(t *testing.T) {
	here := at("127.0.0.1:1")
	for _, ttl := range []time.Duration{0, -time.Second, time.Second - 1, 24*time.Hour + 1} {
		dialFails(t, patience, here, []string{"TTL", ttl.String(), "1s"}, redislock.WithTTL(ttl))
	}
	dialFails(t, patience, here, []string{"-1 replicas"}, redislock.WithReplicas(-1))
	dialFails(t, patience, rueidis.ClientOption{}, []string{"InitAddress"})
	dialFails(t, patience, rueidis.ClientOption{InitAddress: here.InitAddress, ReplicaOnly: true},
		[]string{"ReplicaOnly"})
	dialFails(t, patience, rueidis.ClientOption{InitAddress: here.InitAddress, AlwaysRESP2: true},
		[]string{"RESP3"})
}

func TestDialSaysWhatItTriedWhenCtxEnds(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for what, addr := range map[string]string{"refuses": "127.0.0.1:1", "says nothing": silent.Addr().String()} {
		t.Run(what, func(t *testing.T) {
			err := dialFails(t, 300*time.Millisecond, at(addr), []string{addr})
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%q does not match the end of ctx", err)
			}
		})
	}
	option := at("127.0.0.1:1", "127.0.0.1:2")
	option.Sentinel.MasterSet = "mine"
	dialFails(t, 100*time.Millisecond, option, []string{"127.0.0.1:1, 127.0.0.1:2", "Sentinels of mine"})
}

func TestDialWaitsForTheServer(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	dialed := make(chan error)
	go func() {
		s, err := redislock.Dial(t.Context(), at(server.Addr))
		if err == nil {
			err = s.Close()
		}
		dialed <- err
	}()
	server.Restart()
	if err := receive(t, "end of Dial", dialed); err != nil {
		t.Error(err)
	}
}

func TestDialFailsAtOnceWithWrongCredentials(t *testing.T) {
	server := redistest.Start(t, "requirepass secret")
	option := at(server.Addr)
	dialFails(t, patience, option, []string{server.Addr, "NOAUTH"})
	option.Password = "wrong"
	dialFails(t, patience, option, []string{server.Addr, "WRONGPASS"})
	option.Password = "secret"
	free(t, dial(t, option), "a")
}

func TestDialRefusesServersThatMayEvictLocks(t *testing.T) {
	server := redistest.Start(t, "maxmemory 100mb", "maxmemory-policy volatile-lru")
	dialFails(t, patience, at(server.Addr), []string{server.Addr, "maxmemory", "volatile-lru", "noeviction"})
	server.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	dial(t, at(server.Addr))
	server.Do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", "0")
	dial(t, at(server.Addr))
}

func TestDialRefusesReplicas(t *testing.T) {
	replica := redistest.Start(t).StartReplica()
	dialFails(t, patience, at(replica.Addr), []string{replica.Addr, "READONLY"})
}

// allowed is what the documentation says that a user needs.
const allowed = "+@scripting +@connection +info +get +set +del +incr +pexpire +pttl +time " +
	"+hset +hget +hdel +hgetall +zadd +zrem +zpopmin +publish +subscribe"

func TestDialShowsMissingRights(t *testing.T) {
	server := redistest.Start(t)
	option := at(server.Addr)
	option.Username, option.Password = "locks", "secret"
	setUser := func(rules string) {
		args := append([]string{"ACL", "SETUSER", "locks", "reset", "on", ">secret"}, strings.Fields(rules)...)
		server.Do(args...)
	}
	const where = " ~lockutils{* &lockutils{*"
	setUser(allowed + where)
	s := dial(t, option)
	h := acquire(t, s, driver.Request{Name: "a", Shared: true})
	waiter := start(t.Context(), s, driver.Request{Name: "a"})
	waiting(t, server, 1)
	release(t, h)
	release(t, granted(t, waiter))

	for _, command := range strings.Fields(allowed) {
		if strings.HasPrefix(command, "+@connection") {
			continue // without it there is no connection
		}
		setUser(allowed + where + " -" + command[1:])
		err := dialFails(t, patience, option, []string{server.Addr})
		if text := strings.ToLower(err.Error()); !strings.Contains(text, "permission") &&
			!strings.Contains(text, "can't run this command") {
			t.Errorf("without %s: %v", command, err)
		}
	}
	setUser(allowed + " ~other* &lockutils{*")
	dialFails(t, patience, option, []string{server.Addr, "one of the keys"})
	setUser(allowed + " ~lockutils{* &other*")
	dialFails(t, patience, option, []string{server.Addr, "channel"})
}

func TestNamespacesAreApart(t *testing.T) {
	server := redistest.Start(t)
	spaces := []string{"", "a", "a/b", "a{", "a{x}", "a{:x}", "{}", "%7B", "{", "\x00", "ä \n"}
	names := []string{"x", "b/x", ":x", "{:x}", "}", "{", "", "x}token", "x}shares"}
	for _, space := range spaces {
		s := dial(t, at(server.Addr), redislock.WithNamespace(space))
		for _, name := range names {
			if _, err := try(t, s, driver.Request{Name: name}); err != nil {
				t.Errorf("%q in namespace %q: %v", name, space, err)
			}
		}
	}
	refused(t, dial(t, at(server.Addr), redislock.WithNamespace("lockutils")), driver.Request{Name: "x"})
}

func TestServiceHasTwoConnections(t *testing.T) {
	server := redistest.Start(t)
	option := at(server.Addr)
	option.ClientName = "counted"
	s := dial(t, option)
	h := acquire(t, s, driver.Request{Name: "contended"})
	ctx, cancel := context.WithCancel(t.Context())
	var waiters []<-chan grant
	for range 50 {
		waiters = append(waiters, start(ctx, s, driver.Request{Name: "contended"}))
		release(t, acquire(t, s, driver.Request{Name: "other"}))
	}
	if n := server.Clients("counted"); n > 2 {
		t.Errorf("%d connections:\n%s", n, server.Do("CLIENT", "LIST"))
	}
	cancel()
	for _, w := range waiters {
		receive(t, "end of a wait", w)
	}
	release(t, h)
	s.Close()
	server.Eventually("the connections are closed", func() bool { return server.Clients("counted") == 0 })
}

func TestClosedOrNilServiceFails(t *testing.T) {
	s := dial(t, at(redistest.Start(t).Addr))
	h := acquire(t, s, driver.Request{Name: "a"})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	receive(t, "closed Lost", h.Lost())
	if err := h.Release(t.Context()); !errors.Is(err, driver.ErrLost) {
		t.Errorf("release: %v", err)
	}
	for _, s := range []*redislock.Service{s, nil, {}} {
		if _, err := s.Acquire(t.Context(), driver.Request{}); !errors.Is(err, redislock.ErrClosed) {
			t.Errorf("acquire: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if s.Name() != "redis" || s.Can() != driver.Shared|driver.Fenced {
			t.Error("Name and Can differ")
		}
	}
}
