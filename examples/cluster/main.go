// Cluster fills an image cache from several hosts at once, and shows that each image is built
// exactly once, whatever fails meanwhile.
//
// The hosts are processes that share nothing but a lock service and a store for images, both on
// loopback. The store refuses a write whose fencing token is smaller than the largest that it has
// seen for the image. While the cache is filled a host is killed and a server of the lock service
// fails; afterwards a holder is stopped for longer than its lock lasts, and writes late.
//
//	go run . -engine=etcd
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ttl is how long a lock outlives a host that has failed.
const ttl = 5 * time.Second

func main() {
	if os.Getenv(workerVariable) != "" {
		exitOn(work(context.Background(), os.Stdin, os.Stdout))
		return
	}
	name := flag.String("engine", "etcd", "the lock service: "+strings.Join(engineNames(), ", "))
	hosts := flag.Int("hosts", 4, "number of hosts")
	images := flag.Int("images", 24, "number of images")
	flag.Parse()
	kind, known := engines[*name]
	if !known || *hosts < 3 || *images < 1 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := demonstrate(ctx, *name, kind, *hosts, *images)
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted") // whatever that has broken off
	}
	exitOn(err)
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func engineNames() (names []string) {
	for name := range engines {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
