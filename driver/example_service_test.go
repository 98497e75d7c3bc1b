package driver_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/driver"
)

// A local is a Service whose server is a map: the least that a driver has to do.
type local struct {
	server *sync.Map // by name, a channel that has an element while the lock is held
}

func (s local) Name() string           { return "local" }
func (s local) Can() driver.Capability { return driver.SurvivesPause | driver.Linearizable }

func (s local) Acquire(ctx context.Context, r driver.Request) (driver.Hold, error) {
	if r.Shared || r.Fair {
		return nil, fmt.Errorf("local: shared or fair: %w", errors.ErrUnsupported)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err() // The lock may be free, too.
	}
	entry, _ := s.server.LoadOrStore(r.Name, make(chan struct{}, 1))
	lock := entry.(chan struct{})
	select {
	case lock <- struct{}{}:
		return &localHold{lock: lock}, nil
	default:
	}
	if r.NoWait {
		return nil, driver.ErrLocked
	}
	select {
	case lock <- struct{}{}:
		return &localHold{lock: lock}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A localHold cannot be lost, so that it needs neither a deadline nor a token.
type localHold struct {
	lock     chan struct{}
	released sync.Once
}

func (h *localHold) Release(context.Context) error {
	h.released.Do(func() { <-h.lock })
	return nil
}

func (h *localHold) Token() uint64           { return 0 }
func (h *localHold) Lost() <-chan struct{}   { return nil }
func (h *localHold) Deadline() time.Duration { return 0 }

func ExampleService() {
	service := local{new(sync.Map)}
	guard, err := lockutils.Lock("instance-4711", lockutils.On(service))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Unlock()
	// As another host would:
	_, err = service.Acquire(context.Background(), driver.Request{Name: "instance-4711", NoWait: true})
	fmt.Println(err)
	// Output: locked by another holder
}
