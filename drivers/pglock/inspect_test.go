//go:build unix

package pglock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
)

// inspect returns what is known of a lock as soon as so many have it and so many wait for it, and it is
// known of so many of these since when.
func inspect(t *testing.T, s *Service, name string, holders, waiters, timed int) (found driver.Info) {
	t.Helper()
	for ctx := within(t); ; {
		now, err := s.InspectName(ctx, name)
		if err != nil {
			t.Fatalf("%v; the last answer: %+v", err, found)
		}
		found = now
		known := 0
		for _, w := range found.Waiters {
			if !w.Since.IsZero() {
				known++
			}
		}
		if len(found.Holders) == holders && len(found.Waiters) == waiters && known == timed {
			return found
		}
	}
}

// comesFrom checks where a client is said to be.
func comesFrom(t *testing.T, c driver.ClientInfo, client string, process uint32) {
	t.Helper()
	if want := fmt.Sprintf("%s, server process %d", client, process); c.Client != want {
		t.Errorf("the client is %q, want %q", c.Client, want)
	}
}

func TestInspectNameReturnsHoldersAndWaiters(t *testing.T) {
	const name = "a/b '%\xff"
	s, other := dial(t, parse(server(t).URL())), dial(t, parse(server(t).URL()))
	waiting := dial(t, parse(server(t).URL()))
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	self := fmt.Sprintf("%s %d", host, os.Getpid())
	acquire(t, dial(t, parse(server(t).URL()), WithNamespace("another")), driver.Request{Name: name})
	acquire(t, s, driver.Request{Name: "other"})
	if found := inspect(t, s, name, 0, 0, 0); found.Name != name {
		t.Errorf("a free lock: %+v", found)
	}
	for range 2 { // the Service holds it once
		acquire(t, s, driver.Request{Name: name, Shared: true})
	}
	acquire(t, other, driver.Request{Name: name, Shared: true})
	found := inspect(t, s, name, 2, 0, 0)
	if !found.Holders[0].Shared || !found.Holders[1].Shared {
		t.Fatalf("two sharers: %+v", found)
	}

	began := time.Now().Add(-time.Second) // the server's clock is this machine's
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 3)
	wait := func(r driver.Request) {
		r.Name = name
		go func() {
			_, err := waiting.Acquire(ctx, r)
			ended <- err
		}()
	}
	wait(driver.Request{})
	inspect(t, s, name, 2, 1, 0)
	wait(driver.Request{Fair: true})
	inspect(t, s, name, 2, 2, 1)
	wait(driver.Request{Fair: true, Shared: true})
	found = inspect(t, s, name, 2, 3, 2)
	for i, want := range []driver.ClientInfo{{}, {Shared: true}, {}} { // those without Fair come last
		got := found.Waiters[i]
		fair := i < 2
		if got.Shared != want.Shared || got.Since.IsZero() == fair || fair && got.Since.Before(began) ||
			!strings.HasPrefix(got.Client, self+", server process ") {
			t.Errorf("waiter %d: %+v", i, got)
		}
	}
	comesFrom(t, found.Waiters[2], self, waiting.main.pid)
	cancel()
	for range 3 {
		<-ended
	}
	// A wait that ends behind another one may be granted before the server has heard of its end.
	inspect(t, other, name, 2, 0, 0)
	s.Close()
	found = inspect(t, other, name, 1, 0, 0)
	comesFrom(t, found.Holders[0], self, other.main.pid)
	if _, err := s.InspectName(within(t), name); !errors.Is(err, errClosed) {
		t.Errorf("a closed Service: %v", err)
	}
}

// A role sees of the clients of others only what they call themselves.
func TestInspectNameTellsWhatTheClientCallsItself(t *testing.T) {
	runSQL(t, server(t), `create role onlooker login;
		grant usage on schema lockutils to onlooker; grant usage on sequence lockutils.token to onlooker`)
	t.Cleanup(func() {
		runSQL(t, server(t), "drop owned by onlooker; drop role onlooker")
	})
	s := dial(t, parse(server(t).URL()+" application_name='the application'"))
	acquire(t, s, driver.Request{Name: "x"})
	onlooker := parse(server(t).URL())
	onlooker.User = "onlooker"
	for viewer, client := range map[*Service]string{
		s: "the application at 127.0.0.1", dial(t, onlooker): "the application",
	} {
		found := inspect(t, viewer, "x", 1, 0, 0)
		comesFrom(t, found.Holders[0], client, s.main.pid)
	}
}
