package etcdlock_test

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/etcdlock"
)

func TestInspectReturnsHoldersAndTheQueue(t *testing.T) {
	client := server(t).Client(t)
	service := func(namespace string) *etcdlock.Service {
		s, err := etcdlock.Dial(t.Context(), client, etcdlock.WithNamespace(namespace))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	s, other := service("inspect:%"), service("inspect")
	inspect := func(s *etcdlock.Service) []driver.Info {
		found, err := s.Inspect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	const name = "a/b %\xff"
	if _, err := s.Acquire(t.Context(), driver.Request{Name: name, Shared: true}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	for i, shared := range []bool{false, true} {
		go s.Acquire(ctx, driver.Request{Name: name, Shared: shared})
		for len(inspect(s)) != 1 || len(inspect(s)[0].Waiters) <= i {
			time.Sleep(time.Millisecond)
		}
	}
	host, _ := os.Hostname()
	self := fmt.Sprintf("%s %d", host, os.Getpid())
	want := []driver.Info{{
		Name:    name,
		Holders: []driver.ClientInfo{{Client: self, Shared: true}},
		Waiters: []driver.ClientInfo{{Client: self}, {Client: self, Shared: true}},
	}}
	if got := inspect(s); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := inspect(other); len(got) != 0 {
		t.Errorf("the locks of another namespace are seen: %+v", got)
	}
}
