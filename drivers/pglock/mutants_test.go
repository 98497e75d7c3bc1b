//go:build unix

package pglock

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/drivertest"
)

func TestFlawsAreCaught(t *testing.T) {
	server(t)
	drivertest.TestFlaws(t, newPeers(t, suiteTTL).open)
}

// change replaces a part of a statement until the test ends.
func change(t *testing.T, name, part, by string) {
	good := statements
	t.Cleanup(func() { statements = good })
	statements = maps.Clone(good)
	statements[name] = strings.Replace(good[name], part, by, 1)
	if statements[name] == good[name] {
		t.Fatalf("%s has no %q", name, part)
	}
}

// Each of these loses a wake-up now and then. A Service that polls finds the lock all the same,
// so these do not.
func TestLostWakeUpsAreCaught(t *testing.T) {
	server(t)
	for flaw, c := range map[string]struct{ statement, part, by string }{
		"a release tells nobody": {
			"unlock", "pg_catalog.pg_try_advisory_xact_lock($2)", "$2::int8 is not null",
		},
		"a release looks for waiters before it frees the lock": {
			"unlock", "when pg_catalog.pg_advisory_unlock($1) then",
			`when pg_catalog.pg_try_advisory_lock($2) and pg_catalog.pg_advisory_unlock($2)
				and pg_catalog.pg_sleep(0.001) is not null then pg_catalog.pg_advisory_unlock($1)::int
			when pg_catalog.pg_advisory_unlock($1) then`,
		},
		"a waiter does not try again once it has the marker": {
			"enter", "when pg_catalog.pg_try_advisory_lock_shared($2) then",
			`when pg_catalog.pg_sleep(0.001) is not null
				and pg_catalog.pg_try_advisory_lock_shared($2) then 0 when true then`,
		},
		"a waiter takes no marker": {
			"enter", "pg_catalog.pg_try_advisory_lock_shared($2)", "true",
		},
	} {
		t.Run(flaw, func(t *testing.T) {
			change(t, c.statement, c.part, c.by)
			if err := wakes(t, 2000, 3*time.Second); err == nil {
				t.Error("no wake-up was lost")
			}
		})
	}
}

func TestEachReleaseWakesAWaiter(t *testing.T) {
	server(t)
	if err := wakes(t, 300, patience); err != nil {
		t.Error(err)
	}
}

// wakes has one Service wait while another one releases, at random instants, and returns an
// error if a wait takes longer than the limit.
func wakes(t *testing.T, rounds int, limit time.Duration) error {
	a, b := dial(t, parse(shared.URL()), WithTTL(time.Hour)), dial(t, parse(shared.URL()), WithTTL(time.Hour))
	for i := range rounds {
		h := acquire(t, a, driver.Request{Name: "x"})
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		granted := make(chan error, 1)
		go func() {
			h, err := b.Acquire(ctx, driver.Request{Name: "x", Shared: i%7 == 2, Fair: i%10 == 1})
			if err == nil {
				err = h.Release(ctx)
			}
			granted <- err
		}()
		time.Sleep(rand.N(time.Millisecond))
		release(t, h)
		err := <-granted
		cancel()
		if err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
	}
	return nil
}
