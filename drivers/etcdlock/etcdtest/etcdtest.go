// Package etcdtest runs clusters of etcd for tests: on free loopback ports, with their data in
// memory where the system has such a file system. The program etcd must be installed.
package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// A Cluster is a number of etcd servers. Its methods may be called concurrently, but not for the
// same member.
type Cluster struct {
	dir     string
	members []*member
}

type member struct {
	client, peer string // host:port
	secure       string // host:port that serves clients by TLS; "" if there is none
	args         []string
	log          string

	mu      sync.Mutex
	process *exec.Cmd // nil while it does not run
}

// Available returns an error if the program etcd is not installed.
func Available() error {
	_, err := exec.LookPath("etcd")
	return err
}

// Start starts a cluster with so many members, and args for each of them, and waits until it
// serves. Stop has to be called. With --cert-file among args the members serve by TLS too.
func Start(ctx context.Context, members int, args ...string) (*Cluster, error) {
	if err := Available(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(memory(), "etcdtest-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir}
	if err := c.plan(members, args); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	for i := range c.members {
		if err := c.Restart(i); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
	}
	if err := c.Await(ctx); err != nil {
		return nil, errors.Join(err, c.logs(), c.Stop())
	}
	return c, nil
}

// Run starts a cluster for a test, which it skips if etcd is not installed.
func Run(t testing.TB, members int, args ...string) *Cluster {
	t.Helper()
	if err := Available(); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := Start(ctx, members, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// memory returns a directory in memory, or "" if there is none.
func memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// plan chooses the ports and the arguments of the members.
func (c *Cluster) plan(members int, args []string) error {
	ports, err := freePorts(3 * members)
	if err != nil {
		return err
	}
	var peers []string
	for i := range members {
		peers = append(peers, fmt.Sprintf("m%d=http://%s", i, ports[3*i+1]))
	}
	for i := range members {
		m := &member{client: ports[3*i], peer: ports[3*i+1], log: filepath.Join(c.dir, fmt.Sprintf("m%d.log", i))}
		listen := "http://" + m.client
		if slices.Contains(args, "--cert-file") {
			m.secure = ports[3*i+2]
			listen += ",https://" + m.secure
		}
		m.args = append([]string{
			"--name", fmt.Sprintf("m%d", i),
			"--data-dir", filepath.Join(c.dir, fmt.Sprintf("m%d", i)),
			"--listen-client-urls", listen,
			"--advertise-client-urls", "http://" + m.client,
			"--listen-peer-urls", "http://" + m.peer,
			"--initial-advertise-peer-urls", "http://" + m.peer,
			"--initial-cluster", strings.Join(peers, ","),
			"--initial-cluster-token", filepath.Base(c.dir),
			"--logger", "zap", "--log-outputs", m.log, "--log-level", "warn",
		}, args...)
		c.members = append(c.members, m)
	}
	return nil
}

func freePorts(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // only when all are chosen, so that they differ
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// Await waits until every member serves.
func (c *Cluster) Await(ctx context.Context) error {
	for i := range c.members {
		if err := c.awaitMember(ctx, i); err != nil {
			return fmt.Errorf("etcd does not serve at %s: %w", c.members[i].client, err)
		}
	}
	return nil
}

func (c *Cluster) awaitMember(ctx context.Context, i int) error {
	client, err := NewClient(c.members[i].client)
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		try, cancel := context.WithTimeout(ctx, time.Second)
		_, err := client.Get(try, "health")
		cancel()
		if errors.Is(err, rpctypes.ErrUserEmpty) { // which it says once it has a quorum
			return nil
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// NewClient returns a client that writes no log.
func NewClient(endpoints ...string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
}

// Endpoints returns host:port of each member.
func (c *Cluster) Endpoints() (endpoints []string) {
	for _, m := range c.members {
		endpoints = append(endpoints, m.client)
	}
	return endpoints
}

// SecureEndpoints returns host:port of each member where it serves by TLS.
func (c *Cluster) SecureEndpoints() (endpoints []string) {
	for _, m := range c.members {
		endpoints = append(endpoints, m.secure)
	}
	return endpoints
}

// Client returns a client of all members, which the test's end closes.
func (c *Cluster) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	client, err := NewClient(c.Endpoints()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// Leader returns the index of the leader, as soon as there is one.
func (c *Cluster) Leader(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		for i, m := range c.members {
			if c.PID(i) != 0 && m.leads(ctx) {
				return i, nil
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return 0, errors.New("etcd has no leader")
}

// leads reports whether the member says that it is the leader.
func (m *member) leads(ctx context.Context) bool {
	client, err := NewClient(m.client)
	if err != nil {
		return false
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	status, err := client.Status(ctx, m.client)
	return err == nil && status.Leader != 0 && status.Leader == status.Header.MemberId
}

// PID returns the process of a member, or 0 if it does not run.
func (c *Cluster) PID(i int) int {
	m := c.members[i]
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil {
		return 0
	}
	return m.process.Process.Pid
}

// Kill kills a member. Its data stays.
func (c *Cluster) Kill(i int) error {
	m := c.members[i]
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil {
		return nil
	}
	err := m.process.Process.Kill()
	m.process.Wait()
	m.process = nil
	return err
}

// Restart starts a member that does not run.
func (c *Cluster) Restart(i int) error {
	m := c.members[i]
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil {
		return fmt.Errorf("etcd at %s runs", m.client)
	}
	cmd := exec.Command("etcd", m.args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "ETCD_UNSUPPORTED_ARCH="+runtime.GOARCH)
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return err
	}
	m.process = cmd
	return nil
}

// Wipe deletes the data of a member that does not run.
func (c *Cluster) Wipe(i int) error {
	return os.RemoveAll(filepath.Join(c.dir, fmt.Sprintf("m%d", i)))
}

// Stop ends all members and deletes all data.
func (c *Cluster) Stop() error {
	var errs []error
	for i := range c.members {
		errs = append(errs, c.Kill(i))
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// logs returns what the members have written, as an error.
func (c *Cluster) logs() error {
	var errs []error
	for _, m := range c.members {
		text, _ := os.ReadFile(m.log)
		errs = append(errs, fmt.Errorf("%s: %s", filepath.Base(m.log), text))
	}
	return errors.Join(errs...)
}
