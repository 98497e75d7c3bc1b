package main

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lockutils/lockutils/drivers/pglock"
	"github.com/lockutils/lockutils/drivers/pglock/pgtest"
)

var postgres = engine{
	name:  "postgres",
	start: startPostgres,
	contenders: []contender{
		{name: "pglock", service: func(ctx context.Context, address string) (closer, error) {
			config, err := pgx.ParseConfig(address)
			if err != nil {
				return nil, err
			}
			return pglock.Dial(ctx, config)
		}},
		{name: "pg_advisory_lock", open: openAdvisory},
	},
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

func (s postgresServer) address() string                           { return s.URL() }
func (s postgresServer) counts(context.Context) (float64, float64) { return -1, -1 }
func (s postgresServer) stop()                                     { s.Stop() }

// advisoryClient is the plain statement, on a connection of its own.
type advisoryClient struct{ conn *pgx.Conn }

func openAdvisory(ctx context.Context, address string) (client, error) {
	conn, err := pgx.Connect(ctx, address)
	return advisoryClient{conn}, err
}

func (c advisoryClient) acquire(ctx context.Context, name string) (func(context.Context) error, error) {
	if _, err := c.conn.Exec(ctx, "select pg_advisory_lock(hashtext($1))", name); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		_, err := c.conn.Exec(ctx, "select pg_advisory_unlock(hashtext($1))", name)
		return err
	}, nil
}

func (c advisoryClient) close() { c.conn.Close(context.Background()) }
