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
)

var rounds = flag.Int("rounds", 20, "how often the tests that print figures repeat what they measure")

// percentiles returns the median and the 99th percentile, in milliseconds.
func percentiles(d []time.Duration) string {
	slices.Sort(d)
	at := func(p int) float64 { return float64(d[(len(d)-1)*p/100].Microseconds()) / 1000 }
	return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms", at(50), at(99))
}

// TestFiguresOfHandover prints how long a release takes to reach a process that waits: with a raw
// watch of one key, with this package, and with the client library's own mutex.
func TestFiguresOfHandover(t *testing.T) {
	cluster := server(t)
	a, b := cluster.Client(t), cluster.Client(t)
	for _, load := range []int{0, 1000} {
		stop := write(t, cluster.Client(t), load)
		t.Logf("beside %d writes a second:", load)
		t.Logf("  raw watch            %s", percentiles(watches(t, a, b)))
		t.Logf("  etcdlock             %s", percentiles(handovers(t, dial(t, a), dial(t, b))))
		t.Logf("  concurrency.Mutex    %s", percentiles(mutexes(t, a, b)))
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

func watches(t *testing.T, a, b *clientv3.Client) (took []time.Duration) {
	ctx := t.Context()
	for range *rounds {
		if _, err := a.Put(ctx, "raw", "x"); err != nil {
			t.Fatal(err)
		}
		watching, cancel := context.WithCancel(ctx)
		events := b.Watch(watching, "raw", clientv3.WithCreatedNotify())
		<-events
		time.Sleep(settle)
		begun := time.Now()
		if _, err := a.Delete(ctx, "raw"); err != nil {
			t.Fatal(err)
		}
		<-events
		took = append(took, time.Since(begun))
		cancel()
	}
	return took
}

func handovers(t *testing.T, a, b driver.Service) (took []time.Duration) {
	for range *rounds {
		h := acquire(t, a, "handover")
		granted := make(chan driver.Hold)
		go func() { granted <- acquire(t, b, "handover") }()
		time.Sleep(settle)
		begun := time.Now()
		release(t, h)
		h = <-granted
		took = append(took, time.Since(begun))
		release(t, h)
	}
	return took
}

func mutexes(t *testing.T, a, b *clientv3.Client) (took []time.Duration) {
	var both [2]*concurrency.Mutex
	for i, client := range []*clientv3.Client{a, b} {
		session, err := concurrency.NewSession(client)
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		both[i] = concurrency.NewMutex(session, "mutex")
	}
	for range *rounds {
		if err := both[0].Lock(t.Context()); err != nil {
			t.Fatal(err)
		}
		granted := make(chan error)
		go func() { granted <- both[1].Lock(t.Context()) }()
		time.Sleep(settle)
		begun := time.Now()
		err := both[0].Unlock(t.Context())
		err = errors.Join(err, <-granted)
		took = append(took, time.Since(begun))
		if err = errors.Join(err, both[1].Unlock(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	return took
}

// TestFiguresOfFreeLock prints what a free lock costs, beside the two transactions that it takes.
func TestFiguresOfFreeLock(t *testing.T) {
	client := server(t).Client(t)
	s := dial(t, client)
	lease, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	session, err := concurrency.NewSession(client)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	mutex := concurrency.NewMutex(session, "free mutex")
	ways := []struct {
		name  string
		cycle func() error
		took  []time.Duration
	}{
		{name: "two transactions ", cycle: func() error {
			created := clientv3.Compare(clientv3.CreateRevision("raw/a"), ">", 0)
			put := clientv3.OpPut("raw/a", "x", clientv3.WithLease(lease.ID))
			_, err := client.Txn(t.Context()).If(created).Else(put).Commit()
			if err != nil {
				return err
			}
			_, err = client.Txn(t.Context()).If(created).Then(clientv3.OpDelete("raw/a")).Commit()
			return err
		}},
		{name: "etcdlock         ", cycle: func() error {
			h, err := s.Acquire(t.Context(), driver.Request{Name: "free"})
			if err != nil {
				return err
			}
			return h.Release(t.Context())
		}},
		{name: "concurrency.Mutex", cycle: func() error {
			return errors.Join(mutex.Lock(t.Context()), mutex.Unlock(t.Context()))
		}},
	}
	for range *rounds * 10 {
		for i := range ways {
			begun := time.Now()
			if err := ways[i].cycle(); err != nil {
				t.Fatal(err)
			}
			ways[i].took = append(ways[i].took, time.Since(begun))
		}
	}
	for _, way := range ways {
		t.Logf("%s %s", way.name, percentiles(way.took))
	}
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
