package redislock

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/redis/rueidis"
)

// Dial connects to the server, or to the Sentinels or the Cluster, that option says. It repeats
// that until ctx ends, or for the TTL if ctx has no deadline, and then returns an error that says
// what it tried and the last failure. An answer of the server that is an error ends it at once.
//
// Dial fails if the server may evict locks: if it has maxmemory and a maxmemory-policy other than
// noeviction. It acquires, renews and releases a lock of its own, so that missing rights show at
// once.
//
// Dial sets the fields of option about pipelining, multiplexing, retries, caching and replicas
// itself, and shortens timeouts of more than a sixth of the TTL. ReplicaOnly and AlwaysRESP2 are
// refused.
func Dial(ctx context.Context, option rueidis.ClientOption, opts ...Option) (*Service, error) {
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	if err := checkOption(option); err != nil {
		return nil, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.ttl)
		defer cancel()
	}
	s := newService(c, describe(option))
	var last error
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := s.connect(ctx, option)
		switch {
		case err == nil:
			return s, nil
		case isFinal(err):
			return nil, s.failure(err)
		case last == nil || ctx.Err() == nil: // not what the end of ctx has caused
			last = err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, fmt.Errorf("redislock: no connection to %s: %w (%w)", s.where, last, context.Cause(ctx))
		}
	}
}

// errUnfit is matched by errors about servers that are not fit to keep locks.
var errUnfit = errors.New("not fit to keep locks")

// isFinal reports whether Dial would fail with the same error again.
func isFinal(err error) bool {
	if errors.Is(err, errUnfit) || errors.As(err, new(*replicasError)) {
		return true
	}
	answer := kind(err)
	return answer != "" && answer != "LOADING"
}

func checkOption(o rueidis.ClientOption) error {
	switch {
	case len(o.InitAddress) == 0:
		return errors.New("redislock: InitAddress is empty")
	case o.ReplicaOnly:
		return errors.New("redislock: ReplicaOnly: only a primary can keep locks")
	case o.AlwaysRESP2:
		return errors.New("redislock: AlwaysRESP2: wake-ups need RESP3")
	}
	return nil
}

// describe returns what a Service connects to.
func describe(o rueidis.ClientOption) string {
	where := strings.Join(o.InitAddress, ", ")
	if set := o.Sentinel.MasterSet; set != "" {
		return fmt.Sprintf("%s (Sentinels of %s)", where, set)
	}
	return where
}

// connect makes the client, checks the server and starts the loops. Nothing is left after an error.
func (s *Service) connect(ctx context.Context, option rueidis.ClientOption) (err error) {
	d := &dialer{ctx: ctx, option: option}
	client, err := rueidis.NewClient(s.adjust(option, d))
	if err != nil {
		return err
	}
	s.client = client
	defer func() {
		if err != nil {
			client.Close()
			s.client = nil
		}
	}()
	s.most = "2" // one of them may be a process that stands still
	for addr, node := range client.Nodes() {
		info, err := readInfo(ctx, node)
		if err == nil {
			err = checkServer(info)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", addr, err)
		}
		if info["cluster_enabled"] == "1" {
			s.most = "1000000" // a node of a Cluster does not know who hears at others
		}
	}
	if err := s.rehearse(ctx); err != nil {
		return err
	}
	first := make(chan error, 1)
	s.loops.Go(func() { s.wakeups.listenFor(first) })
	if err := <-first; err != nil {
		close(s.closing)
		s.loops.Wait()
		s.closing = make(chan struct{})
		return err
	}
	s.loops.Go(s.leases.keep)
	d.done()
	return nil
}

// adjust returns the option for a client with one connection for commands, which repeats nothing by
// itself. Commands that overlap are pipelined; those that do not save the goroutines for that.
func (s *Service) adjust(o rueidis.ClientOption, d *dialer) rueidis.ClientOption {
	shorter := func(d, otherwise time.Duration) time.Duration {
		if d <= 0 {
			d = otherwise
		}
		return min(d, s.tryTime())
	}
	o.Dialer.Timeout = shorter(o.Dialer.Timeout, rueidis.DefaultDialTimeout)
	o.Dialer.KeepAlive = shorter(o.Dialer.KeepAlive, rueidis.DefaultTCPKeepAlive)
	o.ConnWriteTimeout = shorter(o.ConnWriteTimeout, s.tryTime())
	if o.Sentinel.MasterSet != "" && o.Sentinel.TopologyRefreshInterval == 0 {
		o.Sentinel.TopologyRefreshInterval = s.ttl / 3
	}
	if o.ReadBufferEachConn == 0 {
		o.ReadBufferEachConn = 32 << 10
	}
	if o.WriteBufferEachConn == 0 {
		o.WriteBufferEachConn = 32 << 10
	}
	if o.ClientName == "" {
		o.ClientName = "lockutils"
	}
	o.DialFn, o.DialCtxFn = nil, d.dial
	o.PipelineMultiplex = -1 // one connection
	o.BlockingPipeline = -1  // for long pipelines too
	o.DisableAutoPipelining, o.AlwaysPipelining = false, false
	o.DisableRetry, o.DisableCache = true, true
	o.SendToReplicas, o.ReadNodeSelector = nil, nil
	o.Standalone = rueidis.StandaloneOption{}
	return o
}

// A dialer has connections that are made during Dial end with its ctx, since rueidis waits for the
// server without one.
type dialer struct {
	ctx    context.Context
	option rueidis.ClientOption
	mu     sync.Mutex
	stops  []func() bool
	over   bool
}

func (d *dialer) dial(
	ctx context.Context, addr string, nd *net.Dialer, config *tls.Config,
) (net.Conn, error) {
	d.mu.Lock()
	over := d.over
	d.mu.Unlock()
	if over {
		return d.open(ctx, addr, nd, config)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(d.ctx, cancel)()
	defer cancel()
	conn, err := d.open(ctx, addr, nd, config)
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !d.over {
			d.stops = append(d.stops, context.AfterFunc(d.ctx, func() { conn.Close() }))
		}
	}
	return conn, err
}

// open connects as rueidis would.
func (d *dialer) open(
	ctx context.Context, addr string, nd *net.Dialer, config *tls.Config,
) (net.Conn, error) {
	switch {
	case d.option.DialCtxFn != nil:
		return d.option.DialCtxFn(ctx, addr, nd, config)
	case d.option.DialFn != nil:
		return d.option.DialFn(addr, nd, config)
	case config != nil:
		return (&tls.Dialer{NetDialer: nd, Config: config}).DialContext(ctx, "tcp", addr)
	default:
		return nd.DialContext(ctx, "tcp", addr)
	}
}

// done leaves the connections to live on.
func (d *dialer) done() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	for _, stop := range d.stops {
		stop()
	}
}

// readInfo returns what the server says about itself.
func readInfo(ctx context.Context, c rueidis.Client) (map[string]string, error) {
	text, err := c.Do(ctx, c.B().Info().Build()).ToString()
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[key] = value
		}
	}
	return info, err
}

// checkServer returns an error if the server is too old or may evict locks.
func checkServer(info map[string]string) error {
	version := info["redis_version"]
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < 6 {
		return fmt.Errorf("%w: version %s is older than Redis 6", errUnfit, version)
	}
	policy := info["maxmemory_policy"]
	if m := info["maxmemory"]; m != "" && m != "0" && policy != "noeviction" {
		return fmt.Errorf("%w: it may evict locks, since maxmemory is %s and maxmemory-policy is %s; "+
			"set maxmemory-policy to noeviction", errUnfit, m, policy)
	}
	return nil
}

// rehearse acquires, renews and releases a lock that no name leads to, while another request waits
// for it, in each mode.
func (s *Service) rehearse(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.ttl/2)
	defer cancel()
	for _, shared := range []bool{false, true} {
		held := s.requestFor(driver.Request{Shared: shared, NoWait: true}, "")
		waiting := s.requestFor(driver.Request{}, "")
		tag := s.channels // no lock of a name begins with it
		held.keys = []string{tag + held.id, tag + "token", tag + held.id + "shares", tag + held.id + "waiters"}
		waiting.keys = held.keys
		if t := s.exchange(ctx, held, false); t.err != nil {
			return t.err
		}
		for _, x := range []call{
			waiting.acquire(false), held.renew(), held.release(), waiting.withdraw(), held.withdraw(),
		} {
			if _, err := s.run(ctx, x); err != nil {
				return err
			}
		}
	}
	return nil
}
