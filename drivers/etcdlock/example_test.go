package etcdlock_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/drivers/etcdlock"
)

// migrate is the work that a lock protects. Its context ends when the lock is lost.
func migrate(ctx context.Context) error { return ctx.Err() }

func Example() {
	migrateInstance := func(ctx context.Context, client *clientv3.Client) error {
		service, err := etcdlock.Dial(ctx, client) // once in a program, with a *clientv3.Client
		if err != nil {
			return err
		}
		return lockutils.Do(ctx, "instance-4711", migrate, lockutils.On(service))
	}
	_ = migrateInstance
}

func ExampleDial() {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"etcd-1:2379", "etcd-2:2379", "etcd-3:2379"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	locks, err := etcdlock.Dial(ctx, client, etcdlock.WithNamespace("images"))
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

// A table that a lock protects has a column for the token of its last writer. The condition of the
// update is the fence.
func Example_fencedDatabase() {
	store := func(ctx context.Context, db *sql.DB, locks *etcdlock.Service, image, state string) error {
		guard, err := lockutils.LockContext(ctx, image, lockutils.On(locks))
		if err != nil {
			return err
		}
		defer guard.Unlock()
		result, err := db.ExecContext(ctx,
			`UPDATE images SET state = $1, token = $2 WHERE name = $3 AND token <= $2`,
			state, int64(guard.Token()), image)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err == nil && n == 0 {
			err = fmt.Errorf("%s: a later holder of the lock has written before", image)
		}
		return err
	}
	_ = store
}

// Requests are served in order of arrival, also those of different hosts.
func ExampleService() {
	resize := func(ctx context.Context, locks *etcdlock.Service, instance string) error {
		guard, err := lockutils.LockContext(ctx, "instance-"+instance, lockutils.On(locks))
		if err != nil {
			return err
		}
		defer guard.Unlock()
		fmt.Println("resizing", instance, "with token", guard.Token())
		return guard.Err()
	}
	_ = resize
}

func ExampleService_Inspect() {
	show := func(ctx context.Context, locks *etcdlock.Service) error {
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
	options := []etcdlock.Option{etcdlock.WithNamespace("images"), etcdlock.WithTTL(5 * time.Second)}
	dial := func(ctx context.Context, client *clientv3.Client) (*etcdlock.Service, error) {
		return etcdlock.Dial(ctx, client, options...)
	}
	_ = dial
}

// The locks of a program that was killed are free after five seconds.
func ExampleWithTTL() {
	dial := func(ctx context.Context, client *clientv3.Client) (*etcdlock.Service, error) {
		return etcdlock.Dial(ctx, client, etcdlock.WithTTL(5*time.Second))
	}
	_ = dial
}

// Two programs share a cluster, and each has names of its own.
func ExampleWithNamespace() {
	dial := func(ctx context.Context, client *clientv3.Client) (*etcdlock.Service, error) {
		return etcdlock.Dial(ctx, client, etcdlock.WithNamespace("images"))
	}
	_ = dial
}
