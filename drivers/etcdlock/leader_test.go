package etcdlock_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/etcdlock"
	"github.com/lockutils/lockutils/drivers/etcdlock/etcdtest"
)

var (
	kills = flag.Int("kills", 1, "how often TestLeaderKilled kills the leader")

	// etcd itself may take ten seconds and more to elect a leader while it lacks processors.
	leaderTTL = flag.Duration("leader.ttl", 30*time.Second, "TTL of TestLeaderKilled")
)

// Workers acquire and release beside holds that stay, while leaders are killed, one at a time: the
// next one only when all leases have been renewed.
func TestLeaderKilled(t *testing.T) {
	cluster := etcdtest.Run(t, 3)
	killLeaders(t, cluster, cluster.Client(t), 8)
}

// With passwords every new stream authenticates, which needs a leader.
func TestLeaderKilledWithPasswords(t *testing.T) {
	cluster := etcdtest.Run(t, 3)
	protect(t, cluster)
	killLeaders(t, cluster, withPassword(t, cluster), 2)
}

// protect has the cluster ask for a password.
func protect(t *testing.T, cluster *etcdtest.Cluster) {
	t.Helper()
	ctx, setup := t.Context(), cluster.Client(t)
	if err := errors.Join(
		second(setup.UserAdd(ctx, "root", "secret")), second(setup.UserGrantRole(ctx, "root", "root")),
		second(setup.AuthEnable(ctx)),
	); err != nil {
		t.Fatal(err)
	}
}

// withPassword returns a client of the cluster that protect was called for.
func withPassword(t *testing.T, cluster *etcdtest.Cluster) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: cluster.Endpoints(), Username: "root", Password: "secret", Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func killLeaders(t *testing.T, cluster *etcdtest.Cluster, client *clientv3.Client, workers int) {
	ttl := *leaderTTL
	var stay []driver.Hold
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var (
		mu      sync.Mutex
		longest time.Duration
		grants  int
		errs    []error
		running sync.WaitGroup
	)
	for i := range workers {
		service := dial(t, client, etcdlock.WithTTL(ttl))
		stay = append(stay, acquire(t, service, fmt.Sprint("stays ", i)))
		running.Go(func() {
			for ctx.Err() == nil {
				begun := time.Now()
				h, err := service.Acquire(ctx, driver.Request{Name: fmt.Sprint("worked on ", i%2)})
				if err == nil {
					err = h.Release(context.WithoutCancel(ctx))
				}
				mu.Lock()
				if err == nil {
					grants, longest = grants+1, max(longest, time.Since(begun))
				} else if ctx.Err() == nil {
					errs = append(errs, err)
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	for i := range *kills {
		leader, err := cluster.Leader(ctx)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		before := grants
		longest = 0
		mu.Unlock()
		if err := cluster.Kill(leader); err != nil {
			t.Fatal(err)
		}
		progress := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return grants > before+50 || len(errs) > 0
		}
		for begun := time.Now(); !progress(); time.Sleep(10 * time.Millisecond) {
			if time.Since(begun) > time.Minute {
				t.Fatal("waits did not resume")
			}
		}
		mu.Lock()
		t.Logf("kill %d: the longest cycle of acquire and release took %v", i+1, longest)
		mu.Unlock()
		if err := errors.Join(cluster.Restart(leader), cluster.Await(ctx)); err != nil {
			t.Fatal(err)
		}
		for _, h := range stay {
			for deadline := h.Deadline(); h.Deadline() == deadline && !lost(h); {
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	stop()
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	for _, h := range stay {
		if lost(h) {
			t.Error("a hold was lost")
		}
		release(t, h)
	}
}
