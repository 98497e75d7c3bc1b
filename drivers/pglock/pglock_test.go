//go:build unix

package pglock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/drivertest"
	"github.com/lockutils/lockutils/drivers/pglock/pgtest"
)

// patience is how long a test waits for what must happen.
const patience = 2 * time.Minute

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func dial(t testing.TB, config *pgx.ConnConfig, opts ...Option) *Service {
	t.Helper()
	s, err := Dial(within(t), config, append([]Option{WithNamespace(t.Name())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func acquire(t testing.TB, s *Service, r driver.Request) driver.Hold {
	t.Helper()
	h, err := s.Acquire(within(t), r)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func release(t testing.TB, h driver.Hold) {
	t.Helper()
	if err := h.Release(within(t)); err != nil {
		t.Fatal(err)
	}
}

// own starts a server for one test, set up.
func own(t testing.TB, settings ...string) *pgtest.Server {
	t.Helper()
	server(t)
	s, err := pgtest.Start(settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := Setup(within(t), parse(s.URL())); err != nil {
		t.Fatal(err)
	}
	return s
}

func runSQL(t testing.TB, s *pgtest.Server, sql string) {
	t.Helper()
	if err := s.Exec(within(t), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// refusedWith checks that Dial returns an error that has all these words.
func refusedWith(t testing.TB, config *pgx.ConnConfig, words ...string) {
	t.Helper()
	s, err := Dial(within(t), config)
	if err == nil {
		s.Close()
		t.Fatal("Dial has succeeded")
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

func TestBadOptionsAreNamed(t *testing.T) {
	config := parse("host=127.0.0.1 port=1 user=nobody")
	for want, opt := range map[string]Option{
		"WithTTL(999ms)":   WithTTL(999 * time.Millisecond),
		"WithTTL(25h":      WithTTL(25 * time.Hour),
		"WithMaxLocks(-1)": WithMaxLocks(-1),
	} {
		if _, err := Dial(t.Context(), config, opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, config := range []*pgx.ConnConfig{nil, {}} {
		if _, err := Dial(t.Context(), config); err == nil {
			t.Errorf("no error for %v", config)
		}
		if err := Setup(t.Context(), config); err == nil {
			t.Errorf("no error for %v", config)
		}
	}
}

func TestServiceThatIsNotFromDialIsAnError(t *testing.T) {
	for _, s := range []*Service{nil, {}} {
		for _, r := range []driver.Request{{}, {Fair: true}, {NoWait: true}} {
			if h, err := s.Acquire(t.Context(), r); err == nil || h != nil {
				t.Errorf("%v, %v", h, err)
			}
		}
		if _, err := s.InspectName(t.Context(), "x"); err == nil {
			t.Error("InspectName has succeeded")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDialSaysWhatWasTried(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().(*net.TCPAddr)
	const settings = "host=127.0.0.1 port=%d user=app dbname=locks sslmode=disable"
	silent := parse(fmt.Sprintf(settings, addr.Port))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, silent); !errors.Is(err, context.DeadlineExceeded) ||
		!strings.Contains(err.Error(), addr.String()+"/locks") {
		t.Errorf("silent: %v", err)
	}
	refusedWith(t, parse(fmt.Sprintf(settings, 1)), "127.0.0.1:1", "refused")
}

func TestNamespacesSeparateNames(t *testing.T) {
	for _, pair := range [][2][2]string{
		{{"", "ab"}, {"a", "b"}}, {{"a", "b/c"}, {"a/b", "c"}}, {{"a", ""}, {"", "a"}}, {{"x", "n"}, {"y", "n"}},
	} {
		a, b := keyOf(pair[0][0], pair[0][1]), keyOf(pair[1][0], pair[1][1])
		if a == b || a.lock == a.marker {
			t.Errorf("%q: %v and %v", pair, a, b)
		}
	}
}

func TestMissingSequenceShowsTheSQL(t *testing.T) {
	server(t)
	s := own(t)
	runSQL(t, s, "drop schema lockutils cascade")
	refusedWith(t, parse(s.URL()), "lockutils.token", "Setup", SetupSQL)
	runSQL(t, s, "create schema lockutils; create sequence lockutils.token cache 10")
	refusedWith(t, parse(s.URL()), "lockutils.token", "cache 1")
	runSQL(t, s, "drop sequence lockutils.token; create view lockutils.token as select 1")
	refusedWith(t, parse(s.URL()), "lockutils.token", "sequence")
}

func TestSetupIsSafeTogether(t *testing.T) {
	s := own(t)
	runSQL(t, s, "drop schema lockutils cascade")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := Setup(within(t), parse(s.URL())); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	dial(t, parse(s.URL()))
}

func TestRoleWithoutRightsIsToldTheSQL(t *testing.T) {
	s := own(t)
	runSQL(t, s, `create role "App" login`)
	config := parse(s.URL())
	config.User = "App"
	refusedWith(t, config, `"App"`, `grant usage on sequence lockutils.token to "App"`)
	runSQL(t, s, `grant usage on schema lockutils to "App"; grant usage on sequence lockutils.token to "App"`)
	service := dial(t, config)
	release(t, acquire(t, service, driver.Request{Name: "a"}))
	if err := Setup(t.Context(), config); err != nil {
		t.Errorf("Setup of what is there: %v", err)
	}
	runSQL(t, s, "drop schema lockutils cascade")
	if err := Setup(t.Context(), config); err == nil || !strings.Contains(err.Error(), SetupSQL) {
		t.Errorf("Setup by a role that may not: %v", err)
	}
	// The service in use says what is missing, holds nothing, and works again when it is back.
	h, err := service.Acquire(t.Context(), driver.Request{Name: "a"})
	if code(err) != "42P01" && code(err) != "3F000" {
		t.Errorf("acquire without a sequence: %v, %v", h, err)
	}
	if n := heldAt(t, s, keyOf(t.Name(), "a").lock); n != 0 {
		t.Errorf("%d locks held after an error", n)
	}
	if err := Setup(t.Context(), parse(s.URL())); err != nil {
		t.Fatal(err)
	}
	if _, err := service.Acquire(t.Context(), driver.Request{Name: "a"}); code(err) != insufficientPrivilege {
		t.Errorf("acquire without rights: %v", err)
	}
	if n := heldAt(t, s, keyOf(t.Name(), "a").lock); n != 0 {
		t.Errorf("%d locks held after an error", n)
	}
	runSQL(t, s, `grant usage on schema lockutils to "App"; grant usage on sequence lockutils.token to "App"`)
	release(t, acquire(t, service, driver.Request{Name: "a"}))
}

// code returns the server's code of an error.
func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// heldAt returns how many sessions hold an advisory lock.
func heldAt(t testing.TB, s *pgtest.Server, number int64) (n int) {
	t.Helper()
	admin, err := pgx.Connect(within(t), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	return (&peers{admin: admin}).count("objsubid = 1 and granted", number)
}

func TestWrongPasswordAndDatabaseAreNamed(t *testing.T) {
	s := own(t)
	runSQL(t, s, "create role guarded login password 'right'")
	if err := s.Allow("host all guarded 127.0.0.1/32 scram-sha-256"); err != nil {
		t.Fatal(err)
	}
	config := parse(s.URL())
	config.User, config.Password = "guarded", "wrong"
	refusedWith(t, config, "guarded", s.Addr())
	config = parse(s.URL())
	config.Database = "missing"
	refusedWith(t, config, "missing")
}

func TestReadOnlyServersAreRefused(t *testing.T) {
	s := own(t)
	replica, err := s.Replica()
	if err != nil {
		t.Fatal(err)
	}
	defer replica.Stop()
	refusedWith(t, parse(replica.URL()), "replica")
	runSQL(t, s, "create role reader login in role pg_read_all_data; "+
		"alter role reader set default_transaction_read_only = on")
	config := parse(s.URL())
	config.User = "reader"
	refusedWith(t, config, "default_transaction_read_only")
	// The one of several hosts that takes writes is used.
	both := parse(fmt.Sprintf("postgres://postgres@%s,%s/postgres?sslmode=disable", replica.Addr(), s.Addr()))
	release(t, acquire(t, dial(t, both), driver.Request{Name: "a"}))
}

func TestTransactionPoolerIsRefused(t *testing.T) {
	s := server(t)
	for _, mode := range []string{"transaction", "statement"} {
		for _, size := range []int{1, 2, 20} {
			t.Run(fmt.Sprintf("%s %d", mode, size), func(t *testing.T) {
				p := pool(t, s, mode, size)
				refusedWith(t, parse(p.URL()), "pooler", "pool_mode=session")
			})
		}
	}
}

func pool(t *testing.T, s *pgtest.Server, mode string, size int) *pgtest.Pooler {
	p, err := s.Pool(mode, size)
	if errors.Is(err, pgtest.ErrNotInstalled) {
		t.Skip("pgbouncer is not installed")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.Log())
		}
		p.Stop()
	})
	return p
}

// A busy pooler gives others the connections in between.
func TestBusyTransactionPoolerIsRefused(t *testing.T) {
	p := pool(t, server(t), "transaction", 4)
	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	for range 6 {
		conn, err := pgx.Connect(ctx, p.URL())
		if err != nil {
			t.Fatal(err)
		}
		others.Go(func() {
			defer conn.Close(context.Background())
			for ctx.Err() == nil {
				conn.PgConn().Exec(ctx, "select pg_sleep(0.001)").ReadAll()
			}
		})
	}
	for range 10 {
		refusedWith(t, parse(p.URL()), "pooler")
	}
}

// The suite does not disturb the connections to this pooler: pgbouncer 1.18, which Debian 12 has,
// ends with "bad client state" when clients reset theirs. So this test shows that locks work behind
// a pooler of sessions. TestSuite shows that they bear disturbances.
func TestSessionPoolerServes(t *testing.T) {
	p := newPeers(t, suiteTTL)
	p.url = pool(t, server(t), "session", 100).URL()
	drivertest.TestService(t, func(t *testing.T) driver.Service {
		process := p.process(t)
		process.Link = nil
		return process
	})
}

// A recorder keeps what is written to a connection.
type recorder struct {
	net.Conn
	mu   *sync.Mutex
	sent *strings.Builder
}

func (r recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent.Write(b)
	return r.Conn.Write(b)
}

// pgbouncer mixes up the answers of a connection that is told of releases while it is reset for the next
// client.
func TestCloseWantsNoMoreNotifications(t *testing.T) {
	config := parse(server(t).URL())
	var mu sync.Mutex
	var sent strings.Builder
	open := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := open(ctx, network, addr)
		return recorder{conn, &mu, &sent}, err
	}
	s := dial(t, config)
	executed := func() int {
		mu.Lock()
		defer mu.Unlock()
		return strings.Count(sent.String(), "\x00"+deaf+"\x00")
	}
	before := executed()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := executed() - before; n != 1 {
		t.Errorf("Close has ended the listening %d times, want once", n)
	}
}

func TestServerThatRestartsBehindASessionPooler(t *testing.T) {
	s := own(t)
	service := dial(t, parse(pool(t, s, "session", 10).URL()))
	h := acquire(t, service, driver.Request{Name: "x"})
	waiter := background(t, service, driver.Request{Name: "x"})
	queued(t, service, "x", 1)
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	isLost(t, h)
	if next := <-waiter; next != nil {
		if next.Token() <= h.Token() {
			t.Errorf("token %d after %d", next.Token(), h.Token())
		}
		release(t, next)
	}
}

func TestRoleSettingsDoNotEndHolds(t *testing.T) {
	s := own(t)
	runSQL(t, s, `create role hasty login;
		alter role hasty set statement_timeout = '1s';
		alter role hasty set lock_timeout = '1s';
		alter role hasty set idle_session_timeout = '1s';
		alter role hasty set idle_in_transaction_session_timeout = '1s';
		grant usage on schema lockutils to hasty; grant usage on sequence lockutils.token to hasty`)
	config := parse(s.URL())
	config.User = "hasty"
	holder, waiter := dial(t, config), dial(t, config)
	for _, fair := range []bool{false, true} {
		r := driver.Request{Name: "a", Fair: fair}
		h := acquire(t, holder, r)
		granted := make(chan error, 1)
		go func() {
			h, err := waiter.Acquire(within(t), r)
			if err == nil {
				err = h.Release(within(t))
			}
			granted <- err
		}()
		select {
		case err := <-granted:
			t.Errorf("fair %v: the wait ended: %v", fair, err)
		case <-h.Lost():
			t.Errorf("fair %v: the hold was lost", fair)
		case <-time.After(2500 * time.Millisecond): // more than twice the timeouts
			release(t, h)
			if err := <-granted; err != nil {
				t.Error(err)
			}
		}
	}
}

func TestFullServerIsNamed(t *testing.T) {
	s := own(t, "max_connections=12", "superuser_reserved_connections=1", "max_wal_senders=0")
	runSQL(t, s, "create role app login; grant usage on schema lockutils to app; "+
		"grant usage on sequence lockutils.token to app")
	config := parse(s.URL())
	config.User = "app"
	service, other := dial(t, config), dial(t, config)
	var conns []*pgx.Conn
	for {
		conn, err := pgx.ConnectConfig(within(t), config)
		if err != nil {
			break
		}
		conns = append(conns, conn)
	}
	refusedWith(t, config, "53300", s.Addr())
	h := acquire(t, service, driver.Request{Name: "a"})
	_, err := other.Acquire(within(t), driver.Request{Name: "a", Fair: true})
	if code(err) != "53300" || !strings.Contains(err.Error(), "fair") {
		t.Errorf("a fair wait without a connection: %v", err)
	}
	for _, conn := range conns {
		conn.Close(within(t))
	}
	granted := make(chan error, 1)
	go func() {
		for begun := time.Now(); ; time.Sleep(time.Millisecond) { // the server's processes end a moment later
			_, err := other.Acquire(within(t), driver.Request{Name: "a", Fair: true})
			if code(err) != "53300" || time.Since(begun) > patience {
				granted <- err
				return
			}
		}
	}()
	release(t, h)
	if err := <-granted; err != nil {
		t.Errorf("once there are connections: %v", err)
	}
}

func TestLocksAreBounded(t *testing.T) {
	s := own(t, "max_connections=10", "max_locks_per_transaction=10", "max_wal_senders=0")
	if _, err := Dial(within(t), parse(s.URL()), WithMaxLocks(51)); err == nil ||
		!strings.Contains(err.Error(), "WithMaxLocks(51)") {
		t.Errorf("more than half of the server's table: %v", err)
	}
	service := dial(t, parse(s.URL()), WithMaxLocks(20))
	var holds []driver.Hold
	for i := range 20 {
		holds = append(holds, acquire(t, service, driver.Request{Name: fmt.Sprint(i)}))
	}
	for _, r := range []driver.Request{{Name: "x"}, {Name: "x", NoWait: true}, {Name: "x", Fair: true}} {
		if _, err := service.Acquire(within(t), r); err == nil || !strings.Contains(err.Error(), "WithMaxLocks") {
			t.Errorf("%v: %v", r, err)
		}
	}
	_, err := service.Acquire(within(t), driver.Request{Name: "1", NoWait: true})
	if !errors.Is(err, driver.ErrLocked) {
		t.Errorf("a lock that counts already: %v", err)
	}
	release(t, holds[0])
	holds[0] = acquire(t, service, driver.Request{Name: "x"})
	for _, h := range holds {
		release(t, h)
	}
	service.mu.Lock()
	defer service.mu.Unlock()
	if len(service.locks) != 0 {
		t.Errorf("%d locks remembered after their release", len(service.locks))
	}
}

func TestFullLockTableIsAnErrorAndNoLoss(t *testing.T) {
	s := own(t, "max_connections=20", "max_locks_per_transaction=10", "max_wal_senders=0")
	service := dial(t, parse(s.URL()))
	first := acquire(t, service, driver.Request{Name: "first"})
	hog, err := pgx.Connect(within(t), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer hog.Close(context.Background())
	for i := 0; err == nil; i++ {
		_, err = hog.Exec(within(t), "select pg_advisory_lock(1, $1)", i)
	}
	if _, err := service.Acquire(within(t), driver.Request{Name: "second"}); code(err) != "53200" {
		t.Errorf("a full lock table: %v", err)
	}
	if _, err := hog.Exec(within(t), "select pg_advisory_unlock_all()"); err != nil {
		t.Fatal(err)
	}
	release(t, acquire(t, service, driver.Request{Name: "second"}))
	release(t, first)
}
