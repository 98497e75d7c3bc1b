package etcdlock_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/driver/boottime"
	"github.com/lockutils/lockutils/drivers/drivertest"
	"github.com/lockutils/lockutils/drivers/etcdlock"
	"github.com/lockutils/lockutils/drivers/etcdlock/etcdtest"
)

// dial returns a Service, which the test's end closes.
func dial(t *testing.T, client *clientv3.Client, opts ...etcdlock.Option) *etcdlock.Service {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := etcdlock.Dial(ctx, client, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func acquire(t *testing.T, s driver.Service, name string) driver.Hold {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h, err := s.Acquire(ctx, driver.Request{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func release(t *testing.T, h driver.Hold) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := h.Release(ctx); err != nil {
		t.Error(err)
	}
}

func await(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		t.Fatalf("%s did not happen", what)
	}
}

// wants fails the test unless err contains all parts.
func wants(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Fatalf("error %q, want one with %q", err, part)
		}
	}
}

// refused fails the test unless a lock at the service is refused with an error that names both and
// contains all parts. It returns the error.
func refused(t *testing.T, s driver.Service, parts ...string) error {
	t.Helper()
	_, err := lockutils.LockContext(t.Context(), "refused", lockutils.On(s))
	var failed *lockutils.AcquireError
	if !errors.As(err, &failed) || failed.Service != "etcd" || !strings.HasSuffix(failed.Name, "refused") {
		t.Fatalf("error %#v, want an AcquireError of the lock at etcd", err)
	}
	wants(t, err, parts...)
	return err
}

// served fails the test unless the service has the lock free that was refused.
func served(t *testing.T, s driver.Service) {
	t.Helper()
	g, err := lockutils.Lock("refused", lockutils.On(s), lockutils.WithTimeout(time.Minute))
	if err == nil {
		err = g.Unlock()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDialSaysWhatItTried(t *testing.T) {
	const nobody = "127.0.0.1:1"
	client, err := etcdtest.NewClient(nobody)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	err = dialFails(t, client, 300*time.Millisecond, "etcd", nobody, "refused")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v does not match the error of ctx", err)
	}
}

// dialFails fails the test unless Dial, for so long or longer, ends with an error that contains all parts.
// A slow machine needs more time for what the error tells of. It returns the error.
func dialFails(t *testing.T, client *clientv3.Client, limit time.Duration, parts ...string) error {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		s, err := etcdlock.Dial(ctx, client)
		cancel()
		if err == nil {
			s.Close()
			t.Fatal("Dial succeeded")
		}
		missing := func(part string) bool { return !strings.Contains(err.Error(), part) }
		if limit > time.Minute || !slices.ContainsFunc(parts, missing) {
			wants(t, err, parts...)
			return err
		}
		limit *= 2
	}
}

func TestDialRefusesBadInput(t *testing.T) {
	if _, err := etcdlock.Dial(t.Context(), nil); err == nil {
		t.Error("a nil client was accepted")
	}
	client := server(t).Client(t)
	for _, ttl := range []time.Duration{0, -1, 999 * time.Millisecond} {
		_, err := etcdlock.Dial(t.Context(), client, etcdlock.WithTTL(ttl))
		wants(t, err, "TTL", ttl.String())
	}
	_, err := etcdlock.Dial(t.Context(), client, etcdlock.WithTTL(math.MaxInt64))
	wants(t, err, "etcd", "too large lease TTL", time.Duration(math.MaxInt64).String())
}

func TestServiceThatIsNotFromDialIsAnError(t *testing.T) {
	for _, s := range []*etcdlock.Service{nil, new(etcdlock.Service)} {
		if _, err := s.Acquire(t.Context(), driver.Request{Name: "a"}); err == nil {
			t.Error("it granted a lock")
		}
		if _, err := s.Inspect(t.Context()); err == nil {
			t.Error("it told who has its locks")
		}
		if err := s.Close(); err == nil {
			t.Error("it was closed")
		}
		if s.Name() != "etcd" || !s.Can().Has(driver.Fenced) {
			t.Error("it does not say what it is")
		}
	}
	refused(t, new(etcdlock.Service), "not from Dial")
}

func TestShortTTLIsKept(t *testing.T) {
	s := dial(t, server(t).Client(t), etcdlock.WithTTL(time.Second))
	renewed := false
	for begun := time.Now(); !renewed; { // a busy machine may lose it before
		if time.Since(begun) > time.Minute {
			t.Fatal("no hold was renewed")
		}
		h := acquire(t, s, "short")
		for first := h.Deadline(); !renewed && !lost(h); time.Sleep(10 * time.Millisecond) {
			renewed = h.Deadline() > first
		}
		// etcd grants two seconds. Others may count on the one that was asked for.
		if left := h.Deadline() - boottime.Now(); left > time.Second-drivertest.Margin(time.Second) {
			t.Errorf("the deadline is in %v", left)
		}
		if err := h.Release(t.Context()); err != nil && !errors.Is(err, driver.ErrLost) {
			t.Error(err)
		}
	}
}

func lost(h driver.Hold) bool {
	select {
	case <-h.Lost():
		return true
	default:
		return false
	}
}

func TestNamespacesNest(t *testing.T) {
	client := server(t).Client(t)
	type lock struct{ namespace, name string }
	locks := []lock{
		{"n", "b/c"}, {"n/b", "c"}, {"n", ""}, {"n/", ""}, {"n:", ""}, {"n", ":"}, {"n:b", "c"}, {"n", "b:c"},
		{"n", "b"}, {"n/b", ""}, {"", "n"}, {"", "n:"}, {"n%3A", ""}, {"n!", "x"}, {"n", "!x"},
		{"n\x00", ""}, {"n\xff", ""},
	}
	for _, l := range locks {
		s := dial(t, client, etcdlock.WithNamespace(l.namespace))
		h, err := s.Acquire(t.Context(), driver.Request{Name: l.name, NoWait: true})
		if err != nil {
			t.Fatalf("%q in %q: %v", l.name, l.namespace, err)
		}
		defer release(t, h)
	}
	for _, l := range locks {
		s := dial(t, client, etcdlock.WithNamespace(l.namespace))
		_, err := s.Acquire(t.Context(), driver.Request{Name: l.name, NoWait: true})
		if !errors.Is(err, driver.ErrLocked) {
			t.Errorf("%q in %q a second time: %v", l.name, l.namespace, err)
		}
	}
}

func TestHoldsAndRequestsEndWithTheLease(t *testing.T) {
	client := server(t).Client(t)
	s, other := dial(t, client, etcdlock.WithTTL(6*time.Second)), dial(t, client)
	held, blocker := acquire(t, s, "revoked"), acquire(t, other, "awaited")
	waiter := make(chan driver.Hold, 1)
	go func() { waiter <- acquire(t, s, "awaited") }()
	for keys(t, client, "lockutils", "awaited") < 2 {
		time.Sleep(time.Millisecond)
	}

	got, err := client.Get(t.Context(), "lockutils:revoked/", clientv3.WithPrefix())
	if err != nil || len(got.Kvs) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := client.Revoke(t.Context(), clientv3.LeaseID(got.Kvs[0].Lease)); err != nil {
		t.Fatal(err)
	}
	await(t, held.Lost(), "the news of the loss")
	if err := held.Release(t.Context()); !errors.Is(err, driver.ErrLost) {
		t.Errorf("release of a lost hold: %v", err)
	}
	for keys(t, client, "lockutils", "awaited") < 2 { // the request is made again
		time.Sleep(time.Millisecond)
	}
	release(t, blocker)
	h := <-waiter
	if h.Token() <= blocker.Token() {
		t.Errorf("token %d after %d", h.Token(), blocker.Token())
	}
	release(t, h)
	release(t, acquire(t, s, "revoked"))
}

// A slowKV keeps the first Put on its way, before or after etcd carries it out, until all leases have
// ended.
type slowKV struct {
	clientv3.KV
	client        *clientv3.Client
	before, after sync.Once
}

func (k *slowKV) awaitNoLease() {
	for {
		if leases, err := k.client.Leases(context.Background()); err == nil && len(leases.Leases) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (k *slowKV) Put(
	ctx context.Context, key, value string, opts ...clientv3.OpOption,
) (*clientv3.PutResponse, error) {
	k.before.Do(k.awaitNoLease)
	reply, err := k.KV.Put(context.WithoutCancel(ctx), key, value, opts...)
	k.after.Do(k.awaitNoLease)
	return reply, err
}

func TestSessionThatEndsWhileItIsOpenedIsReplaced(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		t.Run("the lease ends "+when+" etcd has the key", func(t *testing.T) {
			client := etcdtest.Run(t, 1).Client(t)
			kv := &slowKV{KV: client.KV, client: client}
			if when == "before" {
				kv.after.Do(func() {})
			} else {
				kv.before.Do(func() {})
			}
			client.KV = kv
			s := dial(t, client, etcdlock.WithTTL(ttl))
			h, err := s.Acquire(t.Context(), driver.Request{Name: "a", NoWait: true})
			if err != nil {
				t.Fatal(err)
			}
			release(t, h)
		})
	}
}

func TestDeletedKeyIsALostHold(t *testing.T) {
	client := server(t).Client(t)
	s := dial(t, client)
	h := acquire(t, s, "deleted")
	if _, err := client.Delete(t.Context(), "lockutils:deleted/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	if err := h.Release(t.Context()); !errors.Is(err, driver.ErrLost) || !lost(h) {
		t.Errorf("release: %v, lost: %v", err, lost(h))
	}
}

func TestClosedClientIsAnError(t *testing.T) {
	client, err := etcdtest.NewClient(server(t).Endpoints()...)
	if err != nil {
		t.Fatal(err)
	}
	s := dial(t, client, etcdlock.WithTTL(2*time.Second))
	h := acquire(t, s, "closed")
	client.Close()
	refused(t, s, "client is closed")
	_, err = s.Acquire(t.Context(), driver.Request{Name: "other", NoWait: true})
	wants(t, err, "etcd", "client is closed")
	await(t, h.Lost(), "the news of the loss")
	if err := s.Close(); err != nil {
		t.Errorf("close once everything is lost: %v", err)
	}
}

// The client would connect again an hour after it has failed to.
func TestServiceIsOfUseAsSoonAsEtcdCanBeReached(t *testing.T) {
	proxy := drivertest.NewProxy()
	t.Cleanup(func() { proxy.Close() })
	client := proxied(t, server(t), proxy, grpc.WithConnectParams(grpc.ConnectParams{
		Backoff: backoff.Config{BaseDelay: time.Hour, Multiplier: 1, MaxDelay: time.Hour},
	}))
	s := dial(t, client, etcdlock.WithTTL(ttl))
	h := acquire(t, s, "cut")
	proxy.Cut()
	await(t, h.Lost(), "the news of the loss")
	proxy.Mend()
	release(t, acquire(t, s, "cut"))
}

func TestClosedServiceIsAnError(t *testing.T) {
	s := dial(t, server(t).Client(t))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	refused(t, s, "service is closed")
}

func TestCredentialsAreChecked(t *testing.T) {
	cluster := etcdtest.Run(t, 1)
	setup := cluster.Client(t)
	ctx := t.Context()
	for _, err := range []error{
		second(setup.UserAdd(ctx, "root", "secret")), second(setup.UserGrantRole(ctx, "root", "root")),
		second(setup.RoleAdd(ctx, "locks")), second(setup.UserAdd(ctx, "worker", "secret")),
		second(setup.RoleGrantPermission(ctx, "locks", "mine", "minf",
			clientv3.PermissionType(clientv3.PermReadWrite))),
		second(setup.UserGrantRole(ctx, "worker", "locks")), second(setup.AuthEnable(ctx)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	as := func(user, password string) *clientv3.Client {
		client, err := clientv3.New(clientv3.Config{
			Endpoints: cluster.Endpoints(), Username: user, Password: password, Logger: zap.NewNop(),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return client
	}
	admin := as("root", "secret")
	// The client itself refuses a wrong password.
	_, err := clientv3.New(clientv3.Config{
		Endpoints: cluster.Endpoints(), Username: "worker", Password: "wrong", Logger: zap.NewNop(),
	})
	wants(t, err, "authentication failed")
	_, err = etcdlock.Dial(ctx, as("worker", "secret"), etcdlock.WithNamespace("theirs"))
	wants(t, err, "etcd", "permission denied")
	_, err = etcdlock.Dial(ctx, cluster.Client(t))
	wants(t, err, "etcd", "user name is empty")
	s := dial(t, as("worker", "secret"), etcdlock.WithNamespace("mine"))
	h := acquire(t, s, "a")
	for deadline := h.Deadline(); h.Deadline() == deadline; time.Sleep(10 * time.Millisecond) {
		if lost(h) {
			t.Fatal("the lock was lost")
		}
	}
	release(t, h)

	if err := second(admin.UserRevokeRole(ctx, "worker", "locks")); err != nil {
		t.Fatal(err)
	}
	refused(t, s, "permission denied")
	if err := second(admin.UserGrantRole(ctx, "worker", "locks")); err != nil {
		t.Fatal(err)
	}
	served(t, s)
	if err := second(admin.UserChangePassword(ctx, "worker", "other")); err != nil {
		t.Fatal(err)
	}
	refused(t, s, "authentication failed")
}

// An expiringStream accepts one watch, and refuses others as etcd does when the token has expired with
// which the stream was opened.
type expiringStream struct {
	grpc.ClientStream
	used bool
}

func (s *expiringStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if reply := m.(*pb.WatchResponse); err == nil && reply.Created {
		if s.used {
			reply.WatchId, reply.Canceled = clientv3.InvalidWatchID, true
			reply.CancelReason = rpctypes.ErrGRPCInvalidAuthToken.Error()
		}
		s.used = true
	}
	return err
}

func TestWaitOutlastsTheTokenOfAStream(t *testing.T) {
	var streams atomic.Int32
	client := intercepted(t, func(
		ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
		streamer grpc.Streamer, opts ...grpc.CallOption,
	) (grpc.ClientStream, error) {
		s, err := streamer(ctx, desc, cc, method, opts...)
		if method == "/etcdserverpb.Watch/Watch" {
			streams.Add(1)
			s = &expiringStream{ClientStream: s}
		}
		return s, err
	})
	s, blocker := dial(t, client), dial(t, server(t).Client(t))
	var holds []driver.Hold
	var waiters []<-chan driver.Hold
	for i := range 2 {
		name := fmt.Sprint("token ", i)
		holds = append(holds, acquire(t, blocker, name))
		granted := make(chan driver.Hold, 1)
		go func() {
			defer close(granted)
			granted <- acquire(t, s, name)
		}()
		waiters = append(waiters, granted)
		for int(streams.Load()) <= i && !t.Failed() { // the second watch needs a second stream
			time.Sleep(time.Millisecond)
		}
	}
	for i := range holds {
		release(t, holds[i])
		for h := range waiters[i] {
			release(t, h)
		}
	}
}

// intercepted returns a client whose streams pass through f.
func intercepted(t *testing.T, f grpc.StreamClientInterceptor) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: server(t).Endpoints(), Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithChainStreamInterceptor(f)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func second[T any](_ T, err error) error { return err }

func TestFullServer(t *testing.T) {
	cluster := etcdtest.Run(t, 1, "--quota-backend-bytes", "1000000")
	client := cluster.Client(t)
	ctx := t.Context()
	s := dial(t, client)
	held := acquire(t, s, "held")
	value := strings.Repeat("x", 100_000)
	var err error
	for i := 0; err == nil && i < 100; i++ {
		_, err = client.Put(ctx, "filler", value)
	}
	wants(t, err, "space")

	refused(t, s, "space exceeded")
	_, err = etcdlock.Dial(ctx, client)
	wants(t, err, "etcd", "space exceeded")
	release(t, held)
	if n := keys(t, client, "lockutils", "refused") + keys(t, client, "lockutils", "held"); n != 0 {
		t.Errorf("%d keys are left", n)
	}

	status, err := client.Status(ctx, cluster.Endpoints()[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		second(client.Compact(ctx, status.Header.Revision, clientv3.WithCompactPhysical())),
		second(client.Defragment(ctx, cluster.Endpoints()[0])),
		second(client.AlarmDisarm(ctx, &clientv3.AlarmMember{})),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	served(t, s)
}

func TestServerWithoutItsData(t *testing.T) {
	cluster := etcdtest.Run(t, 1)
	s := dial(t, cluster.Client(t), etcdlock.WithTTL(3*time.Second))
	h := acquire(t, s, "a")
	restart(t, cluster, 0, cluster.Wipe)
	await(t, h.Lost(), "the news of the loss")
	if err := h.Release(t.Context()); !errors.Is(err, driver.ErrLost) {
		t.Errorf("release: %v", err)
	}
	release(t, acquire(t, s, "a"))
}

func TestHoldSurvivesARestart(t *testing.T) {
	cluster := etcdtest.Run(t, 1)
	s := dial(t, cluster.Client(t))
	h := acquire(t, s, "a")
	restart(t, cluster, 0, func(int) error { return nil })
	if lost(h) {
		t.Error("the hold was lost")
	}
	release(t, h)
}

// restart kills a member, calls meanwhile, and starts it again.
func restart(t *testing.T, c *etcdtest.Cluster, i int, meanwhile func(i int) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := errors.Join(c.Kill(i), meanwhile(i), c.Restart(i), c.Await(ctx)); err != nil {
		t.Fatal(err)
	}
}

func TestWithoutQuorum(t *testing.T) {
	cluster := etcdtest.Run(t, 3)
	client := cluster.Client(t)
	s := dial(t, client, etcdlock.WithTTL(6*time.Second))
	leader, err := cluster.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	others := []int{(leader + 1) % 3, (leader + 2) % 3}
	for _, i := range others {
		if err := cluster.Kill(i); err != nil {
			t.Fatal(err)
		}
	}
	err = dialFails(t, client, 1500*time.Millisecond, "etcd", cluster.Endpoints()[0], "the last try")
	if strings.Contains(err.Error(), "canceled") {
		t.Errorf("a try that took too long is called cancelled: %v", err)
	}
	_, err = s.Acquire(t.Context(), driver.Request{Name: "a", NoWait: true})
	wants(t, err, "etcd", "no answer")
	if errors.Is(err, driver.ErrLocked) {
		t.Error("a service without quorum knows that a lock is taken")
	}
	waiter := make(chan driver.Hold, 1)
	go func() { waiter <- acquire(t, s, "a") }()
	for _, i := range others {
		if err := cluster.Restart(i); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case h := <-waiter:
		release(t, h)
	case <-time.After(time.Minute):
		t.Fatal("nothing was granted when the quorum was back")
	}
}

// A tappedKV passes each transaction to commit, with the function that commits it.
type tappedKV struct {
	clientv3.KV
	commit func(ctx context.Context, do doCommit) (*clientv3.TxnResponse, error)
}

type doCommit func() (*clientv3.TxnResponse, error)

func (k *tappedKV) Txn(ctx context.Context) clientv3.Txn {
	return &tappedTxn{Txn: k.KV.Txn(context.WithoutCancel(ctx)), kv: k, ctx: ctx}
}

type tappedTxn struct {
	clientv3.Txn
	kv  *tappedKV
	ctx context.Context
}

func (t *tappedTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { t.Txn = t.Txn.If(cs...); return t }
func (t *tappedTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(ops...); return t }
func (t *tappedTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(ops...); return t }

func (t *tappedTxn) Commit() (*clientv3.TxnResponse, error) {
	return t.kv.commit(t.ctx, t.Txn.Commit)
}

// A transaction reaches etcd after its request was withdrawn. It must not create a key, which would
// stay as long as the Service.
func TestLateTransactionCreatesNothing(t *testing.T) {
	client := server(t).Client(t)
	s := dial(t, client)
	late := make(chan doCommit, 1)
	withdrawn := make(chan struct{}, 10)
	requested, cancel := context.WithCancel(t.Context())
	defer cancel()
	client.KV = &tappedKV{client.KV, func(ctx context.Context, do doCommit) (*clientv3.TxnResponse, error) {
		select {
		case late <- do:
			cancel()
			<-ctx.Done()
			return nil, ctx.Err()
		default:
			defer func() { withdrawn <- struct{}{} }()
			return do()
		}
	}}
	if _, err := s.Acquire(requested, driver.Request{Name: "late"}); !errors.Is(err, context.Canceled) {
		t.Fatalf("acquire: %v", err)
	}
	await(t, withdrawn, "the withdrawal")
	commit := <-late
	late <- nil // from now on all pass
	if reply, err := commit(); err != nil || reply.Succeeded {
		t.Fatalf("the late transaction returned %v, %v", reply, err)
	}
	if n := keys(t, client, "lockutils", "late"); n != 0 {
		t.Fatalf("%d keys are left", n)
	}
	release(t, acquire(t, s, "late"))
}

// A lateKV keeps the first deletion back, and lets its caller wait for an answer.
type lateKV struct {
	clientv3.KV
	late chan func() (*clientv3.DeleteResponse, error) // has room for one
}

func (k *lateKV) Delete(
	ctx context.Context, key string, opts ...clientv3.OpOption,
) (*clientv3.DeleteResponse, error) {
	do := func() (*clientv3.DeleteResponse, error) {
		return k.KV.Delete(context.WithoutCancel(ctx), key, opts...)
	}
	select {
	case k.late <- do:
		<-ctx.Done()
		return nil, ctx.Err()
	default:
		return do()
	}
}

// The deletion that releases a hold reaches etcd after it was repeated. It must not free the lock, which
// the Service has acquired again.
func TestLateReleaseFreesNoLaterHold(t *testing.T) {
	client := server(t).Client(t)
	s := dial(t, client)
	kv := &lateKV{client.KV, make(chan func() (*clientv3.DeleteResponse, error), 1)}
	client.KV = kv
	release(t, acquire(t, s, "again"))
	h := acquire(t, s, "again")
	reply, err := (<-kv.late)()
	kv.late <- nil // from now on all pass
	if err != nil || reply.Deleted != 0 {
		t.Fatalf("the late deletion returned %v, %v", reply, err)
	}
	release(t, h)
}

// The transaction that exhausts the space of etcd is carried out and refused.
func TestTransactionThatExhaustsTheSpaceIsUndone(t *testing.T) {
	client := server(t).Client(t)
	s := dial(t, client)
	var exhausted sync.Once
	client.KV = &tappedKV{client.KV, func(_ context.Context, do doCommit) (*clientv3.TxnResponse, error) {
		reply, err := do()
		exhausted.Do(func() { reply, err = nil, rpctypes.ErrNoSpace })
		return reply, err
	}}
	_, err := s.Acquire(t.Context(), driver.Request{Name: "last"})
	wants(t, err, "etcd", "space exceeded")
	release(t, acquire(t, s, "last"))
	for keys(t, client, "lockutils", "last") > 0 {
		time.Sleep(time.Millisecond)
	}
}
