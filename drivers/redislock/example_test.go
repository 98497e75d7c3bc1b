package redislock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/redis/rueidis"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/drivers/redislock"
)

func ExampleDial() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	locks, err := redislock.Dial(ctx, rueidis.ClientOption{InitAddress: []string{"redis.example:6379"}},
		redislock.WithNamespace("images"))
	if err != nil {
		log.Fatal(err)
	}
	defer locks.Close()

	err = lockutils.Do(context.Background(), "image-4711", func(ctx context.Context) error {
		return nil // the work; ctx ends when the lock is lost
	}, lockutils.On(locks))
	if errors.Is(err, lockutils.ErrLost) {
		log.Print("the lock was lost: what was done may have to be checked")
	}
}

// After a failover Redis can let a second holder in. The resource that the lock protects can tell by the
// token, and refuses a smaller one than the largest it has seen.
func ExampleService() {
	type store func(ctx context.Context, image string, token uint64) error
	change := func(ctx context.Context, locks *redislock.Service, image string, write store) error {
		guard, err := lockutils.LockContext(ctx, image, lockutils.On(locks))
		if err != nil {
			return err
		}
		defer guard.Unlock()
		return write(ctx, image, guard.Token())
	}
	_ = change
}

func ExampleService_Inspect() {
	show := func(ctx context.Context, locks *redislock.Service) error {
		infos, err := locks.Inspect(ctx)
		if err != nil {
			return err
		}
		for _, lock := range infos {
			for _, holder := range lock.Holders {
				fmt.Println(lock.Name, "is held by", holder.Client)
			}
			for _, waiter := range lock.Waiters {
				fmt.Println(lock.Name, "is waited for by", waiter.Client)
			}
		}
		return nil
	}
	_ = show
}

// A program keeps the options that all its Services have in common.
func ExampleOption() {
	options := []redislock.Option{redislock.WithNamespace("images"), redislock.WithTTL(5 * time.Second)}
	dial := func(ctx context.Context, redis rueidis.ClientOption) (*redislock.Service, error) {
		return redislock.Dial(ctx, redis, options...)
	}
	_ = dial
}

// The locks of a program that was killed are free after five seconds.
func ExampleWithTTL() {
	dial := func(ctx context.Context, redis rueidis.ClientOption) (*redislock.Service, error) {
		return redislock.Dial(ctx, redis, redislock.WithTTL(5*time.Second))
	}
	_ = dial
}

// Two programs share a database, and each has names of its own.
func ExampleWithNamespace() {
	dial := func(ctx context.Context, redis rueidis.ClientOption) (*redislock.Service, error) {
		return redislock.Dial(ctx, redis, redislock.WithNamespace("images"))
	}
	_ = dial
}

// A lock counts as acquired once both replicas have it.
func ExampleWithReplicas() {
	dial := func(ctx context.Context) (*redislock.Service, error) {
		return redislock.Dial(ctx, rueidis.ClientOption{
			InitAddress: []string{"sentinel-1.example:26379", "sentinel-2.example:26379"},
			Sentinel:    rueidis.SentinelOption{MasterSet: "locks"},
		}, redislock.WithReplicas(2))
	}
	_ = dial
}
