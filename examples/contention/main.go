// Contention is a small service whose requests wait for each other, to look at with the page of
// package lockdebug. It prints the address of the page, and ends when it is interrupted.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/lockdebug"
)

func main() {
	address := flag.String("listen", "127.0.0.1:0", "address to serve the page at")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ready := func(url string) { fmt.Println("the locks of this program:", url) }
	if err := run(ctx, *address, ready); err != nil {
		log.Fatal(err)
	}
}

// run serves the page until ctx ends. It calls ready with the page's address.
func run(ctx context.Context, address string, ready func(url string)) error {
	dir, err := os.MkdirTemp("", "contention")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	lockutils.SetDefaults(dir)
	lockutils.SetTracking(1)

	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: lockdebug.Handler(), ReadHeaderTimeout: 5 * time.Second}
	go server.Serve(listener)
	defer server.Close()

	var workers sync.WaitGroup
	for _, work := range []func(context.Context) error{
		backUp, backUp, attach, attach, attach, readCache, readCache, readCache, pruneCache, transfer, transfer,
	} {
		workers.Go(func() {
			for ctx.Err() == nil {
				_ = work(ctx) // a deadlock, or the end of ctx
			}
		})
	}
	ready("http://" + listener.Addr().String() + lockdebug.Path)
	<-ctx.Done()
	workers.Wait()
	return nil
}

// backUp excludes other processes of the host as well.
func backUp(ctx context.Context) error {
	return lockutils.Do(ctx, "backup", work(3*time.Second), lockutils.WithPrefix("nova"), lockutils.External())
}

// attach changes one instance at a time, in order of arrival.
func attach(ctx context.Context) error {
	return lockutils.Do(ctx, "instance-4711", work(time.Second), lockutils.WithPrefix("nova"), lockutils.Fair())
}

func readCache(ctx context.Context) error {
	return lockutils.Do(ctx, "image-cache", work(400*time.Millisecond), lockutils.WithPrefix("glance"),
		lockutils.Shared())
}

func pruneCache(ctx context.Context) error {
	return lockutils.Do(ctx, "image-cache", work(2*time.Second), lockutils.WithPrefix("glance"))
}

// transfer takes two accounts in either order, which ends in a deadlock now and then.
func transfer(ctx context.Context) error {
	first, second := "account-1", "account-2"
	if rand.N(2) == 0 {
		first, second = second, first
	}
	return lockutils.Do(ctx, first, func(ctx context.Context) error {
		if err := work(time.Second)(ctx); err != nil {
			return err
		}
		return lockutils.Do(ctx, second, work(time.Second))
	})
}

// work returns a function that takes up to d.
func work(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		timer := time.NewTimer(d/2 + rand.N(d/2))
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
