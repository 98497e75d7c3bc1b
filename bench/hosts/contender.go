package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

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
	version(ctx context.Context) (string, error) // with the name of the engine
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
	fair    bool         // with service: its requests are
	missing func() error // says why it cannot be measured here; nil: it always can
}

// isMissing reports whether a contender cannot be measured here, and says so.
func (c contender) isMissing() bool {
	if c.missing == nil {
		return false
	}
	err := c.missing()
	if err != nil {
		fmt.Fprintf(os.Stderr, "without %s: %v\n", c.name, err)
	}
	return err != nil
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
	return serviceClient{s, c.fair}, err
}

type serviceClient struct {
	closer
	fair bool
}

func (c serviceClient) acquire(ctx context.Context, name string) (hold, error) {
	h, err := c.Acquire(ctx, driver.Request{Name: name, Fair: c.fair})
	if err != nil {
		return hold{}, err
	}
	return hold{h.Release, h.Lost()}, nil
}

func (c serviceClient) close() { c.Close() }

// short is the TTL of those that are also measured with one that is not the default.
const short = 5 * time.Second

// engines are those that are measured on this system.
var engines = []engine{etcd, redis}
