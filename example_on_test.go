package lockutils_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/drivers/drivertest"
)

// A program has its service from Dial of drivers/etcdlock, drivers/pglock or drivers/redislock. The one
// here is in memory.
func ExampleOn() {
	service := drivertest.NewMemory().Open() // once in a program
	defer service.Close()
	ctx := context.Background()
	migrate := func(ctx context.Context) error {
		fmt.Println("migrating")
		return nil
	}

	migrateInstance := func() error {
		return lockutils.Do(ctx, "instance-4711", migrate, lockutils.On(service))
	}
	fmt.Println(migrateInstance())
	// Output:
	// migrating
	// <nil>
}

// The context ends when the lock is lost, so that the work can stop before another host begins it.
func ExampleOn_lost() {
	service := drivertest.NewMemory().Open()
	defer service.Close()
	err := lockutils.Do(context.Background(), "instance-4711", func(ctx context.Context) error {
		service.Lose("instance-4711") // as if this host was cut off
		<-ctx.Done()
		return context.Cause(ctx)
	}, lockutils.On(service))
	fmt.Println(errors.Is(err, lockutils.ErrLost))
	// Output: true
}

func ExampleGuard_Lost() {
	service := drivertest.NewMemory().Open()
	defer service.Close()
	guard, err := lockutils.Lock("instance-4711", lockutils.On(service))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	done := make(chan struct{}) // is closed when the work is done

	service.Lose("instance-4711") // as if this host was cut off
	select {
	case <-done:
	case <-guard.Lost():
		fmt.Println("stop the work:", guard.Err())
	}
	// Output: stop the work: lockutils: lock lost
}

// The store remembers the largest token, and refuses a holder that was lost and does not know it.
func ExampleGuard_Token() {
	server := drivertest.NewMemory()
	host, another := server.Open(), server.Open()
	defer host.Close()
	defer another.Close()
	var largest uint64
	write := func(token uint64) error {
		if token < largest {
			return errors.New("a later holder has written before")
		}
		largest = token
		return nil
	}

	lost, _ := lockutils.Lock("image-4711", lockutils.On(host))
	host.Lose("image-4711")
	_ = lost.Unlock()
	guard, _ := lockutils.Lock("image-4711", lockutils.On(another))
	defer guard.Unlock()
	fmt.Println(write(guard.Token()))
	fmt.Println(write(lost.Token()))
	// Output:
	// <nil>
	// a later holder has written before
}
