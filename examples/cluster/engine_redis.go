package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/rueidis"

	"github.com/lockutils/lockutils/drivers/redislock"
	"github.com/lockutils/lockutils/drivers/redislock/redistest"
)

// redis is a server that writes each change to its file before it answers. It is also what redistest
// needs in place of a test.
type redis struct {
	*redistest.Server
	cleanups []func()
}

func startRedis(context.Context) (engine, error) {
	r := &redis{}
	err := r.try(func() { r.Server = redistest.Start(r, "appendonly yes", "appendfsync always") })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start Redis: %w", err), r.Stop())
	}
	return r, nil
}

func (r *redis) Endpoints() []string { return []string{r.Addr} }

func (r *redis) FailServer(context.Context) (string, error) {
	r.Kill()
	return "the server of Redis was killed and started again with its data", r.try(r.Restart)
}

func (r *redis) Expel(context.Context) (string, error) { return "", nil }

func (r *redis) Stop() error {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
	return nil
}

// A redisFailure is the panic of Fatal.
type redisFailure struct{ error }

// try returns what do has failed with by Fatal.
func (r *redis) try(do func()) (err error) {
	defer func() {
		switch failure := recover().(type) {
		case nil:
		case redisFailure:
			err = failure.error
		default:
			panic(failure)
		}
	}()
	do()
	return nil
}

func (r *redis) Helper()           {}
func (r *redis) Cleanup(f func())  { r.cleanups = append(r.cleanups, f) }
func (r *redis) Skip(args ...any)  { panic(redisFailure{fmt.Errorf("%w: %v", errNotInstalled, args)}) }
func (r *redis) Fatal(args ...any) { panic(redisFailure{errors.New(fmt.Sprint(args...))}) }

func (r *redis) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }

func dialRedis(ctx context.Context, endpoints []string) (service, error) {
	return redislock.Dial(ctx, rueidis.ClientOption{InitAddress: endpoints},
		redislock.WithTTL(ttl), redislock.WithNamespace("imagecache"))
}
