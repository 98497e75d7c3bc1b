package prove

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

// A worker is a process that repeatedly acquires the lock in some way, and reads or updates the
// ledger, until it is told to stop or is killed.

// A workerRequest starts or stops a worker.
type workerRequest struct {
	Contender string
	Dir       string // directory of the ledger
	LockDir   string // directory of the lock file
	Account   string
	Seed      [2]uint64
	Removes   bool          // sometimes remove or sweep the lock file
	Pause     time.Duration // greatest pause between two operations
	Stop      bool          // finish and report leftovers; the other fields but Grace are unused
	Grace     time.Duration // how long leftovers may last
}

// lockName is the name of the lock that the workers use.
const lockName = "ledger-lock"

func init() { roles["worker"] = serveWorker }

func serveWorker() error {
	var stop atomic.Bool
	worked := make(chan error, 1)
	var before resources
	return serve(func(req workerRequest) (reply, error) {
		if !req.Stop {
			before = currentResources()
			go func() { worked <- req.work(&stop) }()
			return reply{}, nil
		}
		stop.Store(true)
		if err := <-worked; err != nil {
			return reply{}, err
		}
		return reply{Leftover: before.leftover(req.Grace)}, nil
	})
}

// minOperations is the least number of operations of a worker.
const minOperations = 20

func (req workerRequest) work(stop *atomic.Bool) error {
	kind, err := contenderNamed(req.Contender)
	if err != nil {
		return err
	}
	l, err := openLedger(req.Dir, req.Account)
	if err != nil {
		return err
	}
	defer l.file.Close()
	defer l.account.Close()
	random := rand.New(rand.NewPCG(req.Seed[0], req.Seed[1]))
	s := kind.open(req.LockDir)
	for n := 0; n < minOperations || !stop.Load(); n++ {
		if err := req.once(s, kind.requests, l, random); err != nil {
			return err
		}
		pass(time.Duration(random.Int64N(int64(req.Pause + 1))))
	}
	return nil
}

// once performs one random operation.
func (req workerRequest) once(s subject, requests []request, l *ledger, random *rand.Rand) error {
	r := requests[random.IntN(len(requests))]
	var g guard
	var err error
	files, _ := s.(remover)
	switch chance := random.IntN(20); {
	case chance < 2 && req.Removes && files != nil:
		return ignoreLocked(files.remove(lockName))
	case chance < 3 && req.Removes && files != nil:
		return files.sweep()
	case chance < 5:
		g, err = s.try(lockName, r)
	case chance < 10:
		ctx, cancel := context.WithTimeout(context.Background(),
			time.Duration(random.IntN(300))*time.Microsecond)
		g, err = s.lock(ctx, lockName, r)
		cancel()
	default:
		g, err = s.lock(context.Background(), lockName, r)
	}
	if err != nil {
		return ignoreLocked(err)
	}
	pause := func() { pass(time.Duration(random.IntN(30)) * time.Microsecond) }
	if r.Mode == shared {
		err = l.read(pause)
	} else {
		err = l.write(pause)
	}
	return errors.Join(err, g.Unlock())
}

// ignoreLocked returns nil for an error that means that the lock was held.
func ignoreLocked(err error) error {
	if errors.Is(err, lockutils.ErrLocked) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// A workerPool is the workers of one ledger.
type workerPool struct {
	t           testing.TB
	stats       *stats
	request     workerRequest
	environment []string
	random      *rand.Rand
	workers     []*peer
	started     int
}

const poolWorkers = 4

func newWorkerPool(t testing.TB, st *stats, req workerRequest, environment ...string) *workerPool {
	t.Helper()
	req.Dir = t.TempDir()
	if req.LockDir == "" {
		req.LockDir = filepath.Join(t.TempDir(), "locks")
	}
	pool := &workerPool{t: t, stats: st, request: req, environment: environment, random: st.random(0)}
	for range poolWorkers {
		pool.workers = append(pool.workers, pool.start())
	}
	return pool
}

// start starts a worker.
func (pool *workerPool) start() *peer {
	pool.t.Helper()
	pool.started++
	p := startPeer(pool.t, "worker", pool.environment...)
	req := pool.request
	req.Account = fmt.Sprint(pool.started)
	req.Seed = [2]uint64{pool.stats.seed, uint64(pool.started)}
	p.send(pool.t, req)
	return p
}

// randomWorker returns the index of a random worker.
func (pool *workerPool) randomWorker() int { return pool.random.IntN(len(pool.workers)) }

// close stops all workers and checks what they leave behind.
func (pool *workerPool) close() {
	pool.t.Helper()
	for _, p := range pool.workers {
		p.send(pool.t, workerRequest{Stop: true, Grace: grace})
	}
	for _, p := range pool.workers {
		var ready, last reply
		err := p.receive(&ready, waitLimit)
		if err == nil {
			err = p.receive(&last, waitLimit)
		}
		switch {
		case errors.Is(err, errHung):
			pool.stats.found(pool.t, hangs, 1, "%v", err)
		case err != nil:
			pool.t.Error(err)
		case last.Leftover != "":
			pool.stats.found(pool.t, leftovers, 1, "%s", last.Leftover)
		}
		p.kill()
	}
}

// audit fails the test unless the ledger is right.
func (pool *workerPool) audit() audit {
	pool.t.Helper()
	a, err := auditLedger(pool.request.Dir)
	if err != nil {
		pool.t.Error(err)
	}
	pool.stats.count(updates, a.updates)
	pool.stats.found(pool.t, overlaps, a.overlaps, "two holders at once")
	pool.stats.found(pool.t, lost, a.lost, "%+v", a)
	if a.unexplained > 0 {
		pool.t.Errorf("the ledger has %d updates without an account", a.unexplained)
	}
	if a.updates == 0 {
		pool.t.Error("the ledger has no update")
	}
	return a
}
