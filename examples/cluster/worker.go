package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/lockutils/lockutils"
)

// workerVariable is set in the environment of a process that is to act as a host. Its value is a
// setup as JSON.
const workerVariable = "CLUSTER_WORKER"

// A setup is what a host has to know.
type setup struct {
	Engine    string
	Endpoints []string
	Store     string // URL
}

// An order is what a host reads from its standard input. It answers each with a report.
type order struct {
	Do     string // fill, lock, write or unlock
	Image  string
	Images int
}

// A report is what a host writes to its standard output.
type report struct {
	Done    string // the order
	Token   uint64
	Waited  time.Duration // for the lock
	Lost    bool          // by the guard, before anything else
	Refused bool          // the write, by the fence
	Pending bool          // the release is not confirmed and goes on in the background
	Failed  string        // the error, or ""
}

// A host carries out orders.
type host struct {
	setup
	locks lockutils.Option
	guard lockutils.Guard // of the order lock
}

// work is what a worker process does, until there are no more orders. Then it breaks off what it does: the
// program that gives the orders has ended.
func work(ctx context.Context, in io.Reader, out io.Writer) error {
	h := &host{}
	if err := json.Unmarshal([]byte(os.Getenv(workerVariable)), &h.setup); err != nil {
		return err
	}
	dialling, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := dial(dialling, h.Engine, h.Endpoints)
	if err != nil {
		return err
	}
	defer s.Close()
	h.locks = lockutils.On(s)
	ctx, stop := context.WithCancelCause(ctx)
	orders, reports := make(chan order), json.NewEncoder(out)
	go func() {
		for decoder := json.NewDecoder(in); ; {
			var o order
			if err := decoder.Decode(&o); err != nil {
				stop(err)
				return
			}
			orders <- o
		}
	}()
	for {
		select {
		case o := <-orders:
			if err := reports.Encode(h.carryOut(ctx, o)); err != nil {
				return err
			}
		case <-ctx.Done():
			if err := context.Cause(ctx); !errors.Is(err, io.EOF) {
				return err
			}
			return nil
		}
	}
}

func (h *host) carryOut(ctx context.Context, o order) (r report) {
	r.Done = o.Do
	var err error
	switch o.Do {
	case "fill":
		err = h.fill(ctx, o.Images)
	case "lock":
		begun := time.Now()
		if h.guard, err = lockutils.LockContext(ctx, o.Image, h.locks); err == nil {
			r.Token, r.Waited = h.guard.Token(), time.Since(begun)
		}
	case "write":
		r.Lost, r.Token = h.guard.Err() != nil, h.guard.Token()
		err = write(h.Store, o.Image, []byte("late"), r.Token)
		if errors.Is(err, errRefused) {
			r.Refused, err = true, nil
		}
	case "unlock":
		err = h.guard.Unlock()
		r.Lost = errors.Is(err, lockutils.ErrLost)
		r.Pending = err != nil && !r.Lost && !errors.Is(err, lockutils.ErrNotHeld)
		if r.Lost || r.Pending {
			err = nil
		}
	default:
		err = fmt.Errorf("unknown order %q", o.Do)
	}
	if err != nil {
		r.Failed = err.Error()
	}
	return r
}

// fill has four goroutines see to it that all images are in the store. They begin at different
// ones.
func (h *host) fill(ctx context.Context, images int) error {
	const goroutines = 4
	errs := make([]error, goroutines)
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for i := range images {
				image := imageName((i + g*images/goroutines) % images)
				if err := h.provide(ctx, image); err != nil {
					errs[g] = fmt.Errorf("%s: %w", image, err)
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// provide builds an image unless it is there. This is all that a program needs to do.
func (h *host) provide(ctx context.Context, image string) error {
	guard, err := lockutils.LockContext(ctx, image, h.locks)
	if err != nil {
		return err
	}
	defer guard.Unlock()
	if there, err := has(h.Store, image); there || err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond) // the build
	return write(h.Store, image, []byte(image), guard.Token())
}

func imageName(i int) string { return fmt.Sprintf("image-%d", i) }
