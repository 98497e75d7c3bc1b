// Example is a program whose goroutines wait for each other. It serves the figures of their waits to
// Prometheus, prints where, and ends when it is interrupted.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/metrics/lockprom"
)

func main() {
	address := flag.String("listen", "127.0.0.1:0", "address to serve the metrics at")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *address); err != nil {
		log.Fatal(err)
	}
}

// run serves the metrics until ctx ends.
func run(ctx context.Context, address string) error {
	prometheus.MustRegister(lockprom.NewCollector())
	http.Handle("/metrics", promhttp.Handler())

	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second}
	go server.Serve(listener)
	defer server.Close()
	fmt.Printf("http://%s/metrics\n", listener.Addr())

	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for ctx.Err() == nil {
				_ = resize(ctx) // fails with the end of ctx
			}
		})
	}
	workers.Wait()
	return nil
}

// resize works on an instance, one goroutine at a time. Its waits count in the class "nova".
func resize(ctx context.Context) error {
	return lockutils.Do(ctx, "instance-4711", func(ctx context.Context) error {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
		return ctx.Err()
	}, lockutils.WithPrefix("nova"))
}
