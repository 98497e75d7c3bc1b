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

// A clerk is a process that keeps the ledger: again and again it takes the lock, in some way, and writes or reads. It
// does so until it is told to stop, or is killed.

// A charge is the first order to a clerk.
type charge struct {
	Contender string
	Desk      string // directory of the ledger
	Locks     string // directory of the lock file
	Account   string
	Seed      [2]uint64
	Removes   bool          // of a few locks, remove or sweep the lock file instead
	Rest      time.Duration // between two locks at most
	Stop      bool          // no first order: finish, and tell what is left over
	Grace     time.Duration // after that time
}

// lockName is the name of the lock that the clerks take.
const lockName = "ledger-lock"

func init() { roles["clerk"] = serveClerk }

func serveClerk() error {
	var stop atomic.Bool
	worked := make(chan error, 1)
	var before possessions
	return serve(func(c charge) (tale, error) {
		if !c.Stop {
			before = takeStock()
			go func() { worked <- c.work(&stop) }()
			return tale{}, nil
		}
		stop.Store(true)
		if err := <-worked; err != nil {
			return tale{}, err
		}
		return tale{Leftover: before.leftover(c.Grace)}, nil
	})
}

// leastDeeds is what a clerk does in any case.
const leastDeeds = 20

func (c charge) work(stop *atomic.Bool) error {
	kind, err := contenderNamed(c.Contender)
	if err != nil {
		return err
	}
	l, err := openLedger(c.Desk, c.Account)
	if err != nil {
		return err
	}
	defer l.file.Close()
	defer l.account.Close()
	random := rand.New(rand.NewPCG(c.Seed[0], c.Seed[1]))
	s := kind.open(c.Locks)
	for n := 0; n < leastDeeds || !stop.Load(); n++ {
		if err := c.once(s, kind.asks, l, random); err != nil {
			return err
		}
		spend(time.Duration(random.Int64N(int64(c.Rest + 1))))
	}
	return nil
}

// once does one thing with the lock.
func (c charge) once(s subject, asks []request, l *ledger, random *rand.Rand) error {
	r := asks[random.IntN(len(asks))]
	var g guard
	var err error
	files, _ := s.(remover)
	switch chance := random.IntN(20); {
	case chance < 2 && c.Removes && files != nil:
		return unlessLocked(files.remove(lockName))
	case chance < 3 && c.Removes && files != nil:
		return files.sweep()
	case chance < 5:
		g, err = s.try(lockName, r)
	case chance < 10:
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.IntN(300))*time.Microsecond)
		g, err = s.lock(ctx, lockName, r)
		cancel()
	default:
		g, err = s.lock(context.Background(), lockName, r)
	}
	if err != nil {
		return unlessLocked(err)
	}
	pause := func() { spend(time.Duration(random.IntN(30)) * time.Microsecond) }
	if r.Mode == shared {
		err = l.read(pause)
	} else {
		err = l.write(pause)
	}
	return errors.Join(err, g.Unlock())
}

// unlessLocked is for what may fail because the lock is taken, or was for too long.
func unlessLocked(err error) error {
	if errors.Is(err, lockutils.ErrLocked) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// An office is the clerks of one ledger.
type office struct {
	t           testing.TB
	e           *effort
	charge      charge
	environment []string
	random      *rand.Rand
	clerks      []*peer
	hired       int
}

const officeClerks = 4

func newOffice(t testing.TB, e *effort, c charge, environment ...string) *office {
	t.Helper()
	c.Desk = t.TempDir()
	if c.Locks == "" {
		c.Locks = filepath.Join(t.TempDir(), "locks")
	}
	o := &office{t: t, e: e, charge: c, environment: environment, random: e.random(0)}
	for range officeClerks {
		o.clerks = append(o.clerks, o.hire())
	}
	return o
}

// hire starts a clerk.
func (o *office) hire() *peer {
	o.t.Helper()
	o.hired++
	p := startPeer(o.t, "clerk", o.environment...)
	c := o.charge
	c.Account = fmt.Sprint(o.hired)
	c.Seed = [2]uint64{o.e.seed, uint64(o.hired)}
	p.order(o.t, c)
	return p
}

// anyone returns the index of one of the clerks.
func (o *office) anyone() int { return o.random.IntN(len(o.clerks)) }

// close makes all clerks finish and looks at what they leave behind.
func (o *office) close() {
	o.t.Helper()
	for _, p := range o.clerks {
		p.order(o.t, charge{Stop: true, Grace: grace})
	}
	for _, p := range o.clerks {
		var ready, last tale
		err := p.answer(&ready, patience)
		if err == nil {
			err = p.answer(&last, patience)
		}
		switch {
		case errors.Is(err, errHung):
			o.e.found(o.t, hangs, 1, "%v", err)
		case err != nil:
			o.t.Error(err)
		case last.Leftover != "":
			o.e.found(o.t, leftovers, 1, "%s", last.Leftover)
		}
		p.kill()
	}
}

// audit fails the test unless the ledger is right.
func (o *office) audit() audit {
	o.t.Helper()
	a, err := auditLedger(o.charge.Desk)
	if err != nil {
		o.t.Error(err)
	}
	o.e.count(updates, a.updates)
	o.e.found(o.t, overlaps, a.overlaps, "two held the lock together")
	o.e.found(o.t, lost, a.lost, "%+v", a)
	if a.excess > 0 {
		o.t.Errorf("the ledger has %d updates that nobody made", a.excess)
	}
	if a.updates == 0 {
		o.t.Error("nobody ever wrote")
	}
	return a
}
