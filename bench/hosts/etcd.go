package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/lockutils/lockutils/drivers/etcdlock"
	"github.com/lockutils/lockutils/drivers/etcdlock/etcdtest"
)

var etcd = engine{
	name:  "etcd",
	start: startEtcd,
	contenders: []contender{
		{name: "etcdlock", service: openEtcdlock()},
		{name: "etcdlock, 5 s", service: openEtcdlock(etcdlock.WithTTL(short))},
		{name: "concurrency.Mutex", open: openConcurrency()},
		{name: "concurrency.Mutex, 5 s", open: openConcurrency(concurrency.WithTTL(int(short / time.Second)))},
		// Not tooz: neither of its drivers for etcd can wait with the packages of Debian 12.
	},
}

type etcdServer struct{ *etcdtest.Cluster }

func startEtcd(ctx context.Context) (server, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := etcdtest.Start(ctx, 1)
	return etcdServer{c}, err
}

func (s etcdServer) address() string { return s.Endpoints()[0] }
func (s etcdServer) stop()           { s.Stop() }

func (s etcdServer) version(context.Context) (string, error) {
	reply, err := http.Get("http://" + s.address() + "/version")
	if err != nil {
		return "", err
	}
	defer reply.Body.Close()
	var version struct{ Etcdserver string }
	err = json.NewDecoder(reply.Body).Decode(&version)
	return "etcd " + version.Etcdserver, err
}

// counts takes every message of a stream for a request.
func (s etcdServer) counts(context.Context) (requests, connections float64, err error) {
	reply, err := http.Get("http://" + s.address() + "/metrics")
	if err != nil {
		return 0, 0, err
	}
	defer reply.Body.Close()
	lines := bufio.NewScanner(reply.Body)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 {
			continue
		}
		value, _ := strconv.ParseFloat(fields[1], 64)
		switch name, _, _ := strings.Cut(fields[0], "{"); name {
		case "grpc_server_msg_received_total":
			requests += value
		case "process_open_fds":
			connections = value // with files, of which there are as many before as after
		}
	}
	return requests, connections, lines.Err()
}

type etcdService struct {
	*etcdlock.Service
	client *clientv3.Client
}

func openEtcdlock(opts ...etcdlock.Option) func(context.Context, string) (closer, error) {
	return func(ctx context.Context, address string) (closer, error) {
		c, err := etcdtest.NewClient(address)
		if err != nil {
			return nil, err
		}
		s, err := etcdlock.Dial(ctx, c, opts...)
		if err != nil {
			c.Close()
			return nil, err
		}
		return etcdService{s, c}, nil
	}
}

func (s etcdService) Close() error {
	err := s.Service.Close()
	s.client.Close()
	return err
}

type concurrencyClient struct {
	client  *clientv3.Client
	session *concurrency.Session
}

func openConcurrency(
	opts ...concurrency.SessionOption,
) func(context.Context, string) (client, error) {
	return func(_ context.Context, address string) (client, error) {
		c, err := etcdtest.NewClient(address)
		if err != nil {
			return nil, err
		}
		s, err := concurrency.NewSession(c, opts...)
		if err != nil {
			c.Close()
			return nil, err
		}
		return concurrencyClient{c, s}, nil
	}
}

func (c concurrencyClient) acquire(ctx context.Context, name string) (hold, error) {
	m := concurrency.NewMutex(c.session, "/mutex/"+name)
	if err := m.Lock(ctx); err != nil {
		return hold{}, err
	}
	return hold{m.Unlock, c.session.Done()}, nil
}

func (c concurrencyClient) close() {
	c.session.Close()
	c.client.Close()
}
