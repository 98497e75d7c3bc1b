//go:build unix

package pglock

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lockutils/lockutils/driver"
)

// The figures of docs/across-hosts.md. Each benchmark interleaves what it compares, and reports
// medians.

// A series is what one kind of operation took.
type series []time.Duration

func (s *series) time(b *testing.B, f func() error) {
	begun := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	*s = append(*s, time.Since(begun))
}

func (s series) quantile(q float64) float64 {
	slices.Sort(s)
	return float64(s[int(q*float64(len(s)-1))].Nanoseconds()) / 1000
}

func BenchmarkFree(b *testing.B) {
	conn, err := pgx.Connect(b.Context(), server(b).URL())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(context.Background())
	s := dial(b, parse(shared.URL()))
	ctx := context.Background()
	var one, acquiring, releasing series
	for b.Loop() {
		one.time(b, func() error {
			var n int
			return conn.QueryRow(ctx, "select 1").Scan(&n)
		})
		var h driver.Hold
		acquiring.time(b, func() (err error) {
			h, err = s.Acquire(ctx, driver.Request{Name: "x"})
			return err
		})
		releasing.time(b, func() error { return h.Release(ctx) })
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(one.quantile(0.5), "select1-µs")
	b.ReportMetric(acquiring.quantile(0.5), "acquire-µs")
	b.ReportMetric(releasing.quantile(0.5), "release-µs")
	b.ReportMetric(acquiring.quantile(0.5)/one.quantile(0.5), "acquire/select1")
	b.ReportMetric(releasing.quantile(0.5)/one.quantile(0.5), "release/select1")
}

// BenchmarkHandover measures from the release to the grant of a waiter in another Service: by
// notification, by a fair wait, and by plain pg_advisory_lock.
func BenchmarkHandover(b *testing.B) {
	server(b)
	ctx := context.Background()
	from, to := dial(b, parse(shared.URL())), dial(b, parse(shared.URL()))
	var conns [2]*pgx.Conn
	for i := range conns {
		conn, err := pgx.Connect(ctx, shared.URL())
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close(ctx)
		conns[i] = conn
	}
	lock := func(c *pgx.Conn, f string) error {
		_, err := c.Exec(ctx, "select "+f+"(1)")
		return err
	}
	var plain, notify, fair series
	for b.Loop() {
		plain = append(plain, handover(b,
			func() (release func() error, err error) {
				return func() error { return lock(conns[0], "pg_advisory_unlock") }, lock(conns[0], "pg_advisory_lock")
			},
			func() (release func() error, err error) {
				return func() error { return lock(conns[1], "pg_advisory_unlock") }, lock(conns[1], "pg_advisory_lock")
			}))
		for times, ordered := range map[*series]bool{&notify: false, &fair: true} {
			by := func(s *Service, fair bool) func() (func() error, error) {
				return func() (func() error, error) {
					h, err := s.Acquire(ctx, driver.Request{Name: "x", Fair: fair})
					if err != nil {
						return nil, err
					}
					return func() error { return h.Release(ctx) }, nil
				}
			}
			*times = append(*times, handover(b, by(from, false), by(to, ordered)))
		}
	}
	b.ReportMetric(0, "ns/op")
	for name, times := range map[string]series{"blocking": plain, "notify": notify, "fair": fair} {
		b.ReportMetric(times.quantile(0.5), name+"-p50-µs")
		b.ReportMetric(times.quantile(0.99), name+"-p99-µs")
	}
}

// handover has the second way of acquiring wait for the first, and returns how long the release
// took to get through.
func handover(b *testing.B, first, second func() (release func() error, err error)) time.Duration {
	release, err := first()
	if err != nil {
		b.Fatal(err)
	}
	granted := make(chan time.Time, 1)
	var next func() error
	go func() {
		next, err = second()
		granted <- time.Now()
	}()
	time.Sleep(10 * time.Millisecond) // it waits
	begun := time.Now()
	if err := release(); err != nil {
		b.Fatal(err)
	}
	took := (<-granted).Sub(begun)
	if err != nil {
		b.Fatal(err)
	}
	if err := next(); err != nil {
		b.Fatal(err)
	}
	return took
}
