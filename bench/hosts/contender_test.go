package main

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"
)

// programs are what engines need.
var programs = map[string]string{"etcd": "etcd", "postgres": "pg_ctlcluster", "redis": "redis-server"}

// TestMain lets the test program act as a worker.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == workerArg {
		fail(work(os.Args[2:]))
		return
	}
	os.Exit(m.Run())
}

// forEach runs a test for each contender of each engine that is installed.
func forEach(t *testing.T, test func(context.Context, *testing.T, target)) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			if _, err := exec.LookPath(programs[e.name]); err != nil {
				t.Skip(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			s, err := e.start(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer s.stop()
			for _, c := range e.contenders {
				t.Run(c.name, func(t *testing.T) {
					if c.isMissing() {
						t.Skip("not installed")
					}
					test(ctx, t, target{s, e, c})
				})
			}
		})
	}
}

func TestContendersExclude(t *testing.T) {
	forEach(t, func(ctx context.Context, t *testing.T, x target) {
		var clients [2]client
		for i := range clients {
			c, err := x.client(ctx, x.address())
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			clients[i] = c
		}
		h, err := clients[0].acquire(ctx, "exclude")
		if err != nil {
			t.Fatal(err)
		}
		granted := begin(ctx, clients[1], "exclude")
		time.Sleep(20 * time.Millisecond) // so that most runs see a wait
		releasing := time.Now()
		if err := h.release(ctx); err != nil {
			t.Fatal(err)
		}
		g := <-granted
		if g.err != nil {
			t.Fatal(g.err)
		}
		if g.at.Before(releasing) {
			t.Error("two clients had the lock")
		}
		if err := g.release(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestCostIsCounted(t *testing.T) {
	forEach(t, func(ctx context.Context, t *testing.T, x target) {
		figures, err := cost(ctx, x)
		if err != nil {
			t.Fatal(err)
		}
		if requests := figures[0]; requests < 1.9 {
			t.Errorf("%v requests for each hold; one to acquire and one to release are the least", requests)
		}
		if connections := figures[1]; connections < 1 {
			t.Errorf("a client has %v connections", connections)
		}
	})
}
