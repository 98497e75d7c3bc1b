package etcdlock_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/etcdlock"
)

var rounds = flag.Int("rounds", 20, "how often the tests that print figures repeat what they measure")

// percentiles returns the median and the 99th percentile, in milliseconds.
func percentiles(d []time.Duration) string {
	slices.Sort(d)
	at := func(p int) float64 { return float64(d[(len(d)-1)*p/100].Microseconds()) / 1000 }
	return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms", at(50), at(99))
}

// A way is one way to do what a test measures.
type way struct {
	name string
	once func() (time.Duration, error)
	took []time.Duration
}

// measure does each in turn, so often, so that whatever else the machine does is the same for all.
func measure(t *testing.T, rounds int, ways []way) {
	t.Helper()
	for range rounds {
		for i := range ways {
			took, err := ways[i].once()
			if err != nil {
				t.Fatalf("%s: %v", ways[i].name, err)
			}
			ways[i].took = append(ways[i].took, took)
		}
	}
	for _, w := range ways {
		t.Logf("%-20s %s", w.name, percentiles(w.took))
	}
}

// TestFiguresOfHandover prints how long a release takes to reach a process that waits: with a raw
// watch of one key, with this package, and with the client library's own mutex.
func TestFiguresOfHandover(t *testing.T) {
	cluster := server(t)
	a, b := cluster.Client(t), cluster.Client(t)
	ours := [2]*etcdlock.Service{dial(t, a), dial(t, b)}
	mutexes := [2]*concurrency.Mutex{mutex(t, a, "handover"), mutex(t, b, "handover")}
	for _, load := range []int{0, 1000} {
		stop := write(t, cluster.Client(t), load)
		t.Logf("beside %d writes a second:", load)
		measure(t, *rounds, []way{
			{name: "raw watch", once: func() (time.Duration, error) { return watched(t.Context(), a, b) }},
			{name: "etcdlock", once: func() (time.Duration, error) { return handedOver(t, ours) }},
			{name: "concurrency.Mutex", once: func() (time.Duration, error) {
				return mutexHandedOver(t.Context(), mutexes)
			}},
		})
		stop()
	}
}

// write writes that often a second, until it is stopped.
func write(t *testing.T, client *clientv3.Client, perSecond int) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i := range perSecond / 100 {
		running.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				<-tick.C
				client.Put(ctx, fmt.Sprint("load ", i), "x")
			}
		})
	}
	return func() { cancel(); running.Wait() }
}

const settle = 20 * time.Millisecond // in which a waiter gets ready

func watched(ctx context.Context, a, b *clientv3.Client) (time.Duration, error) {
	if _, err := a.Put(ctx, "raw", "x"); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := b.Watch(ctx, "raw", clientv3.WithCreatedNotify())
	<-events
	time.Sleep(settle)
	begun := time.Now()
	if _, err := a.Delete(ctx, "raw"); err != nil {
		return 0, err
	}
	<-events
	return time.Since(begun), nil
}

func handedOver(t *testing.T, services [2]*etcdlock.Service) (time.Duration, error) {
	h := acquire(t, services[0], "handover")
	granted := make(chan driver.Hold)
	go func() { granted <- acquire(t, services[1], "handover") }()
	time.Sleep(settle)
	begun := time.Now()
	err := h.Release(t.Context())
	h = <-granted
	took := time.Since(begun)
	return took, errors.Join(err, h.Release(t.Context()))
}

func mutex(t *testing.T, client *clientv3.Client, name string) *concurrency.Mutex {
	t.Helper()
	session, err := concurrency.NewSession(client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return concurrency.NewMutex(session, name)
}

func mutexHandedOver(ctx context.Context, mutexes [2]*concurrency.Mutex) (time.Duration, error) {
	if err := mutexes[0].Lock(ctx); err != nil {
		return 0, err
	}
	granted := make(chan error)
	go func() { granted <- mutexes[1].Lock(ctx) }()
	time.Sleep(settle)
	begun := time.Now()
	err := mutexes[0].Unlock(ctx)
	err = errors.Join(err, <-granted)
	took := time.Since(begun)
	return took, errors.Join(err, mutexes[1].Unlock(ctx))
}

// TestFiguresOfFreeLock prints what a free lock costs, beside the two transactions that it takes.
func TestFiguresOfFreeLock(t *testing.T) {
	ctx, client := t.Context(), server(t).Client(t)
	s, mutex := dial(t, client), mutex(t, client, "free")
	lease, err := client.Grant(ctx, 60)
	if err != nil {
		t.Fatal(err)
	}
	created := clientv3.Compare(clientv3.CreateRevision("raw/a"), ">", 0)
	put, remove := clientv3.OpPut("raw/a", "x", clientv3.WithLease(lease.ID)), clientv3.OpDelete("raw/a")
	timed := func(cycle func() error) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			begun := time.Now()
			err := cycle()
			return time.Since(begun), err
		}
	}
	measure(t, 10**rounds, []way{
		{name: "two transactions", once: timed(func() error {
			_, err := client.Txn(ctx).If(created).Else(put).Commit()
			if err != nil {
				return err
			}
			_, err = client.Txn(ctx).If(created).Then(remove).Commit()
			return err
		})},
		{name: "etcdlock", once: timed(func() error {
			h, err := s.Acquire(ctx, driver.Request{Name: "free"})
			if err != nil {
				return err
			}
			return h.Release(ctx)
		})},
		{name: "concurrency.Mutex", once: timed(func() error {
			return errors.Join(mutex.Lock(ctx), mutex.Unlock(ctx))
		})},
	})
}

func TestGoroutinesOfAProcessHaveOneKey(t *testing.T) {
	client := server(t).Client(t)
	s, other := dial(t, client), dial(t, client)
	blocker := acquire(t, other, "crowd")
	const goroutines = 1000
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			g, err := lockutils.LockContext(t.Context(), "crowd", lockutils.On(s), lockutils.WithPrefix(""))
			if err == nil {
				err = g.Unlock()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for keys(t, client, "lockutils", "crowd") < 2 {
		time.Sleep(time.Millisecond)
	}
	for range 20 {
		if n := keys(t, client, "lockutils", "crowd"); n != 2 {
			t.Fatalf("%d keys for a holder and the goroutines of one process", n)
		}
		time.Sleep(5 * time.Millisecond)
	}
	release(t, blocker)
	most := 0
	for {
		select {
		case <-done:
			t.Logf("%d goroutines: at most %d key at the server", goroutines, most)
			if most > 1 {
				t.Errorf("%d keys", most)
			}
			return
		default:
			most = max(most, keys(t, client, "lockutils", "crowd"))
		}
	}
}

func TestHoldsAreSmall(t *testing.T) {
	client := server(t).Client(t)
	s := dial(t, client)
	n := *rounds * 50
	release(t, acquire(t, s, "first"))
	memory, goroutines := heap(), runtime.NumGoroutine()
	holds := make([]driver.Hold, n)
	var some sync.WaitGroup
	for part := range 10 {
		some.Go(func() {
			for i := part; i < n; i += 10 {
				holds[i] = acquire(t, s, fmt.Sprint("small-", i))
			}
		})
	}
	some.Wait()
	each := int64(heap()-memory) / int64(n)
	leases := map[int64]bool{}
	got, err := client.Get(t.Context(), "lockutils:small-", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range got.Kvs {
		leases[kv.Lease] = true
	}
	t.Logf("%d holds: %d keys, %d lease, %d bytes and %.3f goroutines each", n, len(got.Kvs), len(leases), each,
		float64(runtime.NumGoroutine()-goroutines)/float64(n))
	if len(got.Kvs) != n || len(leases) != 1 || each > 2048 || runtime.NumGoroutine()-goroutines > 20 {
		t.Error("want a key for each hold, one lease, under 2 KiB each and no goroutine for each")
	}
	for part := range 10 {
		some.Go(func() {
			for i := part; i < n; i += 10 {
				release(t, holds[i])
			}
		})
	}
	some.Wait()
	runtime.KeepAlive(holds)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
