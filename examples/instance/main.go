// Instance serialises the life cycle of virtual machines: requests for one instance run one at a
// time, requests for different instances concurrently.
//
//	go run ./examples/instance
//
// The lock is named by the instance's UUID. It is not created or kept: it exists while it is held
// or waited for. The example acquires it in the two ways that ensure the release: around a piece
// of code with Do, and around a function with Synchronized. It ends with a mistake: an operation
// that requests a lock that it already holds gets an error instead of hanging for ever.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lockutils/lockutils"
)

var instances = []string{
	"5b1f6a0e-93c4-4d0b-8f57-2f9a6f0c7d11",
	"a3d9c2b4-0c6e-4a52-b7e8-64d1e9b35c22",
	"e07c48f9-5d21-4b3f-9a6c-8b2e1d7fa933",
}

func main() {
	h := &host{out: os.Stdout, begun: time.Now(), running: make(map[string]int)}
	if err := h.serve(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "instance:", err)
		os.Exit(1)
	}
	fmt.Printf("\n%d operations; at most %d at once on one instance, %d on the host\n", h.done,
		h.mostOfOne, h.mostOfAll)
	fmt.Println("rescue, which reboots the instance that it holds:",
		h.rescue(context.Background(), instances[0]))
}

// A host performs operations on instances and counts how many run at once. Its mutex guards the
// counts only: the instance's lock serialises the operations of an instance.
type host struct {
	out   io.Writer
	begun time.Time

	mu                         sync.Mutex // guards all below
	running                    map[string]int
	done, mostOfOne, mostOfAll int
}

// serve makes four concurrent requests for each instance.
func (h *host) serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, instance := range instances {
		reboot := h.reboot(instance)
		group.Go(func() error { return h.resize(ctx, instance) })
		group.Go(func() error { return h.snapshot(ctx, instance) })
		group.Go(func() error { return reboot(ctx) })
		group.Go(func() error { return reboot(ctx) })
	}
	return group.Wait()
}

// resize holds the lock during the whole operation. The context that it gets from Do ends with
// its caller's.
func (h *host) resize(ctx context.Context, instance string) error {
	return lockutils.Do(ctx, instance, func(ctx context.Context) error {
		return h.operate(ctx, "resize", instance)
	})
}

// snapshot needs the lock for part of its work only.
func (h *host) snapshot(ctx context.Context, instance string) error {
	err := lockutils.Do(ctx, instance, func(ctx context.Context) error {
		return h.operate(ctx, "snapshot", instance)
	})
	if err != nil {
		return err
	}
	h.say(instance, "snapshot is uploaded, which needs no lock")
	return nil
}

// reboot returns a function that acquires the instance's lock in each call.
func (h *host) reboot(instance string) func(context.Context) error {
	return lockutils.Synchronized(instance, func(ctx context.Context) error {
		return h.operate(ctx, "reboot", instance)
	})
}

// rescue is wrong: the reboot would wait for a lock that rescue holds until the reboot has ended.
// The context knows that.
func (h *host) rescue(ctx context.Context, instance string) error {
	return lockutils.Do(ctx, instance, h.reboot(instance))
}

// operate stands for the work. Its caller holds the instance's lock.
func (h *host) operate(ctx context.Context, operation, instance string) error {
	if held := lockutils.HeldLocks(ctx); len(held) != 1 || held[0] != instance {
		return fmt.Errorf("%s of %s holds the locks %q", operation, instance, held)
	}
	h.enter(instance)
	defer h.leave(instance)
	h.say(instance, operation+" begins")
	defer h.say(instance, operation+" ends")
	select {
	case <-time.After(5 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (h *host) enter(instance string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running[instance]++
	all := 0
	for _, n := range h.running {
		all += n
	}
	h.mostOfOne = max(h.mostOfOne, h.running[instance])
	h.mostOfAll = max(h.mostOfAll, all)
}

func (h *host) leave(instance string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running[instance]--
	h.done++
}

func (h *host) say(instance, what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fmt.Fprintf(h.out, "%6.1f ms  %.8s  %s\n", float64(time.Since(h.begun).Microseconds())/1000,
		instance, what)
}
