//go:build unix

package pglock

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/driver/boottime"
	"github.com/lockutils/lockutils/drivers/drivertest"
	"github.com/lockutils/lockutils/drivers/pglock/pgtest"
)

// background acquires and tells how that went.
func background(t testing.TB, s *Service, r driver.Request) <-chan driver.Hold {
	granted := make(chan driver.Hold, 1)
	go func() {
		defer close(granted)
		h, err := s.Acquire(within(t), r)
		if err != nil {
			t.Errorf("%+v: %v", r, err)
			return
		}
		granted <- h
	}()
	return granted
}

// queued waits until the lock has that many requests that wait.
func queued(t testing.TB, s *Service, name string, n int) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < patience; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		l := s.locks[keyOf(s.namespace, name).lock]
		got := 0
		if l != nil {
			got = len(l.queue) + l.fairWaits
		}
		s.mu.Unlock()
		if got == n {
			return
		}
	}
	t.Fatalf("%d requests did not arrive", n)
}

func isLost(t testing.TB, h driver.Hold) {
	t.Helper()
	select {
	case <-h.Lost():
	case <-time.After(patience):
		t.Fatal("the hold is not lost")
	}
	if err := h.Release(within(t)); !errors.Is(err, driver.ErrLost) {
		t.Errorf("the release of a lost hold: %v", err)
	}
}

func TestRestartOfTheServerIsToldAndSurvived(t *testing.T) {
	for name, restart := range map[string]func(*pgtest.Server) error{
		"orderly": (*pgtest.Server).Restart,
		"killed":  func(s *pgtest.Server) error { s.Kill(); return s.Resume() },
	} {
		t.Run(name, func(t *testing.T) {
			s := own(t)
			a, b := dial(t, parse(s.URL())), dial(t, parse(s.URL()))
			h := acquire(t, a, driver.Request{Name: "x"})
			plain := background(t, a, driver.Request{Name: "x"})
			other := background(t, b, driver.Request{Name: "x"})
			fair := background(t, b, driver.Request{Name: "x", Fair: true})
			queued(t, a, "x", 1)
			queued(t, b, "x", 2)
			queue := driver.Request{Name: "y", Fair: true}
			first := acquire(t, a, queue)
			second := background(t, b, queue)
			release(t, first)
			second2 := <-second // on a connection of its own
			last := max(h.Token(), second2.Token())
			if err := restart(s); err != nil {
				t.Fatal(err)
			}
			isLost(t, h)
			isLost(t, second2)
			for range 3 {
				var next driver.Hold
				select {
				case next = <-plain:
					plain = nil
				case next = <-other:
					other = nil
				case next = <-fair:
					fair = nil
				case <-time.After(patience):
					t.Fatal("a wait has not gone on")
				}
				if next == nil {
					t.Fatal("a wait has failed")
				}
				if next.Token() <= last {
					t.Errorf("token %d after %d", next.Token(), last)
				}
				last = next.Token()
				release(t, next)
			}
		})
	}
}

func TestServerThatStaysAwayIsNamed(t *testing.T) {
	s := own(t)
	service := dial(t, parse(s.URL()), WithTTL(6*time.Second))
	h := acquire(t, service, driver.Request{Name: "x"})
	s.Kill()
	isLost(t, h)
	if _, err := service.Acquire(within(t), driver.Request{Name: "x", NoWait: true}); err == nil ||
		errors.Is(err, driver.ErrLocked) || !strings.Contains(err.Error(), s.Addr()) {
		t.Errorf("a request that must not wait: %v", err)
	}
	for _, fair := range []bool{false, true} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := service.Acquire(ctx, driver.Request{Name: "x", Fair: fair})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), s.Addr()) {
			t.Errorf("a request whose ctx ends, fair %v: %v", fair, err)
		}
	}
	granted := background(t, service, driver.Request{Name: "x"})
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if h := <-granted; h != nil {
		release(t, h)
	}
}

// app makes a role of its own for a Service.
func app(t *testing.T, s *pgtest.Server) *Service {
	t.Helper()
	runSQL(t, s, "create role app login; grant usage on schema lockutils to app; "+
		"grant usage on sequence lockutils.token to app")
	config := parse(s.URL())
	config.User = "app"
	return dial(t, config)
}

// keepOut changes the role of app and ends its sessions while a request of either kind waits for the
// lock "x". It returns their errors.
func keepOut(t *testing.T, s *pgtest.Server, service *Service, change string) <-chan error {
	t.Helper()
	failed := make(chan error, 2)
	for _, fair := range []bool{false, true} {
		go func() {
			_, err := service.Acquire(within(t), driver.Request{Name: "x", Fair: fair})
			failed <- err
		}()
	}
	queued(t, service, "x", 2)
	runSQL(t, s, "alter role app "+change)
	runSQL(t, s, "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'")
	return failed
}

func TestWaitEndsWhenTheServerRefusesForGood(t *testing.T) {
	s := own(t)
	a, b := app(t, s), dial(t, parse(s.URL()))
	h := acquire(t, b, driver.Request{Name: "x"})
	failed := keepOut(t, s, a, "nologin")
	for range 2 {
		if err := <-failed; code(err) != "28000" {
			t.Errorf("a wait of a role that may not log in any more: %v", err)
		}
	}
	runSQL(t, s, "alter role app login")
	release(t, h)
	served(t, a, "28000")
}

// served returns once the Service acquires the lock "x", and checks that until then its errors have
// this code.
func served(t *testing.T, s *Service, failing string) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		h, err := s.Acquire(within(t), driver.Request{Name: "x"})
		if err == nil {
			release(t, h)
			return
		}
		if code(err) != failing || time.Since(begun) > patience {
			t.Fatal(err)
		}
	}
}

func TestServerThatTakesNoWritesAnyMore(t *testing.T) {
	const readOnly = "25006"
	s := own(t)
	service := dial(t, parse(s.URL()))
	held := acquire(t, service, driver.Request{Name: "held"})
	lost := acquire(t, service, driver.Request{Name: "lost"})
	runSQL(t, s, "alter system set default_transaction_read_only = on")
	runSQL(t, s, "select pg_reload_conf()")
	for begun := time.Now(); ; time.Sleep(time.Millisecond) { // until the session has heard of it
		h, err := service.Acquire(within(t), driver.Request{Name: "x"})
		if code(err) == readOnly {
			break
		}
		if err != nil || time.Since(begun) > patience {
			t.Fatal(err)
		}
		release(t, h)
	}
	for _, r := range []driver.Request{
		{Name: "x", Shared: true}, {Name: "x", NoWait: true}, {Name: "x", Fair: true},
	} {
		_, err := service.Acquire(within(t), r)
		if code(err) != readOnly || !strings.Contains(err.Error(), s.Addr()) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if n := heldAt(t, s, keyOf(t.Name(), "x").lock); n != 0 {
		t.Errorf("%d locks held after an error", n)
	}
	release(t, held)
	runSQL(t, s, `select pg_terminate_backend(pid) from pg_stat_activity
		where application_name like 'lockutils%'`)
	isLost(t, lost)
	_, err := service.Acquire(within(t), driver.Request{Name: "x", NoWait: true})
	if err == nil || !strings.Contains(err.Error(), "default_transaction_read_only") {
		t.Errorf("a request to a server that takes no writes: %v", err)
	}
	waiter := background(t, service, driver.Request{Name: "x"})
	runSQL(t, s, "alter system reset default_transaction_read_only")
	runSQL(t, s, "select pg_reload_conf()")
	if h := <-waiter; h != nil {
		release(t, h)
	}
}

func TestServerThatIsFullWhenTheServiceComesBack(t *testing.T) {
	const tooMany = "53300"
	s := own(t)
	service, other := app(t, s), dial(t, parse(s.URL()))
	lost := acquire(t, service, driver.Request{Name: "lost"})
	held := acquire(t, other, driver.Request{Name: "x"})
	failed := keepOut(t, s, service, "connection limit 0")
	isLost(t, lost)
	for range cap(failed) {
		if err := <-failed; code(err) != tooMany || !strings.Contains(err.Error(), s.Addr()) {
			t.Errorf("a wait: %v", err)
		}
	}
	_, err := service.Acquire(within(t), driver.Request{Name: "x", NoWait: true})
	if code(err) != tooMany {
		t.Errorf("a request that must not wait: %v", err)
	}
	runSQL(t, s, "alter role app connection limit -1")
	release(t, held)
	served(t, service, tooMany)
}

// A ledger is a resource behind a fence: it refuses writes with a token below the greatest seen.
type ledger struct {
	mu      sync.Mutex
	token   uint64
	entries int
	late    int // writes refused
}

func (l *ledger) write(token uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if token < l.token {
		l.late++
		return
	}
	l.token = token
	l.entries++
}

func TestTokensGrowAcrossAPromotion(t *testing.T) {
	primary := own(t, "synchronous_commit=off")
	replica, err := primary.Replica()
	if err != nil {
		t.Fatal(err)
	}
	defer replica.Stop()
	both := fmt.Sprintf("postgres://postgres@%s,%s/postgres?sslmode=disable", primary.Addr(), replica.Addr())
	var account ledger
	old := dial(t, parse(both))
	var last uint64
	for range 100 {
		h := acquire(t, old, driver.Request{Name: "x"})
		account.write(h.Token())
		last = h.Token()
		release(t, h)
	}
	// The replica has no word of the tokens to come.
	replica.Freeze()
	for range 100 {
		h := acquire(t, old, driver.Request{Name: "x"})
		account.write(h.Token())
		last = h.Token()
		release(t, h)
	}
	held := acquire(t, old, driver.Request{Name: "x"})
	account.write(held.Token())
	waiter := background(t, dial(t, parse(both)), driver.Request{Name: "x"})
	primary.Freeze() // the old primary is cut off, and so is the holder
	replica.Thaw()
	if err := replica.Promote(); err != nil {
		t.Fatal(err)
	}
	fresh := dial(t, parse(replica.URL()))
	h := acquire(t, fresh, driver.Request{Name: "x"}) // two holders: an asynchronous failover
	if h.Token() <= held.Token() || held.Token() <= last {
		t.Errorf("tokens %d, %d, %d", last, held.Token(), h.Token())
	}
	account.write(h.Token())
	account.write(held.Token())
	if account.entries != 202 || account.late != 1 {
		t.Errorf("the fence let %d writes through and refused %d", account.entries, account.late)
	}
	release(t, h)
	primary.Kill()
	isLost(t, held)
	if h := <-waiter; h == nil || h.Token() <= held.Token() {
		t.Errorf("the wait did not go on at the promoted server: %v", h)
	} else {
		release(t, h)
	}
}

// A process of its own holds a lock: it prints its token, and the result of the release when
// told.
func holderProcess() {
	ctx := context.Background()
	s, err := Dial(ctx, parse(os.Getenv("PGLOCK_HOLDER")), WithNamespace(os.Getenv("PGLOCK_NAMESPACE")),
		WithTTL(3*time.Second))
	if err != nil {
		fmt.Println(err)
		return
	}
	h, err := s.Acquire(ctx, driver.Request{Name: "x"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("held")
	bufio.NewReader(os.Stdin).ReadString('\n')
	fmt.Println("released:", h.Release(ctx))
}

type process struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

func startHolder(t *testing.T, s *pgtest.Server) *process {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PGLOCK_HOLDER="+s.URL(), "PGLOCK_NAMESPACE="+t.Name())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	p := &process{cmd, in, bufio.NewScanner(out)}
	p.expect(t, "held")
	return p
}

func (p *process) expect(t *testing.T, line string) {
	t.Helper()
	if !p.out.Scan() || p.out.Text() != line {
		t.Fatalf("the process says %q, want %q", p.out.Text(), line)
	}
}

func TestLockOfAKilledProcessIsFreeAtOnce(t *testing.T) {
	s := server(t)
	service := dial(t, parse(s.URL()), WithTTL(time.Hour)) // it never polls
	for _, fair := range []bool{false, true} {
		p := startHolder(t, s)
		var granted <-chan driver.Hold
		if fair {
			granted = background(t, service, driver.Request{Name: "x", Fair: true})
			queued(t, service, "x", 1)
		}
		p.cmd.Process.Kill()
		p.cmd.Wait()
		if fair {
			release(t, <-granted)
			continue
		}
		for begun := time.Now(); ; {
			h, err := service.Acquire(within(t), driver.Request{Name: "x", NoWait: true})
			if err == nil {
				release(t, h)
				break
			}
			if time.Since(begun) > patience {
				t.Fatal(err)
			}
		}
	}
}

func TestWaiterHearsOfAKilledHolderByItself(t *testing.T) {
	s := server(t)
	p := startHolder(t, s)
	service := dial(t, parse(s.URL()), WithTTL(6*time.Second)) // it polls every third of that
	granted := background(t, service, driver.Request{Name: "x"})
	queued(t, service, "x", 1)
	p.cmd.Process.Kill()
	release(t, <-granted)
}

func TestStoppedProcessKeepsItsLock(t *testing.T) {
	s := server(t)
	p := startHolder(t, s)
	service := dial(t, parse(s.URL()))
	p.cmd.Process.Signal(syscall.SIGSTOP)
	for begun := time.Now(); time.Since(begun) < 5*time.Second; time.Sleep(50 * time.Millisecond) {
		if h, err := service.Acquire(within(t), driver.Request{Name: "x", NoWait: true}); err == nil {
			release(t, h)
			t.Fatal("the lock of a stopped process was granted")
		}
	}
	p.cmd.Process.Signal(syscall.SIGCONT)
	io.WriteString(p.in, "release\n")
	p.expect(t, "released: <nil>")
}

func TestSilentServerIsGivenUpByTheDeadline(t *testing.T) {
	proxy := drivertest.NewProxy()
	defer proxy.Close()
	config := parse(server(t).URL())
	config.DialFunc = proxy.Dial
	service := dial(t, config, WithTTL(3*time.Second))
	other := dial(t, parse(shared.URL()))
	h := acquire(t, service, driver.Request{Name: "x"})
	proxy.Freeze()
	<-h.Lost()
	if d := h.Deadline(); d > boottime.Now() {
		t.Errorf("lost %v before the deadline", d-boottime.Now())
	}
	_, err := other.Acquire(within(t), driver.Request{Name: "x", NoWait: true})
	if !errors.Is(err, driver.ErrLocked) {
		t.Errorf("the server has freed the lock: %v", err)
	}
	proxy.Mend()
	release(t, acquire(t, other, driver.Request{Name: "x"}))
	release(t, acquire(t, service, driver.Request{Name: "x"}))
}

func TestEndOfASessionByTheAdministratorIsTold(t *testing.T) {
	s := own(t)
	service := dial(t, parse(s.URL()))
	h := acquire(t, service, driver.Request{Name: "x"})
	runSQL(t, s, "select pg_terminate_backend(pid) from pg_stat_activity "+
		"where application_name like 'lockutils %'")
	isLost(t, h)
	release(t, acquire(t, service, driver.Request{Name: "x"}))
}

func TestLockFreedBehindTheServiceIsLost(t *testing.T) {
	service := dial(t, parse(server(t).URL()))
	h := acquire(t, service, driver.Request{Name: "x"})
	if _, err := service.main.ask(within(t), exclusive.free, keyOf(t.Name(), "x").lock); err != nil {
		t.Fatal(err)
	}
	if err := h.Release(within(t)); !errors.Is(err, driver.ErrLost) {
		t.Errorf("release: %v", err)
	}
	<-h.Lost()
}

func TestCancelledFairWaitLeavesTheQueue(t *testing.T) {
	p := newPeers(t, 10*time.Second)
	s := p.process(t).Service.(*Service)
	h := acquire(t, s, driver.Request{Name: "x"})
	k := keyOf(t.Name(), "x")
	for i := range 40 {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("not wanted any more")
		time.AfterFunc(time.Duration(i)*300*time.Microsecond, func() { cancel(why) })
		if _, err := s.Acquire(ctx, driver.Request{Name: "x", Fair: true}); !errors.Is(err, why) {
			t.Fatal(err)
		}
	}
	for begun := time.Now(); p.count("not granted", k.lock) > 0; time.Sleep(time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatal("the server still has waits that were cancelled")
		}
	}
	release(t, h)
	release(t, acquire(t, s, driver.Request{Name: "x"}))
}

func TestHoldsNeedNeitherGoroutinesNorConnections(t *testing.T) {
	s := own(t)
	service := dial(t, parse(s.URL()))
	connections := func() (n int) {
		admin, err := pgx.Connect(within(t), s.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close(context.Background())
		if err := admin.QueryRow(within(t), `select count(*) from pg_stat_activity
			where application_name like 'lockutils %'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := runtime.NumGoroutine()
	var holds []driver.Hold
	for i := range 1000 {
		holds = append(holds, acquire(t, service, driver.Request{Name: fmt.Sprint(i), Shared: i%2 == 0}))
	}
	if n := runtime.NumGoroutine() - before; n > 2 {
		t.Errorf("%d goroutines more for 1000 holds", n)
	}
	if n := connections(); n != 2 {
		t.Errorf("%d connections", n)
	}
	for _, h := range holds {
		release(t, h)
	}
	for i := range 3 {
		holds = append(holds[:0], acquire(t, service, driver.Request{Name: "fair"}))
		granted := background(t, service, driver.Request{Name: "fair", Fair: true})
		queued(t, service, "fair", 1)
		release(t, holds[0])
		h := <-granted
		if n := connections(); n != 3 {
			t.Errorf("%d connections with a fair hold that has waited", n)
		}
		release(t, h)
		for begun := time.Now(); connections() > 2; time.Sleep(time.Millisecond) {
			if time.Since(begun) > patience {
				t.Fatalf("round %d: a connection is left", i)
			}
		}
	}
}

func TestCloseEndsFairWaitsAtTheServer(t *testing.T) {
	p := newPeers(t, time.Hour)
	holder, waiter := p.process(t).Service.(*Service), p.process(t).Service.(*Service)
	h := acquire(t, holder, driver.Request{Name: "x"})
	ended := make(chan error, 3)
	for range cap(ended) {
		go func() {
			_, err := waiter.Acquire(within(t), driver.Request{Name: "x", Fair: true})
			ended <- err
		}()
	}
	k := keyOf(t.Name(), "x")
	for p.count("not granted", k.lock) < cap(ended) {
		time.Sleep(time.Millisecond)
	}
	if err := waiter.Close(); err != nil {
		t.Error(err)
	}
	for range cap(ended) {
		if err := <-ended; !errors.Is(err, errClosed) {
			t.Errorf("a fair wait: %v", err)
		}
	}
	if n := p.count("not granted", k.lock); n != 0 {
		t.Errorf("%d waits left at the server", n)
	}
	release(t, h)
}

func TestCloseTellsHoldersAndFreesAtOnce(t *testing.T) {
	s := server(t)
	other := dial(t, parse(s.URL()))
	service := dial(t, parse(s.URL()))
	var holds []driver.Hold
	for i := range 20 {
		holds = append(holds, acquire(t, service, driver.Request{Name: fmt.Sprint(i), Shared: i%2 == 0}))
	}
	if err := service.Close(); err != nil {
		t.Fatal(err)
	}
	for i, h := range holds {
		next, err := other.Acquire(within(t), driver.Request{Name: fmt.Sprint(i), NoWait: true})
		if err != nil {
			t.Errorf("lock %d after Close: %v", i, err)
		} else {
			release(t, next)
		}
		isLost(t, h)
	}
	if _, err := service.Acquire(within(t), driver.Request{}); !errors.Is(err, errClosed) {
		t.Errorf("acquire: %v", err)
	}
}
