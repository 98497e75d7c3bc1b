package redislock_test

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/redislock"
	"github.com/lockutils/lockutils/drivers/redislock/redistest"
	"github.com/redis/rueidis"
)

func TestReplicasConfirm(t *testing.T) {
	server := redistest.Start(t)
	replica := server.StartReplica()
	s := dial(t, at(server.Addr), redislock.WithReplicas(1), redislock.WithTTL(10*time.Second))
	for mode, shared := range modes {
		t.Run(mode, func(t *testing.T) {
			h := acquire(t, s, driver.Request{Name: "a", Shared: shared})
			if replica.Do("EXISTS", "lockutils{:a}") != "1" {
				t.Error("the replica has no lock")
			}
			release(t, h)
		})
	}
	replica.Freeze()
	for mode, shared := range modes {
		t.Run(mode+" without replica", func(t *testing.T) {
			fails(t, s, driver.Request{Name: "a", Shared: shared}, server.Addr, "0 of 1 replicas")
			if n := server.Do("EXISTS", "lockutils{:a}"); n != "0" {
				t.Error("the server has kept the lock")
			}
		})
	}
	replica.Thaw()
	eventually(t, "the replica keeps up", func() bool {
		h, err := s.Acquire(t.Context(), driver.Request{Name: "a"})
		if err == nil {
			release(t, h)
		}
		return err == nil
	})
	dialFails(t, patience, at(server.Addr), []string{"1 of 2 replicas"}, redislock.WithReplicas(2))
}

// The first paragraph of the package's documentation warns of this.
func TestPromotionOfAReplicaThatLagsLetsTwoIn(t *testing.T) {
	server := redistest.Start(t)
	replica := server.StartReplica()
	a := dial(t, at(server.Addr), redislock.WithTTL(2*time.Second))
	free(t, a, "a")
	server.Eventually("the replica has the counter", func() bool {
		return replica.Do("EXISTS", "lockutils{:a}token") == "1"
	})
	replica.Freeze()
	h := acquire(t, a, driver.Request{Name: "a"})
	server.Kill()
	replica.Thaw()
	replica.Promote()
	b := dial(t, at(replica.Addr))
	next := acquire(t, b, driver.Request{Name: "a"})
	if next.Token() <= h.Token() {
		t.Errorf("token %d after %d: the fence lets the former holder pass", next.Token(), h.Token())
	}
	receive(t, "closed Lost", h.Lost())
	release(t, next)
}

func TestSentinelFailover(t *testing.T) {
	server := redistest.Start(t)
	replica := server.StartReplica()
	var addrs []string
	for _, x := range server.StartSentinels("mine") {
		addrs = append(addrs, x.Addr)
	}
	option := at(addrs...)
	option.Sentinel.MasterSet = "mine"
	a := dial(t, option, redislock.WithReplicas(1), redislock.WithTTL(15*time.Second))
	h := acquire(t, a, driver.Request{Name: "a"})
	waiter := start(t.Context(), a, driver.Request{Name: "a"})
	time.Sleep(20 * time.Millisecond)
	server.Kill()
	replica.Eventually("it is the primary", func() bool { return replica.Info("role") == "master" })
	b := dial(t, option)
	refused(t, b, driver.Request{Name: "a"})
	renewed(t, h)
	release(t, h)
	g := receive(t, "end of a wait", waiter)
	if g.err == nil {
		t.Error("granted, although there is no second replica")
	} else if !strings.Contains(g.err.Error(), "0 of 1 replicas") {
		t.Error(g.err)
	}
	next := acquire(t, b, driver.Request{Name: "a"})
	if next.Token() <= h.Token() {
		t.Errorf("token %d after %d", next.Token(), h.Token())
	}
	release(t, next)
}

func TestUnknownSentinelSet(t *testing.T) {
	server := redistest.Start(t)
	server.StartReplica()
	option := at(server.StartSentinels("mine")[0].Addr)
	option.Sentinel.MasterSet = "other"
	dialFails(t, patience, option, []string{option.InitAddress[0], "Sentinels of other", "No such master"})
}

func TestCluster(t *testing.T) {
	nodes := redistest.StartCluster(t)
	a := dial(t, at(nodes[0].Addr), redislock.WithTTL(10*time.Second), redislock.WithReplicas(1))
	b := dial(t, at(nodes[1].Addr), redislock.WithTTL(10*time.Second))
	name := func(i int) driver.Request { return driver.Request{Name: strconv.Itoa(i), Shared: i%3 == 0} }
	const names = 60
	var holds []driver.Hold
	for i := range names {
		holds = append(holds, acquire(t, a, name(i)))
	}
	var waiters []<-chan grant
	for i := range names {
		r := driver.Request{Name: strconv.Itoa(i)}
		refused(t, b, r)
		waiters = append(waiters, start(t.Context(), b, r))
	}
	last := holds[names-1].Deadline()
	for _, h := range holds {
		eventually(t, "all holds are renewed", func() bool { return h.Deadline() > last })
	}
	var all sync.WaitGroup
	for i := range names {
		all.Go(func() {
			release(t, holds[i])
			h := granted(t, waiters[i])
			if h.Token() <= holds[i].Token() {
				t.Errorf("token %d after %d", h.Token(), holds[i].Token())
			}
			release(t, h)
		})
	}
	all.Wait()

	t.Run("failover", func(t *testing.T) {
		var holds []driver.Hold
		for i := range names {
			holds = append(holds, acquire(t, a, name(i)))
		}
		nodes[0].Kill()
		nodes[3].Eventually("it is a primary", func() bool { return nodes[3].Info("role") == "master" })
		for i := range names {
			r := driver.Request{Name: strconv.Itoa(i)}
			eventually(t, "the Cluster serves "+r.Name, func() bool {
				_, err := try(t, b, r)
				return errors.Is(err, driver.ErrLocked)
			})
		}
		for _, h := range holds {
			release(t, h)
		}
		for i := range names {
			free(t, b, strconv.Itoa(i))
		}
	})
}

func TestClusterThatIsDown(t *testing.T) {
	node := redistest.Start(t, "cluster-enabled yes")
	node.Do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	node.Eventually("it is up", func() bool {
		return strings.Contains(node.Do("CLUSTER", "INFO"), "cluster_state:ok")
	})
	s := dial(t, at(node.Addr))
	free(t, s, "a")
	node.Do("CLUSTER", "DELSLOTS", "1")
	fails(t, s, driver.Request{Name: "a"}, node.Addr, "CLUSTERDOWN")
	dialFails(t, patience, at(node.Addr), []string{node.Addr, "CLUSTERDOWN"})
	node.Do("CLUSTER", "ADDSLOTS", "1")
	eventually(t, "it is up again", func() bool {
		h, err := try(t, s, driver.Request{Name: "a"})
		if err == nil {
			release(t, h)
		}
		return err == nil
	})
}

func TestClusterBehindASingleClient(t *testing.T) {
	nodes := redistest.StartCluster(t)
	var moved int
	for _, node := range nodes[:3] {
		option := rueidis.ClientOption{InitAddress: []string{node.Addr}, ForceSingleClient: true}
		s, err := redislock.Dial(t.Context(), option)
		if err == nil {
			s.Close()
		} else if strings.Contains(err.Error(), "MOVED") && strings.Contains(err.Error(), node.Addr) {
			moved++
		} else {
			t.Error(err)
		}
	}
	if moved != 2 {
		t.Errorf("%d nodes have answered MOVED, want 2", moved)
	}
}
