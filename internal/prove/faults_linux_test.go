package prove

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Faults between processes: workers update a ledger under a lock while they are killed or stopped,
// or while the lock file is removed or replaced.

var (
	killed = trials(
		"processes killed at any instant",
		faultTrials(func(t *testing.T, st *stats, req workerRequest, env ...string) {
			pool := newWorkerPool(t, st, req, env...)
			pool.disturbUntilEnd(func() {
				i := pool.randomWorker()
				pool.workers[i].kill()
				pool.workers[i] = pool.start()
				st.count(kills, 1)
			})
			pool.closeAndAudit()
		})...)

	stopped = trials(
		"processes stopped and continued",
		faultTrials(func(t *testing.T, st *stats, req workerRequest, env ...string) {
			pool := newWorkerPool(t, st, req, env...)
			pool.disturbUntilEnd(func() {
				p := pool.workers[pool.randomWorker()].cmd.Process
				if err := p.Signal(unix.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				pool.wait(5 * time.Millisecond)
				if err := p.Signal(unix.SIGCONT); err != nil {
					t.Fatal(err)
				}
				st.count(stops, 1)
			})
			pool.closeAndAudit()
		})...)

	outsiders = trials(
		"lock files removed by other programs",
		faultTrials(func(t *testing.T, st *stats, req workerRequest, env ...string) {
			pool := newWorkerPool(t, st, req, env...)
			path := filepath.Join(pool.request.LockDir, lockName)
			pool.disturbUntilEnd(func() {
				pool.disturb(path)
				st.count(removals, 1)
			})
			pool.close()
			// Without further interference the lock must work again.
			calm := pool.request
			pool = newWorkerPool(t, st, calm, env...)
			pool.awaitUpdates()
			pool.closeAndAudit()
		})...)
)

func TestProcessesKilledAtAnyInstant(t *testing.T)     { killed.run(t) }
func TestProcessesStoppedAndContinued(t *testing.T)    { stopped.run(t) }
func TestLockFilesRemovedByOtherPrograms(t *testing.T) { outsiders.run(t) }

// faultTrials returns one trial for each kind of lock between processes.
func faultTrials(
	run func(t *testing.T, st *stats, req workerRequest, environment ...string),
) (list []trial) {
	for _, c := range append([]contender{sharedFiles}, linuxContenders...) {
		list = append(list, trial{c.name, 1, func(t *testing.T, st *stats) {
			run(t, st, workerRequest{Contender: c.name, Removes: true})
		}})
	}
	c := sharedFiles
	return append(list, trial{c.name + ", portable engine", 1, func(t *testing.T, st *stats) {
		run(t, st, workerRequest{Contender: c.name, Removes: true}, portable)
	}})
}

// disturbUntilEnd calls disturbance at random times until the trial ends.
func (pool *workerPool) disturbUntilEnd(disturbance func()) {
	pool.awaitUpdates()
	for pool.stats.timeLeft() && !pool.t.Failed() {
		pool.wait(20 * time.Millisecond)
		disturbance()
	}
}

// wait lets the workers run for a random time below limit.
func (pool *workerPool) wait(limit time.Duration) {
	time.Sleep(time.Duration(pool.random.Int64N(int64(limit))))
}

// awaitUpdates waits for the first update of the ledger.
func (pool *workerPool) awaitUpdates() {
	pool.t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		a, err := auditLedger(pool.request.Dir)
		if err != nil || a.updates > 0 {
			return
		}
		if time.Since(start) > waitLimit {
			pool.stats.found(pool.t, hangs, 1, "no process acquired the lock in %v", waitLimit)
			return
		}
	}
}

// closeAndAudit stops the workers, then checks the ledger and the lock path.
func (pool *workerPool) closeAndAudit() {
	pool.t.Helper()
	pool.close()
	pool.audit()
	if !pool.t.Failed() {
		pool.stats.expectSwept(pool.t, pool.request.LockDir)
	}
}

// disturb removes, renames or replaces the lock file without holding its lock.
func (pool *workerPool) disturb(path string) {
	switch pool.random.IntN(3) {
	case 0:
		_ = os.Remove(path)
	case 1:
		_ = os.Rename(path, path+".gone")
	case 2:
		_ = os.WriteFile(path+".new", nil, 0o600)
		_ = os.Rename(path+".new", path)
	}
}
