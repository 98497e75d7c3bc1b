// Readers shares a cache directory between processes: many read it at once, and one prunes it
// while none reads.
//
//	go run ./examples/readers
//
// Several reader processes, with several goroutines each, acquire an external lock in shared
// mode, read the cache's index and open every image that it lists. The pruner acquires the same
// lock in exclusive mode, removes images and then updates the index. A reader in between would
// miss an image.
//
// First all readers hold the lock together, which shows that they share it and that the pruner is
// refused meanwhile. Then readers and pruner run concurrently.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/lockutils/lockutils"
)

const (
	processes  = 3
	goroutines = 2 // of each process
	images     = 40
	pruned     = 30
)

// directoryVariable is set in the environment of a reader process, to the directory.
const directoryVariable = "READERS_DIRECTORY"

func main() {
	var err error
	if dir := os.Getenv(directoryVariable); dir != "" {
		err = read(context.Background(), cache{dir}, os.Stdin, os.Stdout)
	} else {
		err = run(context.Background(), os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "readers:", err)
		os.Exit(1)
	}
}

// run is the pruner: it fills a cache, starts the readers and prunes.
func run(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "readers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c := cache{dir}
	if err := c.fill(images); err != nil {
		return err
	}

	var readers []*reader
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		// After a failure, readers may still run.
		cancel()
		for _, r := range readers {
			_ = r.cmd.Wait()
		}
	}()
	for range processes {
		r, err := startReader(ctx, c)
		if err != nil {
			return err
		}
		readers = append(readers, r)
	}

	for _, r := range readers {
		if err := r.hasTheLock(); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d readers in %d processes hold the lock at once\n", processes*goroutines, processes)
	if _, err := c.lock(ctx, lockutils.NonBlocking()); !errors.Is(err, lockutils.ErrLocked) {
		return fmt.Errorf("the pruner's attempt ended with %v, want %w", err, lockutils.ErrLocked)
	}
	fmt.Fprintln(out, "the pruner is refused meanwhile")

	for _, r := range readers {
		r.goOn()
	}
	for range pruned {
		if err := c.prune(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "the pruner has removed %d of %d images\n", pruned, images)

	for i, r := range readers {
		looks, missed, err := r.finish()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "reader process %d read the cache %d times and missed %d images\n", i+1, looks, missed)
		if missed > 0 {
			return errors.New("the index listed images that were not there")
		}
	}
	return nil
}
