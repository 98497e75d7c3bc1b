package etcdlock_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/drivertest"
	"github.com/lockutils/lockutils/drivers/etcdlock"
	"github.com/lockutils/lockutils/drivers/etcdlock/etcdtest"
)

var cancellations = flag.Int("cancellations", 300,
	"how many requests TestCancelledRequestsLeaveNothing cancels")

// Requests for a few names end at random instants, while messages in both directions are late and
// another process has the locks now and then.
func TestCancelledRequestsLeaveNothing(t *testing.T) {
	cluster := etcdtest.Run(t, 1)
	proxy := drivertest.NewProxy()
	t.Cleanup(func() { proxy.Close() })
	direct := cluster.Client(t)
	ttl := etcdlock.WithTTL(6 * time.Second)
	s, other := dial(t, proxied(t, cluster, proxy), ttl), dial(t, direct, ttl)
	for _, s := range []driver.Service{s, other} { // their leases are renewed, so all streams exist
		h := acquire(t, s, "first")
		for deadline := h.Deadline(); h.Deadline() == deadline; {
			time.Sleep(time.Millisecond)
		}
		release(t, h)
	}
	goroutines := runtime.NumGoroutine()

	const workers, names = 8, 4
	var cancelled atomic.Int64
	var running, disturbing sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	disturbing.Go(func() {
		for ctx.Err() == nil {
			h := acquire(t, other, fmt.Sprint("cancelled ", rand.IntN(names)))
			proxy.Delay(rand.N(5*time.Millisecond), rand.N(5*time.Millisecond))
			time.Sleep(rand.N(10 * time.Millisecond))
			release(t, h)
		}
	})
	for range workers {
		running.Go(func() {
			for cancelled.Load() < int64(*cancellations) && !t.Failed() {
				name := fmt.Sprint("cancelled ", rand.IntN(names))
				ctx, cancel := context.WithTimeout(t.Context(), rand.N(40*time.Millisecond))
				h, err := s.Acquire(ctx, driver.Request{Name: name, Shared: rand.IntN(4) == 0})
				switch {
				case err == nil:
					h.Release(ctx) // which may end as well
					release(t, h)
				case errors.Is(err, context.DeadlineExceeded):
					cancelled.Add(1)
				default:
					t.Error(err)
				}
				cancel()
			}
		})
	}
	running.Wait()
	stop()
	disturbing.Wait()
	proxy.Mend()

	for what, count := range map[string]func() int{
		"keys": func() int {
			got, err := direct.Get(t.Context(), "lockutils:", clientv3.WithPrefix(), clientv3.WithCountOnly())
			if err != nil {
				t.Fatal(err)
			}
			return int(got.Count)
		},
		"watches": func() int { return watchers(t, cluster.Endpoints()[0]) },
		"goroutines more than before": func() int {
			return max(runtime.NumGoroutine()-goroutines, 0)
		},
	} {
		begun := time.Now()
		for count() > 0 {
			if time.Since(begun) > 30*time.Second {
				stacks := make([]byte, 1<<20)
				t.Fatalf("%d %s are left:\n%s", count(), what, stacks[:runtime.Stack(stacks, true)])
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	t.Logf("%d requests were cancelled", cancelled.Load())
}

// watchers returns how many watches the server has.
func watchers(t *testing.T, endpoint string) (n int) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Get("http://" + endpoint + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	for lines := bufio.NewScanner(reply.Body); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "etcd_debugging_mvcc_watcher_total "); ok {
			if _, err := fmt.Sscan(rest, &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("the server does not tell how many watches it has")
	return 0
}
