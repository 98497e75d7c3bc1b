//go:build unix

package main

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lockutils/lockutils/drivers/pglock"
	"github.com/lockutils/lockutils/drivers/pglock/pgtest"
)

func init() { engines = append(engines, postgres) }

var postgres = engine{
	name:  "postgres",
	start: startPostgres,
	contenders: []contender{
		{name: "pglock", service: openPglock},
		{name: "pglock, fair", service: openPglock, fair: true},
		{name: "pg_advisory_lock", open: openAdvisory},
		toozAt(func(address string) string { return strings.Replace(address, "postgres:", "postgresql:", 1) }),
	},
}

func openPglock(ctx context.Context, address string) (closer, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	return pglock.Dial(ctx, config)
}

type postgresServer struct{ *pgtest.Server }

func startPostgres(ctx context.Context) (server, error) {
	s, err := pgtest.Start()
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(s.URL())
	if err == nil {
		err = pglock.Setup(ctx, config)
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return postgresServer{s}, nil
}

func (s postgresServer) stop() { s.Stop() }

func (s postgresServer) address() string {
	return "postgres://postgres@" + s.Addr() + "/postgres?sslmode=disable"
}

func (s postgresServer) version(ctx context.Context) (version string, err error) {
	conn, err := pgx.Connect(ctx, s.address())
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, "select current_setting('server_version')").Scan(&version)
	version, _, _ = strings.Cut(version, " ") // without the package's
	return "PostgreSQL " + version, err
}

// counts takes every transaction for a request, which a statement by itself is.
func (s postgresServer) counts(ctx context.Context) (requests, connections float64, err error) {
	conn, err := pgx.Connect(ctx, s.address())
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, `select sum(xact_commit + xact_rollback)::float8, (select count(*)::float8
		from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid())
		from pg_stat_database`).Scan(&requests, &connections)
	return requests, connections, err
}

// advisoryClient is the plain statement, on a connection of its own.
type advisoryClient struct{ conn *pgx.Conn }

func openAdvisory(ctx context.Context, address string) (client, error) {
	conn, err := pgx.Connect(ctx, address)
	return advisoryClient{conn}, err
}

func (c advisoryClient) acquire(ctx context.Context, name string) (hold, error) {
	if _, err := c.conn.Exec(ctx, "select pg_advisory_lock(hashtext($1))", name); err != nil {
		return hold{}, err
	}
	release := func(ctx context.Context) error {
		_, err := c.conn.Exec(ctx, "select pg_advisory_unlock(hashtext($1))", name)
		return err
	}
	return hold{release: release}, nil
}

func (c advisoryClient) close() { c.conn.Close(context.Background()) }
