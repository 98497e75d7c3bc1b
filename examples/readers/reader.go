package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lockutils/lockutils"
)

// pause is the time between two reads of a goroutine. Without pauses there would always be a
// reader, and the pruner would never acquire the lock.
const pause = 2 * time.Millisecond

// read is what a reader process does. It prints "holding" once all its goroutines hold the lock,
// and holds it until it reads a line. Then it reads the cache until the input ends, and prints
// how often it did and how many images it missed.
func read(ctx context.Context, c cache, in io.Reader, out io.Writer) error {
	goOn, stop := make(chan struct{}), make(chan struct{})
	acquired := make(chan error, goroutines)
	var looks, missed atomic.Int64

	group, ctx := errgroup.WithContext(ctx)
	for range goroutines {
		group.Go(func() error {
			// The timeout ends the wait if the readers do not share the lock after all.
			guard, err := c.lock(ctx, lockutils.Shared(), lockutils.WithTimeout(10*time.Second))
			acquired <- err
			if err != nil {
				return err
			}
			<-goOn
			if err := guard.Unlock(); err != nil {
				return err
			}
			for {
				missing, err := c.look(ctx)
				if err != nil {
					return err
				}
				looks.Add(1)
				missed.Add(int64(missing))
				select {
				case <-stop:
					return nil
				case <-time.After(pause):
				}
			}
		})
	}
	for range goroutines {
		if err := <-acquired; err != nil {
			return err // the process exits, which releases its locks
		}
	}
	fmt.Fprintln(out, "holding")
	orders := bufio.NewScanner(in)
	orders.Scan()
	close(goOn)
	orders.Scan()
	close(stop)
	if err := group.Wait(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, looks.Load(), missed.Load())
	return err
}

// A reader is the pruner's side of a reader process.
type reader struct {
	cmd     *exec.Cmd
	orders  io.WriteCloser
	answers *bufio.Reader
}

// startReader starts this program as a reader of the cache.
func startReader(ctx context.Context, c cache) (*reader, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), directoryVariable+"="+c.dir)
	cmd.Stderr = os.Stderr
	orders, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &reader{cmd, orders, bufio.NewReader(answers)}, cmd.Start()
}

// hasTheLock waits until all goroutines of the reader hold the lock.
func (r *reader) hasTheLock() error {
	if _, err := r.answers.ReadString('\n'); err != nil {
		return errors.Join(errors.New("a reader exited early"), r.cmd.Wait())
	}
	return nil
}

func (r *reader) goOn() {
	fmt.Fprintln(r.orders)
}

// finish stops the reader and returns how often it read the cache and how many images it missed.
func (r *reader) finish() (looks, missed int, err error) {
	if err := r.orders.Close(); err != nil {
		return 0, 0, err
	}
	_, scanErr := fmt.Fscanln(r.answers, &looks, &missed)
	return looks, missed, errors.Join(scanErr, r.cmd.Wait())
}
