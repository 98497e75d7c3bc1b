package redislock_test

import (
	"context"
	"errors"
	"slices"
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
	s := dial(t, at(server.Addr), redislock.WithReplicas(1))
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
	a := dial(t, at(server.Addr), redislock.WithTTL(4*time.Second))
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
	a := dial(t, option, redislock.WithReplicas(1), redislock.WithTTL(20*time.Second))
	h := acquire(t, a, driver.Request{Name: "a"})
	waiter := start(t.Context(), a, driver.Request{Name: "a"})
	waiting(t, server, 1)
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
	a := dial(t, at(nodes[0].Addr), redislock.WithTTL(20*time.Second), redislock.WithReplicas(1))
	b := dial(t, at(nodes[1].Addr), redislock.WithTTL(20*time.Second))
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

// Before the Cluster knows that a slot has moved, its nodes answer ASK and TRYAGAIN, and then MOVED.
func TestLocksMoveWithTheirSlot(t *testing.T) {
	nodes := redistest.StartCluster(t)
	s := dial(t, at(nodes[0].Addr), redislock.WithTTL(20*time.Second))
	for mode, shared := range modes {
		t.Run(mode, func(t *testing.T) {
			h := acquire(t, s, driver.Request{Name: "a", Shared: shared})
			waiter := start(t.Context(), s, driver.Request{Name: "a"})
			moveSlot(t, nodes[:3], "lockutils{:a}", func() {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				if err := h.Release(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a release while the lock moves: %v", err)
				}
			})
			release(t, h)
			next := granted(t, waiter)
			if next.Token() <= h.Token() {
				t.Errorf("token %d after %d", next.Token(), h.Token())
			}
			release(t, next)
		})
	}
}

// A release that the server has refused has not ended the hold.
func TestReleaseOfAHoldThatIsGoneAfterItsSlotHasMoved(t *testing.T) {
	nodes := redistest.StartCluster(t)
	s := dial(t, at(nodes[0].Addr), redislock.WithTTL(20*time.Second))
	h := acquire(t, s, driver.Request{Name: "a"})
	const key = "lockutils{:a}"
	moveSlot(t, nodes[:3], key, func() {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := h.Release(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a release while the lock moves: %v", err)
		}
	})
	for _, node := range nodes[:3] {
		if node.Do("CLUSTER", "COUNTKEYSINSLOT", node.Do("CLUSTER", "KEYSLOT", key)) != "0" {
			node.Do("DEL", key)
		}
	}
	if err := h.Release(t.Context()); !errors.Is(err, driver.ErrLost) {
		t.Errorf("the release of a lock that is gone: %v", err)
	}
}

// moveSlot moves the slot of a key to another primary. It calls between when the keys are there and
// the Cluster does not know it.
func moveSlot(t *testing.T, primaries []*redistest.Server, key string, between func()) {
	t.Helper()
	slot := primaries[0].Do("CLUSTER", "KEYSLOT", key)
	i := slices.IndexFunc(primaries, func(s *redistest.Server) bool {
		return s.Do("CLUSTER", "COUNTKEYSINSLOT", slot) != "0"
	})
	from, to := primaries[i], primaries[(i+1)%len(primaries)]
	to.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", from.Do("CLUSTER", "MYID"))
	from.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", to.Do("CLUSTER", "MYID"))
	move := []string{"MIGRATE", "127.0.0.1", to.Port, "", "0", "5000", "KEYS"}
	from.Do(append(move, strings.Split(from.Do("CLUSTER", "GETKEYSINSLOT", slot, "100"), "\n")...)...)
	between()
	for _, node := range []*redistest.Server{to, from, primaries[(i+2)%len(primaries)]} {
		node.Do("CLUSTER", "SETSLOT", slot, "NODE", to.Do("CLUSTER", "MYID"))
	}
}

func TestClusterThatIsDown(t *testing.T) {
	node := redistest.Start(t, "cluster-enabled yes")
	node.Do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	node.Eventually("it is up", func() bool {
		return strings.Contains(node.Do("CLUSTER", "INFO"), "cluster_state:ok")
	})
	s := dial(t, at(node.Addr))
	h := acquire(t, s, driver.Request{Name: "a"})
	waiter := start(t.Context(), s, driver.Request{Name: "a"})
	waiting(t, node, 1)
	node.Do("CLUSTER", "DELSLOTS", "1")
	fails(t, s, driver.Request{Name: "a"}, node.Addr, "CLUSTERDOWN")
	dialFails(t, patience, at(node.Addr), []string{node.Addr, "CLUSTERDOWN"})
	node.Do("CLIENT", "KILL", "TYPE", "pubsub") // the waiter tries
	if err := h.Release(t.Context()); err == nil || !strings.Contains(err.Error(), "CLUSTERDOWN") {
		t.Errorf("release: %v", err)
	}
	node.Do("CLUSTER", "ADDSLOTS", "1")
	eventually(t, "it is up again", func() bool { return h.Release(t.Context()) == nil })
	release(t, granted(t, waiter))
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
