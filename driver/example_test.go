package driver_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/drivertest"
)

func ExampleCapability() {
	can := driver.Shared | driver.Fair | driver.Fenced // Service.Can
	fmt.Println(can)
	fmt.Println(can.Has(driver.Shared|driver.Fair), can.Has(driver.Linearizable))
	// Output:
	// Shared|Fair|Fenced
	// true false
}

func ExampleRequest() {
	server := drivertest.NewMemory()
	host, another := server.Open(), server.Open()
	ctx := context.Background()
	hold, err := host.Acquire(ctx, driver.Request{Name: "image-4711"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer hold.Release(ctx)
	_, err = another.Acquire(ctx, driver.Request{Name: "image-4711", NoWait: true})
	fmt.Println(errors.Is(err, driver.ErrLocked))
	// Output: true
}

// A release ends one hold, and never a later one.
func ExampleHold() {
	service := drivertest.NewMemory().Open()
	ctx := context.Background()
	lost, _ := service.Acquire(ctx, driver.Request{Name: "image-4711"})
	service.Lose("image-4711")
	<-lost.Lost()
	later, _ := service.Acquire(ctx, driver.Request{Name: "image-4711"})
	fmt.Println("larger token:", later.Token() > lost.Token())
	fmt.Println("late release:", lost.Release(ctx))
	fmt.Println("release:", later.Release(ctx))
	// Output:
	// larger token: true
	// late release: lockutils: lock lost
	// release: <nil>
}

// The locks of any service, as far as it can tell.
func ExampleInspector() {
	show := func(ctx context.Context, service driver.Service) error {
		inspector, ok := service.(driver.Inspector)
		if !ok {
			return fmt.Errorf("locks at %s: %w", service.Name(), errors.ErrUnsupported)
		}
		locks, err := inspector.Inspect(ctx)
		for _, lock := range locks {
			fmt.Println(lock.Name, "holders:", lock.Holders, "waiters:", lock.Waiters)
		}
		return err
	}
	fmt.Println(show(context.Background(), drivertest.NewMemory().Open()))
	// Output: locks at memory: unsupported operation
}

func ExampleInfo() {
	since := time.Date(2025, 1, 2, 15, 4, 5, 0, time.UTC)
	lock := driver.Info{
		Name:    "image-4711",
		Holders: []driver.ClientInfo{{Client: "host-1 (4711)", Since: since}},
		Waiters: []driver.ClientInfo{{Client: "host-2 (42)", Shared: true}},
	}
	for _, holder := range lock.Holders {
		fmt.Println(lock.Name, "is held by", holder.Client, "since", holder.Since.Format(time.TimeOnly))
	}
	for i, waiter := range lock.Waiters {
		fmt.Printf("%d. %s, shared: %t\n", i+1, waiter.Client, waiter.Shared)
	}
	// Output:
	// image-4711 is held by host-1 (4711) since 15:04:05
	// 1. host-2 (42), shared: true
}
