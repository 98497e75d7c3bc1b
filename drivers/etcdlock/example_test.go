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
