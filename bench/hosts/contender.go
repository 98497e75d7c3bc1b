package main

import (
	"context"
	"io"

	"github.com/lockutils/lockutils/driver"
)

// An engine is a lock service with those who keep locks in it.
type engine struct {
	name       string
	start      func(ctx context.Context) (server, error)
	contenders []contender // that of lockutils first
}

// A server is one that runs.
type server interface {
	address() string
	// counts returns how many requests the server has served, and how many connections it has. Those
	// of a client may be counted only when it is closed.
	counts(ctx context.Context) (requests, connections float64, err error)
	stop()
}

// A contender keeps locks in an engine. One of open and service is set.
type contender struct {
	name    string
	open    func(ctx context.Context, address string) (client, error)
	service func(ctx context.Context, address string) (closer, error)
}

// A closer is a driver.Service that can be closed.
type closer interface {
	driver.Service
	io.Closer
}

// A client is what one process has of a contender.
type client interface {
	// acquire waits for the lock.
	acquire(ctx context.Context, name string) (hold, error)
	close()
}

// A hold is a lock that is held.
type hold struct {
	release func(context.Context) error
	lost    <-chan struct{} // closed when the holder is told of its loss; nil if it is never told
}

func (c contender) client(ctx context.Context, address string) (client, error) {
	if c.open != nil {
		return c.open(ctx, address)
	}
	s, err := c.service(ctx, address)
	return serviceClient{s}, err
}

type serviceClient struct{ closer }

func (c serviceClient) acquire(ctx context.Context, name string) (hold, error) {
	h, err := c.Acquire(ctx, driver.Request{Name: name})
	if err != nil {
		return hold{}, err
	}
	return hold{h.Release, h.Lost()}, nil
}

func (c serviceClient) close() { c.Close() }

// engines are those that are measured on this system.
var engines = []engine{etcd, redis}
