package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/lockutils/lockutils/driver"
)

// An engine is a lock service, which runs for this demonstration only.
type engine interface {
	// Endpoints returns what a host needs to find the service.
	Endpoints() []string

	// FailServer kills the server whose loss hurts most, starts it again if there is no other, and
	// returns what happened.
	FailServer(ctx context.Context) (string, error)

	// Expel ends the hold of a host that stands still, and returns what happened. It returns "" if
	// the service does that by itself.
	Expel(ctx context.Context) (string, error)

	// Stop ends all servers and deletes their data.
	Stop() error
}

// errNotInstalled is returned by start if the machine has no such server.
var errNotInstalled = errors.New("not installed")

// An engineKind is one way to keep locks.
type engineKind struct {
	start func(ctx context.Context) (engine, error)
	dial  func(ctx context.Context, endpoints []string) (service, error)
}

// A service is a driver.Service that can be closed.
type service interface {
	driver.Service
	Close() error
}

var engines = map[string]engineKind{
	"etcd":  {startEtcd, dialEtcd},
	"redis": {startRedis, dialRedis},
}

// closeBoth closes a service and what it needs.
type closeBoth struct {
	driver.Service
	closers []func() error
}

func (c *closeBoth) Close() error {
	var errs []error
	for _, f := range c.closers {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

func dial(ctx context.Context, engine string, endpoints []string) (service, error) {
	kind, ok := engines[engine]
	if !ok {
		return nil, fmt.Errorf("there is no engine %q", engine)
	}
	return kind.dial(ctx, endpoints)
}
