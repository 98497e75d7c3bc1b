//go:build unix

package pglock

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/drivertest"
)

// suiteTTL is long enough for a busy machine.
const suiteTTL = 4 * time.Second

func TestSuite(t *testing.T) {
	server(t)
	drivertest.TestService(t, newPeers(t, suiteTTL).open)
}

// peers are Services of one namespace, each with a Link of its own.
type peers struct {
	namespace string
	url       string // of the server or of a pooler in front of it
	ttl       time.Duration
	admin     *pgx.Conn // of the superuser

	mu       sync.Mutex
	services []*Service
}

func newPeers(t *testing.T, ttl time.Duration) *peers {
	admin, err := pgx.Connect(t.Context(), server(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Close(context.Background()) })
	return &peers{namespace: t.Name(), url: shared.URL(), ttl: ttl, admin: admin}
}

func (p *peers) open(t *testing.T) driver.Service { return p.process(t) }

func (p *peers) process(t *testing.T) drivertest.Process {
	proxy := drivertest.NewProxy()
	config := parse(p.url)
	config.DialFunc = proxy.Dial
	s, err := Dial(t.Context(), config, WithTTL(p.ttl), WithNamespace(p.namespace))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); proxy.Close() })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.services = append(p.services, s)
	return drivertest.Process{Service: s, Link: proxy, TTL: p.ttl, Requests: p.requests}
}

// requests returns how many requests for a lock there are: those that the Services keep, and
// fair ones in the server's queue. If there are none, it returns what is left over at the
// server.
func (p *peers) requests(name string) (n int) {
	k := keyOf(p.namespace, name)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.services {
		n += s.requests(k)
	}
	n += p.count("objsubid = 1 and not granted", k.lock)
	if n == 0 {
		n = p.count("objsubid = 1", k.lock) + p.count("objsubid = 1", k.marker)
	}
	return n
}

func (s *Service) requests(k key) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.locks[k.lock]; l != nil {
		for _, q := range l.queue {
			if !q.fair { // one that is fair tries the lock before it queues
				n++
			}
		}
	}
	for in := range s.watched {
		for h := range in.holds {
			if h.lock.key == k {
				n++
			}
		}
	}
	return n
}

// count returns how many entries the server's lock table has for an advisory lock.
func (p *peers) count(which string, number int64) (n int) {
	err := p.admin.QueryRow(context.Background(), `select count(*) from pg_locks where locktype = 'advisory'
		and classid::int8 << 32 | objid::int8 = $1 and `+which, number).Scan(&n)
	if err != nil {
		panic(err)
	}
	return n
}
