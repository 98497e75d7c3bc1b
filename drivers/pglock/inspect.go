package pglock

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lockutils/lockutils/driver"
)

// InspectName returns who holds a lock and who waits for it, for display. The Service is no
// [driver.Inspector], since the server knows no names but only numbers that are made of them. The
// answer may be out of date when it arrives.
//
// A client is described by its host and process ID, or by its address if its configuration sets an
// application_name of its own. A role without pg_read_all_stats sees the address of its own clients
// only. Fair requests come first among the waiters, in their order and with the time since when they
// wait. The server does not know whether other waiters want to share: they count as exclusive.
// A Service is one waiter for each name, whatever the number of its requests that are not fair, and none
// while it has the lock itself.
func (s *Service) InspectName(ctx context.Context, name string) (driver.Info, error) {
	found := driver.Info{Name: name}
	if !s.isDialed() {
		return found, errNotDialed
	}
	if s.stop.Err() != nil {
		return found, s.failed("inspect", errClosed)
	}
	c, err := s.connect(ctx)
	if err != nil {
		return found, s.failed("inspect", err)
	}
	defer c.Close(ctx)
	rows, err := queryParties(ctx, c, keyOf(s.namespace, name))
	if err != nil {
		return found, s.failed("inspect", err)
	}
	for _, p := range rows {
		client := driver.ClientInfo{Client: p.describe(), Shared: p.shared, Since: p.since}
		if p.holds {
			found.Holders = append(found.Holders, client)
		} else {
			found.Waiters = append(found.Waiters, client)
		}
	}
	return found, nil
}

// A party is a session that holds a lock or waits for it.
type party struct {
	process              string // of the server
	application, address string
	holds, shared        bool
	since                time.Time // zero if it is not known
}

// queryParties returns the sessions that have the lock of a key, wait for it, or have its marker. The
// servers before PostgreSQL 14 do not tell since when, nor do others at the beginning of a wait.
func queryParties(ctx context.Context, c *pgconn.PgConn, k key) ([]party, error) {
	results, err := c.Exec(ctx, fmt.Sprintf(`
		with request as (
			select l.pid, l.granted, l.mode = 'ShareLock' as shared,
				classid::int8 << 32 | objid::int8 as number,
				(pg_catalog.to_jsonb(l) ->> 'waitstart')::pg_catalog.timestamptz as since
			from pg_catalog.pg_locks l join pg_catalog.pg_database d on d.oid = l.database
			where l.locktype = 'advisory' and l.objsubid = 1 and d.datname = pg_catalog.current_database()
		), party as (
			select distinct on (pid) * from request
			where number = %[1]d or number = %[2]d and shared and granted
			order by pid, number = %[1]d desc
		)
		select pid, application_name, pg_catalog.host(client_addr), number = %[1]d and granted,
			shared and number = %[1]d,
			pg_catalog.round(1e6 * extract(epoch from since))
		from party left join pg_catalog.pg_stat_activity using (pid)
		order by number = %[1]d and not granted desc, since, pid`, k.lock, k.marker)).ReadAll()
	if err == nil && len(results) != 1 {
		err = errStray
	}
	if err != nil {
		return nil, err
	}
	var all []party
	for _, row := range results[0].Rows {
		p := party{
			process: string(row[0]), application: string(row[1]), address: string(row[2]),
			holds: string(row[3]) == "t", shared: string(row[4]) == "t",
		}
		var micros int64
		if _, err := fmt.Sscan(string(row[5]), &micros); err == nil {
			p.since = time.UnixMicro(micros)
		}
		all = append(all, p)
	}
	return all, nil
}

// describe says where a session comes from. The number of the server's process is the one that
// pg_terminate_backend takes.
func (p *party) describe() string {
	client := p.application
	var process int
	var host string
	if n, _ := fmt.Sscanf(client, application+"%d %s", &process, &host); n == 2 {
		client = fmt.Sprint(host, " ", process)
	} else if p.address != "" {
		client = strings.TrimSpace(client + " at " + p.address)
	}
	return strings.TrimPrefix(client+", server process "+p.process, ", ")
}

// application is what the application_name of a Service begins with.
const application = "lockutils "

// introduction is the application_name of a Service, by which others know the process that it is in.
// The server keeps 63 bytes, so what may be long comes last.
func introduction() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown-host"
	}
	return fmt.Sprintf("%s%d %s", application, os.Getpid(), host)
}
