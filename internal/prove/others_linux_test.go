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

// Other programs lock the same files: they keep the same ledger.

var others = trials("beside other programs", append(forSystemEngine(
	trial{"oslo.concurrency and fasteners, WithFcntl", 3, func(t *testing.T, e *effort) {
		needsPython(t)
		o := newOffice(t, e, charge{Contender: fcntlFiles.name, Rest: 5 * time.Millisecond})
		o.besidePython("oslo.concurrency", "oslo.concurrency", "fasteners", "fasteners")
	}}),
	trial{"filelock", 3, func(t *testing.T, e *effort) {
		needsPython(t)
		o := newOffice(t, e, charge{Contender: sharedFiles.name, Rest: 5 * time.Millisecond})
		o.besidePython("filelock", "filelock")
	}},
	trial{"flock(1)", 2, func(t *testing.T, e *effort) {
		_, err := exec.LookPath("flock")
		needs(t, "flock", err)
		o := newOffice(t, e, charge{Contender: sharedFiles.name, Rest: 5 * time.Millisecond})
		o.besideFlock()
	}},
)...)

func TestBesideOtherPrograms(t *testing.T) { others.run(t) }

// pythonPath is the interpreter that sees the packages of the distribution.
const pythonPath = "/usr/bin/python3"

func needsPython(t *testing.T) {
	t.Helper()
	text, err := exec.Command(pythonPath, "-c", "import oslo_concurrency.lockutils, fasteners, filelock").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w %s", err, text)
	}
	needs(t, "interop", err)
}

// besidePython lets Python programs that use these libraries keep the ledger too. They are stopped and continued on the
// way.
func (o *office) besidePython(libraries ...string) {
	o.t.Helper()
	strangers := make([]*peer, len(libraries))
	for i, library := range libraries {
		strangers[i] = startCommand(o.t, exec.Command(pythonPath, filepath.Join("testdata", "clerk.py"),
			library, o.charge.Desk, o.charge.Locks, lockName, fmt.Sprint("python-", i)))
	}
	for _, p := range strangers {
		var ready tale
		if err := p.answer(&ready, patience); err != nil {
			o.t.Fatal(err)
		}
	}
	o.e.extend()
	o.until(func() {
		p := strangers[o.random.IntN(len(strangers))].cmd.Process
		_ = p.Signal(unix.SIGSTOP)
		o.wait(5 * time.Millisecond)
		_ = p.Signal(unix.SIGCONT)
		o.e.count(stops, 1)
	})
	o.close()
	for i, p := range strangers {
		o.awaitAccount(fmt.Sprint("python-", i))
		p.order(o.t, charge{})
		var last tale
		if err := p.answer(&last, patience); err != nil {
			o.e.found(o.t, hangs, 1, "%v", err)
		}
	}
	o.audit()
}

// besideFlock lets flock(1) run commands that keep the ledger too.
func (o *office) besideFlock() {
	o.t.Helper()
	const commands = 2
	o.awaitUpdates()
	stop := make(chan struct{})
	var ended sync.WaitGroup
	for i := range commands {
		l, err := openLedger(o.charge.Desk, fmt.Sprint("flock-", i))
		if err != nil {
			o.t.Fatal(err)
		}
		ended.Go(func() {
			defer l.file.Close()
			defer l.account.Close()
			for n := 1; ; n++ {
				if err := o.runFlock(l, n); err != nil {
					o.t.Error(err)
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
	o.until(func() {})
	o.close()
	close(stop)
	ended.Wait()
	o.audit()
}

// runFlock makes the nth update of an account by a command.
func (o *office) runFlock(l *ledger, n int) error {
	if err := writeNumber(l.account, begunAt, n); err != nil {
		return err
	}
	cmd := exec.Command("flock", "--timeout", fmt.Sprint(int(patience.Seconds())),
		filepath.Join(o.charge.Locks, lockName), "sh", filepath.Join("testdata", "clerk.sh"), o.charge.Desk)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("flock(1): %w %s", err, text)
	}
	return writeNumber(l.account, doneAt, n)
}

// extend gives the effort its full time from now on, after long preparations.
func (e *effort) extend() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.end = e.end.Add(time.Since(e.began))
	e.began = time.Now()
}

// awaitAccount waits until somebody has made at least one update.
func (o *office) awaitAccount(account string) {
	o.t.Helper()
	f, err := os.Open(filepath.Join(o.charge.Desk, accountPrefix+account))
	if err != nil {
		o.t.Fatal(err)
	}
	defer f.Close()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if n, err := readNumber(f, doneAt); err == nil && n > 0 {
			return
		}
		if time.Since(start) > patience {
			o.e.found(o.t, hangs, 1, "after %v %s has not got the lock", patience, account)
			return
		}
	}
}
