package prove

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Other programs update the same ledger under the same lock files.

var otherPrograms = trials("beside other programs", append(forSystemEngine(
	trial{"oslo.concurrency and fasteners, WithFcntl", 3, func(t *testing.T, st *stats) {
		needsPython(t)
		pool := newWorkerPool(t, st, workerRequest{Contender: fcntlFiles.name, Pause: 5 * time.Millisecond})
		pool.besidePython("oslo.concurrency", "oslo.concurrency", "fasteners", "fasteners")
	}}),
	trial{"filelock", 3, func(t *testing.T, st *stats) {
		needsPython(t)
		pool := newWorkerPool(t, st, workerRequest{Contender: sharedFiles.name, Pause: 5 * time.Millisecond})
		pool.besidePython("filelock", "filelock")
	}},
	trial{"flock(1)", 2, func(t *testing.T, st *stats) {
		_, err := exec.LookPath("flock")
		needs(t, "flock", err)
		pool := newWorkerPool(t, st, workerRequest{Contender: sharedFiles.name, Pause: 5 * time.Millisecond})
		pool.besideFlock()
	}},
)...)

func TestBesideOtherPrograms(t *testing.T) { otherPrograms.run(t) }

// pythonPath is the interpreter that has the distribution's packages.
const pythonPath = "/usr/bin/python3"

func needsPython(t *testing.T) {
	t.Helper()
	text, err := exec.Command(pythonPath, "-c", "import oslo_concurrency.lockutils, fasteners, filelock").
		CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w %s", err, text)
	}
	needs(t, "interop", err)
}

// besidePython runs Python programs that update the ledger with these libraries. Meanwhile they are
// stopped and continued.
func (pool *workerPool) besidePython(libraries ...string) {
	pool.t.Helper()
	programs := make([]*peer, len(libraries))
	for i, library := range libraries {
		programs[i] = startCommand(pool.t, exec.Command(pythonPath, filepath.Join("testdata", "worker.py"),
			library, pool.request.Dir, pool.request.LockDir, lockName, fmt.Sprint("python-", i)))
	}
	for _, p := range programs {
		var ready reply // once they have imported what they need, beside busy workers
		if err := p.receive(&ready, 10*waitLimit); err != nil {
			pool.t.Fatal(err)
		}
	}
	pool.stats.extend()
	pool.disturbUntilEnd(func() {
		p := programs[pool.random.IntN(len(programs))].cmd.Process
		_ = p.Signal(unix.SIGSTOP)
		pool.wait(5 * time.Millisecond)
		_ = p.Signal(unix.SIGCONT)
		pool.stats.count(stops, 1)
	})
	pool.close()
	for i, p := range programs {
		pool.awaitAccount(fmt.Sprint("python-", i))
		p.send(pool.t, workerRequest{})
		var last reply
		if err := p.receive(&last, waitLimit); err != nil {
			pool.stats.found(pool.t, hangs, 1, "%v", err)
		}
	}
	pool.audit()
}

// besideFlock runs commands under flock(1) that update the ledger.
func (pool *workerPool) besideFlock() {
	pool.t.Helper()
	const commands = 2
	pool.awaitUpdates()
	stop := make(chan struct{})
	var ended sync.WaitGroup
	for i := range commands {
		l, err := openLedger(pool.request.Dir, fmt.Sprint("flock-", i))
		if err != nil {
			pool.t.Fatal(err)
		}
		ended.Go(func() {
			defer l.file.Close()
			defer l.account.Close()
			for n := 1; ; n++ {
				if err := pool.runFlock(l, n); err != nil {
					pool.t.Error(err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	pool.disturbUntilEnd(func() {})
	pool.close()
	close(stop)
	ended.Wait()
	pool.audit()
}

// runFlock makes the nth update of an account through flock(1).
func (pool *workerPool) runFlock(l *ledger, n int) error {
	if err := writeNumber(l.account, begunAt, n); err != nil {
		return err
	}
	cmd := exec.Command(
		"flock",
		"--timeout",
		fmt.Sprint(int(waitLimit.Seconds())),
		filepath.Join(pool.request.LockDir, lockName),
		"sh",
		filepath.Join("testdata", "update.sh"),
		pool.request.Dir,
	)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("flock(1): %w %s", err, text)
	}
	return writeNumber(l.account, doneAt, n)
}

// extend restarts the time of the trial, after long preparations.
func (st *stats) extend() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.end = st.end.Add(time.Since(st.began))
	st.began = time.Now()
}

// awaitAccount waits for the first update of the account.
func (pool *workerPool) awaitAccount(account string) {
	pool.t.Helper()
	f, err := os.Open(filepath.Join(pool.request.Dir, accountPrefix+account))
	if err != nil {
		pool.t.Fatal(err)
	}
	defer f.Close()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if n, err := readNumber(f, doneAt); err == nil && n > 0 {
			return
		}
		if time.Since(start) > waitLimit {
			pool.stats.found(pool.t, hangs, 1, "%[2]s did not acquire the lock in %[1]v", waitLimit, account)
			return
		}
	}
}
