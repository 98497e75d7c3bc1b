package pglock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/drivers/pglock"
)

func ExampleDial() {
	config, err := pgx.ParseConfig("postgres://app@db1.example,db2.example/locks")
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	locks, err := pglock.Dial(ctx, config, pglock.WithNamespace("images"))
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

// Setup runs once, when a program is installed, with a role that may create a schema.
func ExampleSetup() {
	config, err := pgx.ParseConfig("postgres://postgres@db.example/locks")
	if err != nil {
		log.Fatal(err)
	}
	if err := pglock.Setup(context.Background(), config); err != nil {
		log.Fatal(err)
	}
}

// Requests with Fair are served in order of arrival, also those of different hosts.
func ExampleService() {
	build := func(ctx context.Context, locks *pglock.Service, image string) error {
		guard, err := lockutils.LockContext(ctx, image, lockutils.On(locks), lockutils.Fair())
		if err != nil {
			return err
		}
		defer guard.Unlock()
		fmt.Println("building", image, "with token", guard.Token())
		return guard.Err()
	}
	_ = build
}

func ExampleService_InspectName() {
	show := func(ctx context.Context, locks *pglock.Service, name string) error {
		lock, err := locks.InspectName(ctx, name)
		if err != nil {
			return err
		}
		for _, holder := range lock.Holders {
			fmt.Println(name, "is held by", holder.Client)
		}
		for _, waiter := range lock.Waiters {
			fmt.Println(name, "is waited for by", waiter.Client)
		}
		return nil
	}
	_ = show
}

// A program keeps the options that all its Services have in common.
func ExampleOption() {
	options := []pglock.Option{pglock.WithNamespace("images"), pglock.WithTTL(5 * time.Second)}
	dial := func(ctx context.Context, config *pgx.ConnConfig) (*pglock.Service, error) {
		return pglock.Dial(ctx, config, options...)
	}
	_ = dial
}

// The locks of a host that is gone are free after five seconds.
func ExampleWithTTL() {
	dial := func(ctx context.Context, config *pgx.ConnConfig) (*pglock.Service, error) {
		return pglock.Dial(ctx, config, pglock.WithTTL(5*time.Second))
	}
	_ = dial
}

// Two programs share a database, and each has names of its own.
func ExampleWithNamespace() {
	dial := func(ctx context.Context, config *pgx.ConnConfig) (*pglock.Service, error) {
		return pglock.Dial(ctx, config, pglock.WithNamespace("images"))
	}
	_ = dial
}

// A program holds very many locks at a time. The server's lock table must have room for twice as many.
func ExampleWithMaxLocks() {
	dial := func(ctx context.Context, config *pgx.ConnConfig) (*pglock.Service, error) {
		return pglock.Dial(ctx, config, pglock.WithMaxLocks(5000))
	}
	_ = dial
}
