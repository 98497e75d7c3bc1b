//go:build unix

package pglock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/lockutils/lockutils/drivers/pglock/pgtest"
)

// shared is a server that the tests use together, or nil if there is none on this machine.
// Those that disturb it start one of their own.
var shared *pgtest.Server

func TestMain(m *testing.M) {
	if os.Getenv("PGLOCK_HOLDER") != "" {
		holderProcess()
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	shared, err = pgtest.Start("max_connections=300")
	if err != nil && !errors.Is(err, pgtest.ErrNotInstalled) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if shared != nil {
		defer shared.Stop()
		if err := Setup(context.Background(), parse(shared.URL())); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	before := goleak.IgnoreCurrent() // it waits for the server to end
	if status := m.Run(); status != 0 {
		return status
	}
	for begun := time.Now(); ; { // connections are closed in the background
		err := goleak.Find(before)
		if err == nil {
			return 0
		}
		if time.Since(begun) > patience {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
}

func parse(url string) *pgx.ConnConfig {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		panic(err)
	}
	return config
}

// server returns the shared server, or skips the test.
func server(t testing.TB) *pgtest.Server {
	t.Helper()
	if shared == nil {
		t.Skip("PostgreSQL is not installed")
	}
	return shared
}
