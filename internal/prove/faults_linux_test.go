package prove

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Faults between processes: clerks keep a ledger under a lock, while something is done to them or to the lock file.

var (
	killed = trials("processes killed at any instant", faultTrials(func(t *testing.T, e *effort, c charge, env ...string) {
		o := newOffice(t, e, c, env...)
		o.until(func() {
			i := o.anyone()
			o.clerks[i].kill()
			o.clerks[i] = o.hire()
			e.count(kills, 1)
		})
		o.conclude()
	})...)

	stopped = trials("processes stopped and continued", faultTrials(func(t *testing.T, e *effort, c charge, env ...string) {
		o := newOffice(t, e, c, env...)
		o.until(func() {
			p := o.clerks[o.anyone()].cmd.Process
			if err := p.Signal(unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			o.wait(5 * time.Millisecond)
			if err := p.Signal(unix.SIGCONT); err != nil {
				t.Fatal(err)
			}
			e.count(stops, 1)
		})
		o.conclude()
	})...)

	strangers = trials("lock files taken away by strangers", faultTrials(func(t *testing.T, e *effort, c charge, env ...string) {
		o := newOffice(t, e, c, env...)
		path := filepath.Join(o.charge.Locks, lockName)
		o.until(func() {
			o.disturb(path)
			e.count(removals, 1)
		})
		o.close()
		// Now that nobody disturbs it any more all is as it should be.
		calm := o.charge
		o = newOffice(t, e, calm, env...)
		o.awaitUpdates()
		o.conclude()
	})...)
)

func TestProcessesKilledAtAnyInstant(t *testing.T)  { killed.run(t) }
func TestProcessesStoppedAndContinued(t *testing.T) { stopped.run(t) }
func TestStrangersTakeLockFilesAway(t *testing.T)   { strangers.run(t) }

// faultTrials makes a trial of each kind of lock between processes.
func faultTrials(run func(t *testing.T, e *effort, c charge, environment ...string)) (list []trial) {
	for _, c := range append([]contender{sharedFiles}, linuxContenders...) {
		list = append(list, trial{c.name, 1, func(t *testing.T, e *effort) {
			run(t, e, charge{Contender: c.name, Removes: true})
		}})
	}
	c := sharedFiles
	return append(list, trial{c.name + ", portable engine", 1, func(t *testing.T, e *effort) {
		run(t, e, charge{Contender: c.name, Removes: true}, portable)
	}})
}

// until does something to the office now and then, for the time of the effort.
func (o *office) until(disturbance func()) {
	o.awaitUpdates()
	for o.e.goesOn() && !o.t.Failed() {
		o.wait(20 * time.Millisecond)
		disturbance()
	}
}

// wait lets the clerks work for a time that nobody can foresee.
func (o *office) wait(limit time.Duration) {
	time.Sleep(time.Duration(o.random.Int64N(int64(limit))))
}

// awaitUpdates waits until the ledger is kept.
func (o *office) awaitUpdates() {
	o.t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		a, err := auditLedger(o.charge.Desk)
		if err != nil || a.updates > 0 {
			return
		}
		if time.Since(start) > patience {
			o.e.found(o.t, hangs, 1, "after %v nobody has got the lock", patience)
			return
		}
	}
}

// conclude closes the office and checks what it has done.
func (o *office) conclude() {
	o.t.Helper()
	o.close()
	o.audit()
	if !o.t.Failed() {
		o.e.expectSwept(o.t, o.charge.Locks)
	}
}

// disturb does to the lock file what nobody should.
func (o *office) disturb(path string) {
	switch o.random.IntN(3) {
	case 0:
		_ = os.Remove(path)
	case 1:
		_ = os.Rename(path, path+".gone")
	case 2:
		_ = os.WriteFile(path+".new", nil, 0o600)
		_ = os.Rename(path+".new", path)
	}
}
