package etcdlock

import (
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/etcdlock/etcdtest"
)

// Between openGate and the transaction another request may find the gate gone. A transaction without a
// gate could not be withdrawn.
func TestNoKeyIsCreatedWithoutAGate(t *testing.T) {
	client := etcdtest.Run(t, 1).Client(t)
	s, err := Dial(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n, _ := s.knownSession()
	for _, noWait := range []bool{false, true} {
		q := n.newRequest(driver.Request{Name: "a", NoWait: noWait})
		if _, err := client.Delete(t.Context(), n.gateKey()); err != nil {
			t.Fatal(err)
		}
		n.gate.Store(0)
		if done, err := q.tryEnqueue(t.Context()); done || err != nil {
			t.Errorf("noWait %v: done %v, error %v", noWait, done, err)
		}
		if got, err := client.Get(t.Context(), q.key); err != nil || got.Count != 0 {
			t.Errorf("noWait %v: the key is there: %v, %v", noWait, got, err)
		}
		if err := q.enqueue(t.Context()); err != nil {
			t.Errorf("noWait %v: %v", noWait, err)
		}
		if _, err := client.Delete(t.Context(), q.key); err != nil {
			t.Fatal(err)
		}
	}
}

// A request that is too large is not sent, so nothing has to be withdrawn, which would be too large as well.
func TestNameThatIsTooLongLeavesNothing(t *testing.T) {
	s, err := Dial(t.Context(), etcdtest.Run(t, 1).Client(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, length := range []int{550 << 10, 1 << 20} { // the server refuses one, the client the other
		_, err := s.Acquire(t.Context(), driver.Request{Name: strings.Repeat("x", length)})
		if err == nil || !strings.Contains(err.Error(), "larg") {
			t.Errorf("%d bytes: %v", length, err)
		}
		n, _ := s.knownSession()
		if len(n.free) != n.used {
			t.Errorf("%d bytes: the key may be at the server", length)
		}
	}
}

func TestARequestThatMayHaveBeenCarriedOutIsNotRefused(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{status.Error(codes.ResourceExhausted, "trying to send message larger than max (3 vs. 2)"), true},
		{status.Error(codes.ResourceExhausted, "RST_STREAM with error code: ENHANCE_YOUR_CALM"), false},
		{status.Error(codes.Unavailable, "connection refused"), false},
		{rpctypes.ErrNoSpace, false},
		{rpctypes.ErrRequestTooLarge, true},
	} {
		if got := refused(c.err); got != c.want {
			t.Errorf("refused(%v) = %t", c.err, got)
		}
	}
}
