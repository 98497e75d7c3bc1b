package redislock_test

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"testing"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/redislock"
	"github.com/lockutils/lockutils/drivers/redislock/redistest"
)

func TestInspectReturnsHoldersAndWaiters(t *testing.T) {
	const namespace, name = `in{s*}p?e[c]t\%`, "a}b {%\xff*"
	server := redistest.Start(t)
	s := dial(t, at(server.Addr), redislock.WithNamespace(namespace))
	other := dial(t, at(server.Addr), redislock.WithNamespace(`in%7Bs%7Dp`))
	inspect := func(s *redislock.Service) []driver.Info {
		found, err := s.Inspect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	release(t, acquire(t, s, driver.Request{Name: "free"}))
	acquire(t, other, driver.Request{Name: "other"})
	held := acquire(t, s, driver.Request{Name: ""})
	for range 2 {
		acquire(t, s, driver.Request{Name: name, Shared: true})
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	waiting := start(ctx, s, driver.Request{Name: name})
	server.Eventually("the request waits", func() bool {
		found := inspect(s)
		return len(found) == 2 && len(found[1].Waiters) == 1
	})
	host, _ := os.Hostname()
	self := driver.ClientInfo{Client: fmt.Sprintf("%s %d", host, os.Getpid())}
	sharer := driver.ClientInfo{Client: self.Client, Shared: true}
	want := []driver.Info{
		{Holders: []driver.ClientInfo{self}},
		{Name: name, Holders: []driver.ClientInfo{sharer, sharer}, Waiters: []driver.ClientInfo{self}},
	}
	if got := inspect(s); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	release(t, held)
	cancel()
	receive(t, "end of a wait", waiting)
	want = []driver.Info{{Name: name, Holders: []driver.ClientInfo{sharer, sharer}}}
	server.Eventually("the hold and the wait are gone", func() bool {
		return reflect.DeepEqual(inspect(s), want)
	})
	if got := inspect(other); len(got) != 1 || got[0].Name != "other" {
		t.Errorf("another namespace: %+v", got)
	}
}

func TestInspectSeesAllNodesOfACluster(t *testing.T) {
	nodes := redistest.StartCluster(t)
	s, other := dial(t, at(nodes[0].Addr)), dial(t, at(nodes[0].Addr))
	for i := range 20 {
		acquire(t, s, driver.Request{Name: fmt.Sprintf("%02d", i)})
	}
	host, _ := os.Hostname()
	found, err := other.Inspect(t.Context())
	if err != nil || len(found) != 20 {
		t.Fatalf("%d locks, want 20: %v", len(found), err)
	}
	want := []driver.ClientInfo{{Client: fmt.Sprintf("%s %d", host, os.Getpid())}}
	for i, lock := range found {
		if lock.Name != fmt.Sprintf("%02d", i) || !reflect.DeepEqual(lock.Holders, want) {
			t.Errorf("lock %d: %+v, want %+v", i, lock, want)
		}
	}
}
