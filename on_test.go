package lockutils_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/drivertest"
)

// otherHost locks the name at the service as a process of another host does.
func otherHost(t *testing.T, m *drivertest.Memory, r driver.Request) driver.Hold {
	t.Helper()
	s := m.Open()
	t.Cleanup(func() { s.Close() })
	h, err := s.Acquire(t.Context(), r)
	if err != nil {
		t.Fatalf("Acquire(%q): %v", r.Name, err)
	}
	return h
}

func TestLocksAtAServiceExcludeOtherHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s := m.Open()
		calls := map[string]func(opts ...lockutils.Option) error{
			"Lock": func(opts ...lockutils.Option) error {
				g, err := lockutils.Lock("x", opts...)
				if err == nil {
					err = g.Unlock()
				}
				return err
			},
			"Do": func(opts ...lockutils.Option) error {
				return lockutils.Do(t.Context(), "x", func(context.Context) error { return nil }, opts...)
			},
			"Synchronized": func(opts ...lockutils.Option) error {
				return lockutils.Synchronized("x", func() error { return nil }, opts...)()
			},
			"LockWithPrefix": func(opts ...lockutils.Option) error {
				g, err := lockutils.LockWithPrefix("")("x", opts...)
				if err == nil {
					err = g.Unlock()
				}
				return err
			},
		}
		for name, call := range calls {
			for _, shared := range [][]lockutils.Option{nil, {lockutils.Shared()}} {
				opts := append(shared, lockutils.On(s))
				h := otherHost(t, m, driver.Request{Name: "x"})
				err := call(append(opts, lockutils.NonBlocking())...)
				wantServiceError(t, err, "x", lockutils.ErrLocked)
				err = call(append(opts, lockutils.WithTimeout(time.Second))...)
				wantServiceError(t, err, "x", context.DeadlineExceeded)

				done := make(chan error)
				go func() { done <- call(opts...) }()
				synctest.Wait()
				select {
				case err := <-done:
					t.Errorf("%s does not wait: %v", name, err)
				default:
				}
				h.Release(t.Context())
				if err := <-done; err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		wantIdle(t, m, "x")
	})
}

// wantIdle checks that nobody holds the name at the service or waits for it there.
func wantIdle(t *testing.T, m *drivertest.Memory, name string) {
	t.Helper()
	if held, waiting := m.Holding(name), m.Waiting(name); held != 0 || waiting != 0 {
		t.Errorf("%q has %d holders and %d waiters at the service", name, held, waiting)
	}
}

func wantServiceError(t *testing.T, err error, name string, want error) {
	t.Helper()
	var e *lockutils.AcquireError
	if !errors.As(err, &e) || e.Name != name || e.Service != "memory" || !errors.Is(err, want) {
		t.Errorf("error %v (%#v), want that of %q at memory which matches %v", err, e, name, want)
	}
}

func TestTheNameAtAServiceIsThatOfTheLockFile(t *testing.T) {
	m := drivertest.NewMemory()
	s := m.Open()
	for _, c := range []struct{ prefix, name, want string }{
		{"", "x", "x"}, {"nova", "x", "nova-x"}, {"nova-", "x", "nova-x"}, {"nova", "", "nova-"}, {"", "", ""},
		{"", "a/b\x00\xff", "a/b\x00\xff"},
	} {
		g, err := lockutils.Lock(c.name, lockutils.On(s), lockutils.WithPrefix(c.prefix), lockutils.External(),
			lockutils.WithFcntl(), lockutils.WithDelay(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if m.Holding(c.want) != 1 {
			t.Errorf("prefix %q, name %q: not held as %q", c.prefix, c.name, c.want)
		}
		if g.Name() != c.name || g.Path() != "" {
			t.Errorf("the guard has name %q and path %q", g.Name(), g.Path())
		}
		if err := g.Unlock(); err != nil {
			t.Error(err)
		}
	}
}

func TestGoroutinesThatWaitCostTheServiceNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s := m.Open()
		other := otherHost(t, m, driver.Request{Name: "x"})
		before := m.Requests()
		var waits sync.WaitGroup
		const n = 1000
		for range n {
			waits.Go(func() {
				g := mustLock(t, "x", lockutils.On(s))
				if g.Err() != nil || m.Holding("x") != 1 {
					t.Errorf("Err %v, %d holders", g.Err(), m.Holding("x"))
				}
				g.Unlock()
			})
		}
		synctest.Wait()
		if sent, waiting := m.Requests()-before, m.Waiting("x"); sent != 1 || waiting != 1 {
			t.Errorf("%d goroutines have sent %d requests, of which %d wait", n, sent, waiting)
		}
		other.Release(t.Context())
		waits.Wait()
		wantIdle(t, m, "x")
	})
}

func TestSharersOfAProcessComeInTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s := m.Open()
		other := otherHost(t, m, driver.Request{Name: "x"})
		before := m.Requests()
		const n = 100
		guards := make(chan lockutils.Guard, n+1)
		for range n {
			go func() { guards <- mustLock(t, "x", lockutils.On(s), lockutils.Shared()) }()
		}
		synctest.Wait()
		other.Release(t.Context())
		synctest.Wait()
		guards <- mustLock(t, "x", lockutils.On(s), lockutils.Shared()) // one more joins
		if sent := m.Requests() - before; sent != 1 || len(guards) != n+1 {
			t.Errorf("%d requests for %d sharers", sent, len(guards))
		}
		for range n + 1 {
			if m.Holding("x") != 1 {
				t.Error("not held while there are sharers")
			}
			g := <-guards
			if err := g.Unlock(); err != nil {
				t.Error(err)
			}
			if err := g.Unlock(); err != lockutils.ErrNotHeld {
				t.Errorf("second Unlock: %v", err)
			}
		}
		wantIdle(t, m, "x")
	})
}

func TestASharerThatGivesUpLeavesTheOthersWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s := m.Open()
		other := otherHost(t, m, driver.Request{Name: "x"})
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 2)
		lock := func(ctx context.Context) {
			g, err := lockutils.LockContext(ctx, "x", lockutils.On(s), lockutils.Shared())
			if err == nil {
				err = g.Unlock()
			}
			results <- err
		}
		go lock(ctx)
		synctest.Wait()
		go lock(t.Context())
		synctest.Wait()
		cancel()
		wantServiceError(t, <-results, "x", context.Canceled)
		if m.Waiting("x") != 1 {
			t.Errorf("%d requests wait", m.Waiting("x"))
		}
		other.Release(t.Context())
		if err := <-results; err != nil {
			t.Error(err)
		}
		wantIdle(t, m, "x")
	})
}

func TestOtherHostsThatQueueComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s, other := m.Open(), m.Open()
		first := mustLock(t, "x", lockutils.On(s))
		var order []string
		var mu sync.Mutex
		note := func(who string) { mu.Lock(); order = append(order, who); mu.Unlock() }
		var waits sync.WaitGroup
		waits.Go(func() {
			h, err := other.Acquire(t.Context(), driver.Request{Name: "x"})
			if err != nil {
				t.Error(err)
				return
			}
			note("other host")
			h.Release(t.Context())
		})
		synctest.Wait()
		waits.Go(func() { g := mustLock(t, "x", lockutils.On(s)); note("this process"); g.Unlock() })
		synctest.Wait()
		first.Unlock()
		waits.Wait()
		if !reflect.DeepEqual(order, []string{"other host", "this process"}) {
			t.Errorf("order: %v", order)
		}
	})
}

func TestAWaitThatEndsLeavesNothingAtTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s := m.Open()
		other := otherHost(t, m, driver.Request{Name: "x"})
		cause := errors.New("the user has gone")
		for _, opts := range [][]lockutils.Option{{}, {lockutils.Shared()}} {
			ctx, cancel := context.WithCancelCause(t.Context())
			result := make(chan error)
			go func() {
				_, err := lockutils.LockContext(ctx, "x", append(opts, lockutils.On(s))...)
				result <- err
			}()
			synctest.Wait()
			cancel(cause)
			err := <-result
			wantServiceError(t, err, "x", context.Canceled)
			wantServiceError(t, err, "x", cause)
			synctest.Wait()
			if m.Waiting("x") != 0 {
				t.Error("the request still waits at the service")
			}
		}
		other.Release(t.Context())
		mustLock(t, "x", lockutils.On(s)).Unlock()
	})
}

func TestAServiceIsAskedForNothingThatItCannotDo(t *testing.T) {
	for option, opt := range map[string]lockutils.Option{"Shared": lockutils.Shared(),
		"Fair": lockutils.Fair()} {
		m := drivertest.NewMemory(drivertest.WithCapability(driver.Fenced))
		_, err := lockutils.Lock("x", lockutils.On(m.Open()), opt)
		if !errors.Is(err, lockutils.ErrOptions) || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", option, err)
		}
		wantServiceError(t, err, "x", lockutils.ErrOptions)
		if m.Requests() != 0 {
			t.Errorf("%s: the service was asked", option)
		}
	}
	s := drivertest.NewMemory().Open()
	for _, opt := range []lockutils.Option{lockutils.Shared(), lockutils.Fair()} {
		mustLock(t, "x", lockutils.On(s), opt).Unlock()
	}
}

// uncomparable is a service that cannot be a key of a map.
type uncomparable struct {
	driver.Service
	_ []int
}

func TestAServiceThatCannotBeUsedIsAnError(t *testing.T) {
	var none *drivertest.MemoryService
	for name, s := range map[string]driver.Service{
		"nil": nil, "nil pointer": none, "uncomparable": uncomparable{Service: drivertest.NewMemory().Open()},
	} {
		_, err := lockutils.Lock("x", lockutils.On(s))
		if !errors.Is(err, lockutils.ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
	on := lockutils.On(drivertest.NewMemory().Open())
	for name, call := range map[string]func(string, ...lockutils.Option) (lockutils.Guard, error){
		"InternalLock": lockutils.InternalLock, "InternalFairLock": lockutils.InternalFairLock,
		"ExternalLock": lockutils.ExternalLock,
	} {
		if _, err := call("x", on); !errors.Is(err, lockutils.ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := lockutils.NewInterProcessLock(t.TempDir()+"/l", on).Lock(); !errors.Is(err, lockutils.ErrOptions) {
		t.Errorf("InterProcessLock: %v", err)
	}
	mustLock(t, "x").Unlock()
}

func TestErrorsOfAServiceNameItAndLeaveNothingHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s := m.Open()
		broken := errors.New("no space left")
		s.Fail(broken)
		for _, opts := range [][]lockutils.Option{{}, {lockutils.Shared()}, {lockutils.NonBlocking()}} {
			_, err := lockutils.Lock("x", append(opts, lockutils.On(s))...)
			wantServiceError(t, err, "x", broken)
			if want := `lockutils: cannot acquire lock "x" at memory: ` + broken.Error(); err.Error() != want {
				t.Errorf("%q, want %q", err, want)
			}
		}
		s.Mend()
		g := mustLock(t, "x", lockutils.On(s))
		g.Unlock()
		s.Close()
		if _, err := lockutils.Lock("x", lockutils.On(s)); err == nil {
			t.Error("a closed service gives locks")
		}
		mustLock(t, "x").Unlock()
	})
}

func TestTokensGrow(t *testing.T) {
	m := drivertest.NewMemory()
	s := m.Open()
	var last uint64
	for range 10 {
		g := mustLock(t, "x", lockutils.On(s))
		token := g.Token()
		if token <= last {
			t.Errorf("token %d after %d", token, last)
		}
		last = token
		g.Unlock()
		if g.Token() != token {
			t.Errorf("token %d becomes %d", token, g.Token())
		}
	}
	g := mustLock(t, "x")
	defer g.Unlock()
	if g.Token() != 0 || g.Lost() != nil || g.Err() != nil {
		t.Errorf("without a service: token %d, Err %v", g.Token(), g.Err())
	}
	zero := lockutils.Guard{}
	if zero.Token() != 0 || zero.Lost() != nil || zero.Err() != lockutils.ErrNotHeld {
		t.Errorf("zero guard: token %d, Err %v", zero.Token(), zero.Err())
	}
}

func TestALostLockSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s := m.Open()
		g := mustLock(t, "x", lockutils.On(s))
		select {
		case <-g.Lost():
			t.Fatal("lost at once")
		default:
		}
		s.Lose("x")
		<-g.Lost()
		for range 2 {
			if err := g.Err(); err != lockutils.ErrLost {
				t.Errorf("Err: %v", err)
			}
		}
		if err := g.Unlock(); err != lockutils.ErrLost {
			t.Errorf("Unlock: %v", err)
		}
		if err := g.Err(); err != lockutils.ErrLost {
			t.Errorf("Err after Unlock: %v", err)
		}
		if err := g.Unlock(); err != lockutils.ErrNotHeld {
			t.Errorf("second Unlock: %v", err)
		}
		h := mustLock(t, "x", lockutils.On(s))
		if h.Err() != nil {
			t.Errorf("Err of the next hold: %v", h.Err())
		}
		if err := h.Unlock(); err != nil {
			t.Error(err)
		}
		if err := h.Err(); err != lockutils.ErrNotHeld {
			t.Errorf("Err of a hold that was released: %v", err)
		}
	})
}

func TestErrGoesByTheClockWhenAProcessHasStood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := drivertest.NewMemory(drivertest.WithTTL(15 * time.Second))
		s := m.Open()
		defer s.Close()
		g := mustLock(t, "x", lockutils.On(s))
		s.Pause() // nothing closes Lost now
		time.Sleep(time.Minute)
		select {
		case <-g.Lost():
			t.Error("the test is to show what Err does without Lost")
		default:
		}
		if err := g.Err(); err != lockutils.ErrLost {
			t.Errorf("Err after the deadline: %v", err)
		}
		if err := g.Unlock(); err != lockutils.ErrLost {
			t.Errorf("Unlock after the deadline: %v", err)
		}
		s.Resume()
		synctest.Wait()
	})
}

func TestDoTellsOfALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s := m.Open()
		lose := func(ctx context.Context) {
			s.Lose("x")
			<-ctx.Done()
			if context.Cause(ctx) != lockutils.ErrLost {
				t.Errorf("cause: %v", context.Cause(ctx))
			}
		}
		own := errors.New("from fn")
		for _, want := range []error{nil, own} {
			err := lockutils.Do(t.Context(), "x", func(ctx context.Context) error { lose(ctx); return want },
				lockutils.On(s))
			if want == nil {
				want = lockutils.ErrLost
			}
			if err != want {
				t.Errorf("Do returns %v, want %v", err, want)
			}
		}
		f := lockutils.Synchronized("x", func(ctx context.Context) error { lose(ctx); return nil }, lockutils.On(s))
		if err := f(t.Context()); err != lockutils.ErrLost {
			t.Errorf("a synchronized function with a context: %v", err)
		}
		g := lockutils.Synchronized("x", func() error { s.Lose("x"); return nil }, lockutils.On(s))
		if err := g(); err != lockutils.ErrLost {
			t.Errorf("a synchronized function: %v", err)
		}
		h := lockutils.Synchronized("x", func(int) (int, error) { s.Lose("x"); return 1, nil }, lockutils.On(s))
		if n, err := h(0); n != 1 || err != lockutils.ErrLost {
			t.Errorf("a synchronized function of another type: %d, %v", n, err)
		}
	})
}

func TestSynchronizedWithoutAnErrorLogsALoss(t *testing.T) {
	r := record(t, slog.LevelWarn)
	s := drivertest.NewMemory().Open()
	lockutils.Synchronized("x", func() { s.Lose("x") }, lockutils.On(s))()
	lockutils.Synchronized("x", func() int { s.Lose("x"); return 1 }, lockutils.On(s))()
	lockutils.Synchronized("x", func() { s.Lose("x") }, lockutils.On(s), lockutils.WithLogging(false))()
	if len(r.messages) != 2 {
		t.Errorf("%d messages", len(r.messages))
	}
	for _, m := range r.messages {
		if m.Message != "Lost lock" || m.attrs["lock"].String() != "x" || m.attrs["service"].String() != "memory" {
			t.Errorf("%s %v", m.Message, m.attrs)
		}
	}
}

func TestAReleaseGoesOnUntilItIsConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s := m.Open()
		g := mustLock(t, "x", lockutils.On(s))
		s.Freeze()
		began := time.Now()
		err := g.Unlock()
		if err == nil || errors.Is(err, lockutils.ErrLost) || errors.Is(err, lockutils.ErrNotHeld) {
			t.Errorf("Unlock without an answer: %v", err)
		} else if !strings.HasPrefix(err.Error(), `lockutils: cannot confirm the release of lock "x": `) {
			t.Errorf("message %q", err)
		}
		if waited := time.Since(began); waited > 5*time.Second {
			t.Errorf("Unlock has waited for %v", waited)
		}
		if _, err := lockutils.TryLock("x", lockutils.On(s)); !errors.Is(err, lockutils.ErrLocked) {
			t.Errorf("the lock before its release is confirmed: %v", err)
		}
		next := make(chan lockutils.Guard)
		go func() { next <- mustLock(t, "x", lockutils.On(s)) }()
		time.Sleep(time.Minute)
		select {
		case <-next:
			t.Error("a request did not wait for the release")
		default:
		}
		s.Mend()
		h := <-next
		if err := h.Err(); err != nil {
			t.Errorf("the next hold: %v", err)
		}
		if err := h.Unlock(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		wantIdle(t, m, "x")
	})
}

func TestALockOfAServiceIsKnownToDo(t *testing.T) {
	s := drivertest.NewMemory().Open()
	other := lockutils.NewSemaphores(1)
	err := lockutils.Do(t.Context(), "x", func(ctx context.Context) error {
		for _, opts := range [][]lockutils.Option{
			{lockutils.On(s)},
			{lockutils.On(s), lockutils.WithSemaphores(other)}, // the same at the service
			{lockutils.On(s), lockutils.Shared()},
		} {
			_, err := lockutils.LockContext(ctx, "x", opts...)
			wantServiceError(t, err, "x", lockutils.ErrDeadlock)
		}
		g, err := lockutils.LockContext(ctx, "x", lockutils.On(drivertest.NewMemory().Open()),
			lockutils.WithSemaphores(other))
		if err != nil {
			return fmt.Errorf("another service: %w", err)
		}
		return g.Unlock()
	}, lockutils.On(s))
	if err != nil {
		t.Error(err)
	}
	err = lockutils.Do(t.Context(), "x", func(ctx context.Context) error {
		g, err := lockutils.LockContext(ctx, "x", lockutils.On(s), lockutils.Shared(), lockutils.Fair())
		if err != nil {
			return err
		}
		return g.Unlock()
	}, lockutils.On(s), lockutils.Shared())
	if err != nil {
		t.Errorf("a share within a share: %v", err)
	}
}

func TestLogsNameTheService(t *testing.T) {
	r := record(t, slog.LevelDebug)
	s := drivertest.NewMemory().Open()
	mustLock(t, "x", lockutils.On(s)).Unlock()
	if len(r.messages) != 3 {
		t.Fatalf("%d messages", len(r.messages))
	}
	for _, m := range r.messages {
		if m.attrs["service"].String() != "memory" {
			t.Errorf("%s: %v", m.Message, m.attrs)
		}
	}
}

func TestATimeoutAtAServiceIsOneOfTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s := m.Open()
		h := otherHost(t, m, driver.Request{Name: "p-x"})
		lock := lockutils.LockWithPrefix("p", lockutils.On(s))
		_, err := lock("x", lockutils.WithTimeout(time.Minute))
		wantError(t, err, lockutils.ErrTimeout)
		wantError(t, err, context.DeadlineExceeded)
		var failed *lockutils.AcquireError
		if errors.As(err, &failed); failed.Scope != "p" || failed.Service != s.Name() {
			t.Errorf("scope %q, service %q", failed.Scope, failed.Service)
		}
		_, err = lock("x", lockutils.WithTimeout(0))
		wantError(t, err, lockutils.ErrLocked)
		wantError(t, err, lockutils.ErrTimeout)
		if err := h.Release(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		wantIdle(t, m, "p-x")
	})
}

// unreachable is a service whose requests wait for a connection.
type unreachable struct{ *drivertest.MemoryService }

func (unreachable) Acquire(ctx context.Context, _ driver.Request) (driver.Hold, error) {
	<-ctx.Done()
	return nil, fmt.Errorf("%w; the last try: no route to host", context.Cause(ctx))
}

func TestATimeoutAtAServiceSaysWhatTheServiceKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := unreachable{drivertest.NewMemory().Open()}
		defer s.Close()
		_, err := lockutils.Lock("x", lockutils.On(s), lockutils.WithTimeout(time.Minute))
		wantServiceError(t, err, "x", lockutils.ErrTimeout)
		wantError(t, err, context.DeadlineExceeded)
		if !strings.Contains(err.Error(), "no route to host") {
			t.Errorf("%q does not say what has been tried", err)
		}
		mustLock(t, "x").Unlock()
	})
}

func TestADefaultServiceIsForLocksByName(t *testing.T) {
	dir := setLockPath(t)
	synctest.Test(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		s := m.Open()
		lockutils.SetDefaultOptions(lockutils.On(s))
		defer lockutils.SetDefaultOptions()
		otherHost(t, m, driver.Request{Name: "x"})
		if _, err := lockutils.TryLock("x"); !errors.Is(err, lockutils.ErrLocked) {
			t.Errorf("Lock does not heed the service: %v", err)
		}
		for name, lock := range map[string]func() (lockutils.Guard, error){
			"InternalLock":     func() (lockutils.Guard, error) { return lockutils.InternalLock("x") },
			"InternalFairLock": func() (lockutils.Guard, error) { return lockutils.InternalFairLock("x") },
			"ExternalLock":     func() (lockutils.Guard, error) { return lockutils.ExternalLock("x") },
			"InterProcessLock": func() (lockutils.Guard, error) {
				return lockutils.NewInterProcessLock(filepath.Join(dir, "y")).LockGuard(t.Context())
			},
		} {
			g, err := lock()
			if err != nil {
				if !errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			mustUnlock(t, g)
		}
	})
}

func TestLossesAreCounted(t *testing.T) {
	const class = "losses"
	lost := func() (n uint64) {
		var stats lockutils.Stats
		lockutils.ReadStats(&stats)
		for _, s := range stats.Locks {
			if s.Class == class && s.Layer == lockutils.LayerService && s.Mode == lockutils.ModeWriter {
				n += s.Lost
			}
		}
		return n
	}
	s := drivertest.NewMemory().Open()
	before := lost()
	for range 3 {
		g := mustLock(t, "x", lockutils.On(s), lockutils.WithPrefix(class))
		s.Lose(class + "-x")
		g.Unlock()
	}
	mustLock(t, "x", lockutils.On(s), lockutils.WithPrefix(class)).Unlock()
	if n := lost() - before; n != 3 {
		t.Errorf("%d losses are counted, want 3", n)
	}
}

func TestWhatIsAtAServiceIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := drivertest.NewMemory()
		other := otherHost(t, m, driver.Request{Name: "nova-x"})
		s := m.Open()
		done := make(chan lockutils.Guard)
		go func() { done <- mustLock(t, "x", lockutils.On(s), lockutils.WithPrefix("nova")) }()
		synctest.Wait()
		found := false
		for _, l := range lockutils.Snapshot() {
			if l.Service == "memory" && l.Scope == "nova" && l.Name == "x" {
				found = len(l.Waiters) == 1 && l.Waiters[0].Mode == lockutils.ModeWriter
			}
		}
		if !found {
			t.Errorf("a wait at a service is not in %+v", lockutils.Snapshot())
		}
		other.Release(t.Context())
		(<-done).Unlock()
	})
}

func TestDeadlocksAtAServiceEnd(t *testing.T) {
	s := drivertest.NewMemory().Open()
	lockutils.SetDeadlockCheck(time.Millisecond)
	defer lockutils.SetDeadlockCheck(50 * time.Millisecond)
	both := make(chan struct{})
	var first sync.WaitGroup
	first.Add(2)
	results := make(chan error, 2)
	for _, order := range [][2]string{{"a", "b"}, {"b", "a"}} {
		go func() {
			results <- lockutils.Do(t.Context(), order[0], func(ctx context.Context) error {
				first.Done()
				<-both
				return lockutils.Do(ctx, order[1], func(context.Context) error { return nil }, lockutils.On(s))
			}, lockutils.On(s))
		}()
	}
	first.Wait()
	close(both)
	var deadlocks int
	for range 2 {
		err := <-results
		var d *lockutils.DeadlockError
		if errors.As(err, &d) && errors.Is(err, lockutils.ErrDeadlock) && len(d.Cycle) == 2 {
			deadlocks++
		} else if err != nil {
			t.Error(err)
		}
	}
	if deadlocks != 1 {
		t.Errorf("%d of the two have ended with a deadlock", deadlocks)
	}
}

func TestLockAllAtAService(t *testing.T) {
	m := drivertest.NewMemory()
	s := m.Open()
	names := []string{"b", "a", "b", "c"}
	guards, err := lockutils.LockAll(t.Context(), names, lockutils.On(s))
	if err != nil {
		t.Fatal(err)
	}
	if len(guards) != 3 || m.Holding("a")+m.Holding("b")+m.Holding("c") != 3 {
		t.Errorf("%d guards", len(guards))
	}
	if err := guards.Unlock(); err != nil {
		t.Error(err)
	}
	otherHost(t, m, driver.Request{Name: "b"})
	_, err = lockutils.LockAll(t.Context(), names, lockutils.On(s), lockutils.NonBlocking())
	wantServiceError(t, err, "b", lockutils.ErrLocked)
	wantIdle(t, m, "a")
	wantIdle(t, m, "c")
	err = lockutils.DoAll(t.Context(), []string{"x", "y"}, func(ctx context.Context) error {
		s.Lose("y")
		<-ctx.Done()
		if context.Cause(ctx) != lockutils.ErrLost {
			t.Errorf("cause: %v", context.Cause(ctx))
		}
		return nil
	}, lockutils.On(s))
	if !errors.Is(err, lockutils.ErrLost) {
		t.Errorf("DoAll: %v", err)
	}
}

// A breaking service panics where it is told to.
type breaking struct{ inAcquire, inRelease, inLost, inDeadline bool }

func (b *breaking) Acquire(context.Context, driver.Request) (driver.Hold, error) {
	if b.inAcquire {
		panic("broken")
	}
	return breakingHold{b}, nil
}

func (b *breaking) Can() driver.Capability { return 0 }
func (b *breaking) Name() string           { return "breaking" }

type breakingHold struct{ *breaking }

func (h breakingHold) Release(context.Context) error {
	if h.inRelease {
		panic("broken")
	}
	return nil
}

func (breakingHold) Token() uint64 { return 0 }

func (h breakingHold) Lost() <-chan struct{} {
	if h.inLost {
		panic("broken")
	}
	return nil
}

func (h breakingHold) Deadline() time.Duration {
	if h.inDeadline {
		panic("broken")
	}
	return 0
}

func TestADriverThatPanicsLeavesNothingHeld(t *testing.T) {
	calls := map[string]func(opts ...lockutils.Option) error{
		"Do": func(opts ...lockutils.Option) error {
			return lockutils.Do(t.Context(), "x", func(context.Context) error { return nil }, opts...)
		},
		"DoAll": func(opts ...lockutils.Option) error {
			return lockutils.DoAll(t.Context(), []string{"w", "x"},
				func(context.Context) error { return nil }, opts...)
		},
	}
	for name, call := range calls {
		for _, b := range []*breaking{
			{inAcquire: true}, {inRelease: true}, {inLost: true}, {inDeadline: true},
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s: no panic", name)
					}
				}()
				_ = call(lockutils.On(b))
			}()
			*b = breaking{}
			for _, lock := range []string{"w", "x"} {
				wantFree(t, lock)
				wantFree(t, lock, lockutils.On(b))
			}
			for _, i := range lockutils.Snapshot() {
				t.Errorf("%s: still in use: %+v", name, i)
			}
		}
	}
}

func TestAServiceDoesNotMatterToLockFilesThatNobodyAcquires(t *testing.T) {
	setLockPath(t)
	opts := []lockutils.Option{lockutils.On(&breaking{}), lockutils.Fair(), lockutils.Shared()}
	wantError(t, lockutils.RemoveExternalLockFile("x", opts...), nil)
	_, err := lockutils.SweepExternalLockFiles(0, opts...)
	wantError(t, err, nil)
	if _, err = lockutils.Holders("x", opts...); errors.Is(err, lockutils.ErrOptions) {
		t.Error(err)
	}
	if _, err = lockutils.HostLocks(opts...); errors.Is(err, lockutils.ErrOptions) {
		t.Error(err)
	}
}

func TestLockAllWaitsForAnotherHost(t *testing.T) {
	lockutils.SetDeadlockCheck(time.Microsecond)
	defer lockutils.SetDeadlockCheck(50 * time.Millisecond)
	m := drivertest.NewMemory()
	s := m.Open()
	otherHost(t, m, driver.Request{Name: "x"})
	for _, names := range [][]string{{"x"}, {"x", "a"}, {"x", "z"}} {
		_, err := lockutils.LockAll(t.Context(), names, lockutils.On(s),
			lockutils.WithTimeout(100*time.Millisecond))
		wantServiceError(t, err, "x", lockutils.ErrTimeout)
	}
}
