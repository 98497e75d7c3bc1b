package pglock

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// SetupSQL makes what a database needs so that a Service can keep locks in it: the sequence
// that the fencing tokens come from. It may be run again. Do not drop the sequence, and do not
// set it back: tokens would shrink.
const SetupSQL = `create schema if not exists lockutils;
create sequence if not exists lockutils.token as bigint minvalue 1 maxvalue 281474976710655 cache 1 no cycle;
`

const (
	sequence = "lockutils.token"
	maxToken = 1<<48 - 1 // of the sequence; the timeline is above it
)

// Setup makes what a database needs, if it is not there yet. It needs a role that may create a
// schema in the database. Other roles get an error that has the SQL.
func Setup(ctx context.Context, config *pgx.ConnConfig) error {
	conf, err := connectable(config)
	if err != nil {
		return err
	}
	c, err := pgconn.ConnectConfig(ctx, conf)
	if err != nil {
		return fmt.Errorf("pglock: %s: set up: %w", describe(conf), err)
	}
	defer c.Close(ctx)
	if err := setup(ctx, c); err != nil {
		return fmt.Errorf("pglock: %s: set up: %w", describe(conf), err)
	}
	return nil
}

func setup(ctx context.Context, c *pgconn.PgConn) error {
	found, err := findSequence(ctx, c)
	if err != nil || found.exists {
		return err
	}
	// Two that create a thing at the same time get an error even with "if not exists".
	_, err = c.Exec(ctx, "begin; select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('"+sequence+"'));"+
		SetupSQL+"commit").ReadAll()
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code == insufficientPrivilege {
		return fmt.Errorf("%w; have the owner of the database run:\n%s%s", err, SetupSQL, found.grants())
	}
	return err
}

// Error codes of PostgreSQL.
const insufficientPrivilege = "42501"

// A found says what is there of the sequence.
type found struct {
	exists, usable bool
	wrong          string // what is wrong with it
	role           string // of the session
}

func (f *found) grants() string {
	role := pgx.Identifier{f.role}.Sanitize()
	return "grant usage on schema lockutils to " + role + ";\n" +
		"grant usage on sequence " + sequence + " to " + role + ";\n"
}

// findSequence looks the sequence up in the catalogue, since that works without any right to it.
func findSequence(ctx context.Context, c *pgconn.PgConn) (*found, error) {
	row, err := queryRow(ctx, c, `select current_user, r.relkind, r.relpersistence,
		q.seqincrement > 0, q.seqcache,
			q.seqcycle, q.seqmax <= `+strconv.FormatInt(maxToken, 10)+`,
			pg_catalog.has_schema_privilege(n.oid, 'usage') and case when r.relkind = 'S'
				then pg_catalog.has_sequence_privilege(r.oid, 'usage') end
		from (values (1)) one
			left join pg_catalog.pg_namespace n on n.nspname = 'lockutils'
			left join pg_catalog.pg_class r on r.relnamespace = n.oid and r.relname = 'token'
			left join pg_catalog.pg_sequence q on q.seqrelid = r.oid`)
	if err != nil {
		return nil, err
	}
	f := &found{role: row[0], exists: row[1] != "", usable: row[7] == "t"}
	for i, want := range []string{1: "S", 2: "p", 3: "t", 4: "1", 5: "f", 6: "t"} {
		if i > 0 && f.exists && row[i] != want {
			f.wrong = "it must be a logged, ascending sequence with cache 1, no cycle, and at most 2^48-1"
		}
	}
	return f, nil
}

// examine checks that the server can keep locks for this role, and returns its timeline.
func (s *Service) examine(ctx context.Context, c *pgconn.PgConn) (timeline uint64, err error) {
	f, err := findSequence(ctx, c)
	switch {
	case err != nil:
		return 0, err
	case !f.exists:
		return 0, &unfit{reason: "the database has no sequence " + sequence + ": call Setup, or run:\n" +
			SetupSQL + f.grants()}
	case f.wrong != "":
		return 0, &unfit{reason: "the sequence " + sequence + " cannot give fencing tokens: " + f.wrong}
	case !f.usable:
		return 0, &unfit{reason: fmt.Sprintf("role %q may not use the sequence %s; have its owner run:\n%s",
			f.role, sequence, f.grants())}
	}
	row, err := queryRow(ctx, c, `select pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()),
		pg_catalog.current_setting('max_locks_per_transaction')::int *
			(pg_catalog.current_setting('max_connections')::int +
			pg_catalog.current_setting('max_prepared_transactions')::int)`)
	if err != nil {
		return 0, err
	}
	if err := s.fitLocks(row[1]); err != nil {
		return 0, err
	}
	return timelineOf(row[0])
}

// fitLocks adapts the number of locks to the server's table.
func (s *Service) fitLocks(capacity string) error {
	n, err := strconv.Atoi(capacity)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.maxLocks > n/2 {
		return &unfit{reason: fmt.Sprintf("WithMaxLocks(%d) is more than half of the server's lock table of %d, "+
			"which is max_locks_per_transaction * (max_connections + max_prepared_transactions)", s.maxLocks, n)}
	}
	if s.limit = s.maxLocks; s.limit == 0 {
		s.limit = min(defaultMaxLocks, n/2)
	}
	return nil
}

// timelineOf returns the timeline in the name of a file of the write-ahead log.
func timelineOf(file string) (uint64, error) {
	if len(file) < 8 {
		return 0, fmt.Errorf("%q is no file of the write-ahead log", file)
	}
	n, err := strconv.ParseUint(strings.ToLower(file[:8]), 16, 32)
	if err == nil && n >= 1<<16 {
		err = fmt.Errorf("timeline %d does not fit into a fencing token", n)
	}
	return n, err
}
