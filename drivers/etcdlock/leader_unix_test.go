//go:build unix

package etcdlock_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/etcdlock"
	"github.com/lockutils/lockutils/drivers/etcdlock/etcdtest"
)

// A leader that is stopped keeps its connections. Others elect a new one, and the hold is kept or
// its loss is told before the next process has the lock.
func TestLeaderStopped(t *testing.T) {
	cluster := etcdtest.Run(t, 3)
	client := cluster.Client(t)
	s := dial(t, client, etcdlock.WithTTL(6*time.Second))
	other := dial(t, client, etcdlock.WithTTL(6*time.Second))
	h := acquire(t, s, "held")
	next := make(chan driver.Hold, 1)
	go func() { next <- acquire(t, other, "held") }()
	for keys(t, client, "lockutils", "held") < 2 {
		time.Sleep(time.Millisecond)
	}
	i, err := cluster.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leader := cluster.PID(i)
	if err := syscall.Kill(leader, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	release(t, acquire(t, other, "free")) // waits resume
	if err := syscall.Kill(leader, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	select {
	case n := <-next:
		if !lost(h) {
			t.Error("the next process has the lock, and the holder was not told")
		}
		release(t, n)
	default:
		if err := h.Release(t.Context()); err != nil && !errors.Is(err, driver.ErrLost) {
			t.Error(err)
		}
		release(t, <-next)
	}
}
