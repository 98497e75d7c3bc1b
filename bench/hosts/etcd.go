package main

import (
	"context"
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
		{name: "etcdlock", service: openEtcdlock},
		{name: "concurrency.Mutex", open: openConcurrency},
	},
}

type etcdServer struct{ *etcdtest.Cluster }

func startEtcd(ctx context.Context) (server, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := etcdtest.Start(ctx, 1)
	return etcdServer{c}, err
}

func (s etcdServer) address() string                           { return s.Endpoints()[0] }
func (s etcdServer) counts(context.Context) (float64, float64) { return -1, -1 }
func (s etcdServer) stop()                                     { s.Stop() }

type etcdService struct {
	*etcdlock.Service
	client *clientv3.Client
}

func openEtcdlock(ctx context.Context, address string) (closer, error) {
	c, err := etcdtest.NewClient(address)
	if err != nil {
		return nil, err
	}
	s, err := etcdlock.Dial(ctx, c)
	if err != nil {
		c.Close()
		return nil, err
	}
	return etcdService{s, c}, nil
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

func openConcurrency(ctx context.Context, address string) (client, error) {
	c, err := etcdtest.NewClient(address)
	if err != nil {
		return nil, err
	}
	s, err := concurrency.NewSession(c)
	if err != nil {
		c.Close()
		return nil, err
	}
	return concurrencyClient{c, s}, nil
}

func (c concurrencyClient) acquire(ctx context.Context, name string) (func(context.Context) error, error) {
	m := concurrency.NewMutex(c.session, "/mutex/"+name)
	if err := m.Lock(ctx); err != nil {
		return nil, err
	}
	return m.Unlock, nil
}

func (c concurrencyClient) close() {
	c.session.Close()
	c.client.Close()
}
