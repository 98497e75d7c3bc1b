package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/lockutils/lockutils/drivers/etcdlock"
	"github.com/lockutils/lockutils/drivers/etcdlock/etcdtest"
)

// etcd is a cluster of three members.
type etcd struct {
	*etcdtest.Cluster
}

func startEtcd(ctx context.Context) (engine, error) {
	if err := etcdtest.Available(); err != nil {
		return nil, fmt.Errorf("etcd is %w: %w", errNotInstalled, err)
	}
	c, err := etcdtest.Start(ctx, 3)
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	return etcd{c}, nil
}

func (e etcd) FailServer(ctx context.Context) (string, error) {
	leader, err := e.Leader(ctx)
	if err != nil {
		return "", err
	}
	return "the leader of etcd was killed", e.Kill(leader)
}

func (e etcd) Expel(context.Context) (string, error) { return "", nil }

func dialEtcd(ctx context.Context, endpoints []string) (service, error) {
	client, err := etcdtest.NewClient(endpoints...)
	if err != nil {
		return nil, err
	}
	s, err := etcdlock.Dial(ctx, client, etcdlock.WithTTL(ttl), etcdlock.WithNamespace("imagecache"))
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &closeBoth{s, []func() error{s.Close, client.Close}}, nil
}
