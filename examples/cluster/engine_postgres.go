//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lockutils/lockutils/drivers/pglock"
	"github.com/lockutils/lockutils/drivers/pglock/pgtest"
)

func init() { engines["postgres"] = engineKind{startPostgres, dialPostgres} }

// postgres is a server whose sessions hold the locks.
type postgres struct {
	*pgtest.Server
}

func startPostgres(ctx context.Context) (engine, error) {
	s, err := pgtest.Start()
	if errors.Is(err, pgtest.ErrNotInstalled) {
		return nil, fmt.Errorf("PostgreSQL is %w: %w", errNotInstalled, err)
	} else if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	config, err := pgx.ParseConfig(s.URL())
	if err == nil {
		err = pglock.Setup(ctx, config)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up PostgreSQL: %w", err), s.Stop())
	}
	return postgres{s}, nil
}

func (p postgres) Endpoints() []string { return []string{p.Addr()} }

func (p postgres) FailServer(context.Context) (string, error) {
	p.Kill()
	return "the server of PostgreSQL was killed and started again", p.Resume()
}

// Expel ends the sessions that hold locks.
func (p postgres) Expel(ctx context.Context) (string, error) {
	return "an administrator ended its session", p.Exec(ctx, `select pg_terminate_backend(pid)
		from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock' and granted`)
}

func dialPostgres(ctx context.Context, endpoints []string) (service, error) {
	config, err := pgx.ParseConfig("postgres://postgres@" + endpoints[0] + "/postgres?sslmode=disable")
	if err != nil {
		return nil, err
	}
	return pglock.Dial(ctx, config, pglock.WithTTL(ttl), pglock.WithNamespace("imagecache"))
}
