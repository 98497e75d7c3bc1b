package etcdlock_test

import (
	"context"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/drivertest"
	"github.com/lockutils/lockutils/drivers/etcdlock"
	"github.com/lockutils/lockutils/drivers/etcdlock/etcdtest"
)

// ttl is that of the suite: etcd does not grant less than 2 s.
const ttl = 3 * time.Second

// opener returns a function that opens Services of one namespace, each with a client and a proxy of
// its own.
func opener(c *etcdtest.Cluster) func(t *testing.T) driver.Service {
	return func(t *testing.T) driver.Service {
		proxy := drivertest.NewProxy()
		t.Cleanup(func() { proxy.Close() })
		client := proxied(t, c, proxy)
		s, err := etcdlock.Dial(t.Context(), client, etcdlock.WithTTL(ttl), etcdlock.WithNamespace("suite"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		direct := c.Client(t)
		return drivertest.Process{
			Service: s, Link: proxy, TTL: ttl,
			Requests: func(name string) int { return keys(t, direct, "suite", name) },
		}
	}
}

// proxied returns a client that reaches the cluster through the proxy.
func proxied(
	t *testing.T, c *etcdtest.Cluster, proxy *drivertest.Proxy, opts ...grpc.DialOption,
) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: c.Endpoints(),
		Logger:    zap.NewNop(),
		DialOptions: append(opts, grpc.WithContextDialer(
			func(ctx context.Context, addr string) (net.Conn, error) { return proxy.Dial(ctx, "tcp", addr) },
		)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// keys returns how many requests for the lock are at the server.
func keys(t *testing.T, client *clientv3.Client, namespace, name string) int {
	prefix := namespace + ":" + url.QueryEscape(name) + "/"
	got, err := client.Get(context.Background(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		if !strings.Contains(err.Error(), "closing") {
			t.Error(err)
		}
		return -1
	}
	return int(got.Count)
}

func TestSuite(t *testing.T) {
	drivertest.TestService(t, opener(server(t)))
}

func TestProcessesPassTheSuite(t *testing.T) {
	drivertest.TestProcesses(t,
		func(t *testing.T) string { return server(t).Endpoints()[0] },
		func(t *testing.T, endpoint string) driver.Service {
			client, err := etcdtest.NewClient(endpoint)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { client.Close() })
			return dial(t, client, etcdlock.WithNamespace("processes"))
		})
}

func TestFlawsAreCaught(t *testing.T) {
	drivertest.TestFlaws(t, opener(server(t)))
}
