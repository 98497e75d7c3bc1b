package main

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// A job is what a worker process reads from its standard input. Jobs and outcomes are gobs,
// because file names may contain any bytes, which JSON does not preserve.
type job struct {
	Images     []image
	Directory  string
	Goroutines int
	Protection protection
}

// An outcome is what a worker process writes to its standard output after each request.
type outcome struct {
	Image  int // index in the job
	Visit  visit
	Failed string // the error, or ""
	Worker int    // its number, set by the parent
}

// work is what a worker process does: each of its goroutines requests every archive. They start
// at different archives, so that contenders are in different processes rather than in one.
func work(ctx context.Context, in io.Reader, out io.Writer, build func(io.Writer, image) error) error {
	var j job
	if err := gob.NewDecoder(in).Decode(&j); err != nil {
		return fmt.Errorf("cannot read the job: %w", err)
	}
	c := cache{
		directory: j.Directory,
		build:     build,
		exclusive: j.Protection.exclusion(filepath.Join(j.Directory, "locks")),
	}
	var mu sync.Mutex // guards outcomes
	outcomes := gob.NewEncoder(out)

	group, ctx := errgroup.WithContext(ctx)
	for g := range j.Goroutines {
		group.Go(func() error {
			for i := range j.Images {
				o := outcome{Image: (i + g*len(j.Images)/j.Goroutines) % len(j.Images)}
				var err error
				if o.Visit, err = c.get(ctx, j.Images[o.Image]); err != nil {
					o.Failed = strings.ReplaceAll(err.Error(), j.Directory+string(filepath.Separator), "")
				}
				mu.Lock()
				err = outcomes.Encode(o)
				mu.Unlock()
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// runWorkers runs the job in n worker processes, numbered from 1, and passes their outcomes to
// each, one at a time. It returns the errors of the workers that failed. A failure does not stop
// the others.
func runWorkers(ctx context.Context, j job, n int, each func(outcome)) []error {
	outcomes := make(chan outcome)
	failures := make([]error, n)
	var group errgroup.Group
	for i := range n {
		group.Go(func() error {
			failures[i] = runWorker(ctx, j, i+1, outcomes)
			return nil
		})
	}
	go func() {
		_ = group.Wait()
		close(outcomes)
	}()
	for o := range outcomes {
		each(o)
	}
	return failures
}

// runWorker runs the job in another process of this program.
func runWorker(ctx context.Context, j job, number int, outcomes chan<- outcome) error {
	cmd, err := workerCommand(ctx, j)
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	// An error here means that the worker stopped within an outcome; Wait returns the reason.
	for reports := gob.NewDecoder(out); err == nil; {
		var o outcome
		if err = reports.Decode(&o); err == nil {
			o.Worker = number
			outcomes <- o
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("worker %d, process %d: %w", number, cmd.Process.Pid, err)
	}
	return nil
}

// workerCommand returns the command for the job, not started.
func workerCommand(ctx context.Context, j job) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var encoded bytes.Buffer
	if err := gob.NewEncoder(&encoded).Encode(j); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), workerVariable+"=1")
	cmd.Stdin = &encoded
	cmd.Stderr = os.Stderr
	return cmd, nil
}
