package pglock

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lockutils/lockutils/driver/boottime"
)

// connectable returns what concerns connections in a configuration of pgx.
func connectable(config *pgx.ConnConfig) (*pgconn.Config, error) {
	if config == nil {
		return nil, errors.New("pglock: nil configuration")
	}
	if config.DialFunc == nil { // ParseConfig sets it, and pgx panics without
		return nil, errors.New("pglock: the configuration was not made by pgx.ParseConfig")
	}
	c := config.Config.Copy()
	c.RuntimeParams["application_name"] = nonEmpty(c.RuntimeParams["application_name"], introduction())
	c.ValidateConnect = writable(c.ValidateConnect)
	return c, nil
}

func nonEmpty(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// describe says where the server is.
func describe(c *pgconn.Config) string {
	address := func(host string, port uint16) string {
		return net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	hosts := []string{address(c.Host, c.Port)}
	for _, f := range c.Fallbacks {
		if a := address(f.Host, f.Port); a != hosts[len(hosts)-1] {
			hosts = append(hosts, a)
		}
	}
	return strings.Join(hosts, ",") + "/" + nonEmpty(c.Database, c.User)
}

// An unfit error reports that a server cannot keep locks as it is now.
type unfit struct {
	reason    string
	temporary bool // it may change without anybody's doing
}

func (e *unfit) Error() string { return e.reason }

// writable returns a check that makes pgx go on to the next host if this one takes no writes.
func writable(first pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
	return func(ctx context.Context, c *pgconn.PgConn) error {
		if first != nil {
			if err := first(ctx, c); err != nil {
				return err
			}
		}
		nonce := rand.Text()
		row, err := queryRow(ctx, c, `select '`+nonce+`', pg_catalog.pg_is_in_recovery(),
			pg_catalog.current_setting('transaction_read_only')`)
		switch {
		case err != nil:
			return err
		case row[0] != nonce:
			return errStray
		case row[1] == "t":
			return &unfit{"the server is a read-only replica", true}
		case row[2] == "on":
			return &unfit{"the server takes no writes: default_transaction_read_only is on", true}
		}
		return nil
	}
}

// errStray reports the answer to something else. Some poolers pass on to a new client what a former
// one has not waited for.
var errStray = errors.New("the answer is to another question")

// connect opens a connection to a server that takes writes.
func (s *Service) connect(ctx context.Context) (c *pgconn.PgConn, err error) {
	for range 5 {
		if c, err = pgconn.ConnectConfig(ctx, s.config); !errors.Is(err, errStray) {
			break
		}
	}
	return c, err
}

// queryRow runs a query that returns one row of text.
func queryRow(ctx context.Context, c *pgconn.PgConn, sql string) ([]string, error) {
	results, err := c.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) == 0 || len(results[len(results)-1].Rows) != 1 {
		return nil, errStray
	}
	last := results[len(results)-1]
	row := make([]string, len(last.Rows[0]))
	for i, value := range last.Rows[0] {
		row[i] = string(value)
	}
	return row, nil
}

// connectTime bounds an attempt to connect that nobody's ctx bounds.
func (s *Service) connectTime() time.Duration { return max(s.ttl/3, time.Second) }

// connectMain opens the session that holds the locks.
func (s *Service) connectMain(ctx context.Context) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	main, err := s.prepareMain(ctx, c)
	if err != nil {
		c.Close(ctx)
		return pooled(err)
	}
	s.setMain(main)
	return nil
}

func (s *Service) prepareMain(ctx context.Context, c *pgconn.PgConn) (*session, error) {
	if err := s.refusePooler(ctx, c); err != nil {
		return nil, err
	}
	timeline, err := s.examine(ctx, c)
	if err != nil {
		return nil, err
	}
	presence := newPresence()
	row, err := queryRow(ctx, c, fmt.Sprintf("select pg_catalog.pg_try_advisory_lock(%d)", presence))
	if err != nil {
		return nil, err
	}
	if row[0] != "t" {
		return nil, errors.New("a new random lock is taken")
	}
	main, err := s.start(ctx, c, s.ttl/6)
	if err != nil {
		return nil, err
	}
	main.timeline, main.presence = timeline, presence
	return main, nil
}

// newPresence returns the number of a lock that the main session holds all the time. Others see
// by it that they have reached the same server and database, in another session.
func newPresence() int64 {
	var b [8]byte
	rand.Read(b[:])
	return int64(binary.BigEndian.Uint64(b[:]))
}

// connectListener opens the session that hears of releases.
func (s *Service) connectListener(ctx context.Context) error {
	main := s.mainSession()
	if main == nil {
		return errClosing
	}
	listener, err := s.connectBeside(ctx, main)
	if err != nil {
		return err
	}
	listener.notified = s.wake
	s.running.Go(listener.receive)
	if _, err := listener.ask(ctx, listen); err != nil {
		listener.close()
		return pooled(err)
	}
	s.setListener(listener, main)
	return nil
}

// connectBeside opens one more session at the server of the main one. It does not receive yet.
func (s *Service) connectBeside(ctx context.Context, main *session) (*session, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	var beside *session
	if err = besides(ctx, c, main); err == nil {
		beside, err = s.start(ctx, c, 0)
	}
	if err != nil {
		c.Close(ctx)
		return nil, pooled(err)
	}
	beside.timeline = main.timeline
	return beside, nil
}

// besides checks that c is another session of the server and database of the main one, while
// both are in use.
func besides(ctx context.Context, c *pgconn.PgConn, main *session) error {
	row, err := queryRow(ctx, c, fmt.Sprintf(
		"begin; select pg_catalog.pg_backend_pid(), pg_catalog.pg_try_advisory_xact_lock(%d)", main.presence))
	if err != nil {
		return err
	}
	same := row[0] == strconv.Itoa(int(main.pid))
	if same {
		// A pooler may have given the connection on, since the main session has ended.
		_, err = c.Exec(ctx, "rollback").ReadAll()
	}
	if err == nil {
		_, err = main.ask(ctx, pid)
	}
	switch {
	case err != nil:
		return err
	case same:
		return errPooler
	case row[1] == "t" && row[0] != strconv.Itoa(int(c.PID())): // there is something in between
		return errPooler
	case row[1] == "t":
		return &unfit{"two connections have reached different servers", true}
	}
	_, err = c.Exec(ctx, "commit").ReadAll()
	return err
}

// errPooler is why a transaction pooler is refused.
var errPooler = &unfit{reason: "a pooler gives each transaction, or each statement, a server connection of " +
	"its own, but locks belong to a session: connect to the server itself, or use pool_mode=session"}

// refusePooler returns an error if statements of c reach different server processes, or if
// another connection's reach that of c. It has a second connection in use at that moment, since
// a pooler that is idle gives the same process again and again.
func (s *Service) refusePooler(ctx context.Context, c *pgconn.PgConn) error {
	first, err := queryRow(ctx, c, "select pg_catalog.pg_backend_pid()")
	if err != nil || first[0] == strconv.Itoa(int(c.PID())) {
		return err // there is nothing in between, which would have a number of its own
	}
	other, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer other.Close(ctx)
	for range 3 {
		if err := exclusively(ctx, c, other, first[0]); err != nil {
			return err
		}
	}
	return nil
}

// exclusively returns an error unless c has the server process with that number for itself.
func exclusively(ctx context.Context, c, other *pgconn.PgConn, process string) error {
	const own = "select pg_catalog.pg_backend_pid()"
	if row, err := queryRow(ctx, c, own); err != nil || row[0] != process {
		return pooled(err)
	}
	row, err := queryRow(ctx, other, "begin; "+own)
	if err != nil {
		return pooled(err)
	}
	same := row[0] == process
	if same {
		_, err = other.Exec(ctx, "rollback").ReadAll()
	}
	if err == nil {
		row, err = queryRow(ctx, c, own) // it may have ended, and its process been given on
	}
	if err != nil || same || row[0] != process {
		return pooled(err)
	}
	_, err = other.Exec(ctx, "commit").ReadAll()
	return err
}

// pooled returns err, or errPooler if there is no error but only a wrong answer, or if the error is
// one that poolers make: statements that another client has prepared, or that the server has not.
func pooled(err error) error {
	const unknownStatement, duplicateStatement = "26000", "42P05"
	var e *pgconn.PgError
	switch {
	case err == nil:
		return errPooler
	case !errors.As(err, &e):
		return err
	case strings.Contains(e.Message, "pooling"), e.Code == unknownStatement, e.Code == duplicateStatement:
		return errPooler
	}
	return err
}

// start makes a session of a connection.
func (s *Service) start(ctx context.Context, c *pgconn.PgConn, lockTimeout time.Duration) (*session, error) {
	if _, err := c.Exec(ctx, s.sessionSettings(lockTimeout)).ReadAll(); err != nil {
		return nil, err
	}
	if err := prepare(ctx, c); err != nil {
		return nil, err
	}
	row, err := queryRow(ctx, c, "select pg_catalog.pg_backend_pid()")
	if err != nil {
		return nil, err
	}
	backend, err := strconv.Atoi(row[0])
	if err != nil {
		return nil, err
	}
	if err := c.SyncConn(ctx); err != nil {
		return nil, err
	}
	sent := boottime.Now()
	raw, err := c.Hijack()
	if err != nil {
		return nil, err
	}
	s.noticeSilence(raw.Conn)
	session := &session{
		conn: raw.Conn, frontend: pgproto3.NewFrontend(raw.Conn, raw.Conn),
		pid:  uint32(backend),
		done: make(chan struct{}), holds: map[*hold]struct{}{},
	}
	session.ended = func() { s.sessionEnded(session) }
	session.confirmed.Store(int64(sent))
	return session, nil
}

// prepare prepares all statements in one round trip.
func prepare(ctx context.Context, c *pgconn.PgConn) (err error) {
	p := c.StartPipeline(ctx)
	for name, text := range statements {
		p.SendPrepare(name, text, nil)
	}
	if err = p.Sync(); err != nil {
		return err
	}
	for range statements {
		if _, err = p.GetResults(); err != nil {
			p.Close()
			return err
		}
	}
	return p.Close()
}

// noticeSilence has the kernel end a connection of which the other end is gone.
func (s *Service) noticeSilence(conn net.Conn) {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = t.NetConn() // below TLS
	}
	if t, ok := conn.(*net.TCPConn); ok {
		idle, interval, count := s.probes()
		t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: idle, Interval: interval, Count: count})
	}
}

// probes returns when the kernel asks a silent peer for a sign of life, so that it gives up
// after about the TTL and not earlier.
func (s *Service) probes() (idle, interval time.Duration, count int) {
	roundUp := func(d time.Duration) time.Duration { return (d + time.Second - 1).Truncate(time.Second) }
	idle, interval = roundUp(s.ttl/3), roundUp(s.ttl/9)
	return idle, interval, int((s.ttl - idle + interval - 1) / interval)
}

// sessionSettings returns the statement that sets what the server does to the session by
// itself: it ends it when the client is gone for the TTL, and for no other reason. The settings
// that the server's version does not know are left out.
func (s *Service) sessionSettings(lockTimeout time.Duration) string {
	idle, interval, count := s.probes()
	ms := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }
	values := []string{
		"tcp_keepalives_idle", seconds(idle),
		"tcp_keepalives_interval", seconds(interval),
		"tcp_keepalives_count", strconv.Itoa(max(count, 1)),
		"tcp_user_timeout", ms(s.ttl),
		"client_connection_check_interval", ms(s.ttl / 6),
		"statement_timeout", "0",
		"lock_timeout", ms(lockTimeout),
		"idle_session_timeout", "0",
		"idle_in_transaction_session_timeout", "0",
		"transaction_timeout", "0",
		// A token must survive a crash of the server, and need not wait for replicas: the
		// timeline makes those of a promoted one greater.
		"synchronous_commit", "local",
		"default_transaction_isolation", "read committed",
	}
	var rows []string
	for i := 0; i < len(values); i += 2 {
		rows = append(rows, fmt.Sprintf("('%s', '%s')", values[i], values[i+1]))
	}
	return `select pg_catalog.set_config(s.name, v.value, false)
		from pg_catalog.pg_settings s join (values ` + strings.Join(rows, ", ") + `) v (name, value)
		on s.name = v.name`
}
