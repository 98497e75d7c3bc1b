package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	bsm "github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis/goredis/v9"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"

	"github.com/lockutils/lockutils/drivers/redislock"
	"github.com/lockutils/lockutils/drivers/redislock/redistest"
)

var redis = engine{
	name:  "redis",
	start: startRedis,
	contenders: []contender{
		{name: "redislock", service: openRedislock()},
		{name: "redislock, 5 s", service: openRedislock(redislock.WithTTL(short))},
		{name: "bsm/redislock", open: openBSM(100 * time.Millisecond)},
		{name: "bsm/redislock, 1 ms", open: openBSM(time.Millisecond)},
		{name: "rueidislock", open: openRueidis},
		{name: "redsync", open: openRedsync()},
		{name: "redsync, 1 ms", open: openRedsync(redsync.WithRetryDelay(time.Millisecond))},
		toozAt(func(address string) string { return "redis://" + address }),
	},
}

func openRedislock(opts ...redislock.Option) func(context.Context, string) (closer, error) {
	return func(ctx context.Context, address string) (closer, error) {
		return redislock.Dial(ctx, rueidis.ClientOption{InitAddress: []string{address}}, opts...)
	}
}

// A redisServer is also what redistest needs in place of a test.
type redisServer struct {
	*redistest.Server
	cleanups []func()
}

func startRedis(context.Context) (server, error) {
	s := &redisServer{}
	s.Server = redistest.Start(s)
	return s, nil
}

func (s *redisServer) address() string { return s.Addr }

func (s *redisServer) version(context.Context) (string, error) {
	return "Redis " + s.Info("redis_version"), nil
}

// counts takes every command for a request, also those of a script.
func (s *redisServer) counts(context.Context) (requests, connections float64, err error) {
	requests, err = strconv.ParseFloat(s.Info("total_commands_processed"), 64)
	connections, err2 := strconv.ParseFloat(s.Info("connected_clients"), 64)
	return requests, connections, errors.Join(err, err2)
}

func (s *redisServer) stop() {
	for _, f := range s.cleanups {
		f()
	}
}

func (s *redisServer) Helper()          {}
func (s *redisServer) Cleanup(f func()) { s.cleanups = append([]func(){f}, s.cleanups...) }
func (s *redisServer) Skip(args ...any) { s.Fatal(args...) }

func (s *redisServer) Fatal(args ...any) {
	s.stop()
	fmt.Fprintln(os.Stderr, args...)
	os.Exit(1)
}

func (s *redisServer) Fatalf(format string, args ...any) { s.Fatal(fmt.Sprintf(format, args...)) }

const ttl = 15 * time.Second // that of lockutils, for those that have no default

type bsmClient struct {
	conn  *goredis.Client
	locks *bsm.Client
	every time.Duration // how often it tries
}

func openBSM(every time.Duration) func(context.Context, string) (client, error) {
	return func(_ context.Context, address string) (client, error) {
		conn := goredis.NewClient(&goredis.Options{Addr: address})
		return bsmClient{conn, bsm.New(conn), every}, nil
	}
}

// acquire polls as the documentation of bsm/redislock shows it: it does not wait by itself.
func (c bsmClient) acquire(ctx context.Context, name string) (hold, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	l, err := c.locks.Obtain(ctx, name, ttl, &bsm.Options{
		RetryStrategy: bsm.LinearBackoff(c.every),
	})
	if err != nil {
		return hold{}, err
	}
	return hold{release: l.Release}, nil
}

func (c bsmClient) close() { c.conn.Close() }

type redsyncClient struct {
	conn *goredis.Client
	sync *redsync.Redsync
	opts []redsync.Option
}

func openRedsync(opts ...redsync.Option) func(context.Context, string) (client, error) {
	return func(_ context.Context, address string) (client, error) {
		conn := goredis.NewClient(&goredis.Options{Addr: address})
		return redsyncClient{conn, redsync.New(redsyncredis.NewPool(conn)), opts}, nil
	}
}

// acquire goes on after the number of tries that is the default.
func (c redsyncClient) acquire(ctx context.Context, name string) (hold, error) {
	m := c.sync.NewMutex(name, c.opts...)
	err := m.LockContext(ctx)
	for err != nil && ctx.Err() == nil && errors.As(err, new(*redsync.ErrTaken)) {
		err = m.LockContext(ctx)
	}
	if err != nil {
		return hold{}, err
	}
	release := func(ctx context.Context) error {
		_, err := m.UnlockContext(ctx)
		return err
	}
	return hold{release: release}, nil
}

func (c redsyncClient) close() { c.conn.Close() }

type rueidisClient struct{ locker rueidislock.Locker }

func openRueidis(_ context.Context, address string) (client, error) {
	l, err := rueidislock.NewLocker(rueidislock.LockerOption{
		ClientOption: rueidis.ClientOption{InitAddress: []string{address}},
		KeyMajority:  1, // of one server; the default is for two of three keys
	})
	return rueidisClient{l}, err
}

func (c rueidisClient) acquire(ctx context.Context, name string) (hold, error) {
	held, cancel, err := c.locker.WithContext(ctx, name)
	if err != nil {
		return hold{}, err
	}
	return hold{func(context.Context) error { cancel(); return nil }, held.Done()}, nil
}

func (c rueidisClient) close() { c.locker.Close() }
