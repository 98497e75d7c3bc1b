package prove

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

// Processes act on the same lock files all at once, each with some goroutines. Their common clock is that of the host.

var processes = trials("processes, all at once", processTrials()...)

func TestProcessesAllAtOnce(t *testing.T) { processes.run(t) }

func processTrials() (list []trial) {
	for _, c := range slices.Concat(fileContenders, linuxContenders) {
		list = append(list, trial{c.name, 2, func(t *testing.T, e *effort) { crowdUntilEnd(t, e, c) }})
	}
	c := sharedFiles
	list = append(list, trial{c.name + ", portable engine", 2, func(t *testing.T, e *effort) {
		crowdUntilEnd(t, e, c, portable)
	}})
	return list
}

const (
	crowdProcesses  = 4
	crowdGoroutines = 2 // of each
	crowdDeeds      = 6 // of each goroutine in a round
	crowdNames      = 2
)

// A round is an order to a process: what its goroutines are to do.
type round struct {
	Contender string
	Dir       string
	First     int // number of the first worker
	Seed      [2]uint64
	Whims     int
	Names     []string
	Start     int64 // by the monotonic clock
	Last      bool  // count what is left instead
}

// A tale is what a process has to tell of a round.
type tale struct {
	Events   []event
	Leftover string
}

func init() { roles["crowd"] = serveCrowd }

func serveCrowd() error {
	var s subject
	before := takeStock()
	return serve(func(r round) (tale, error) {
		if r.Last {
			return tale{Leftover: before.leftover(grace)}, nil
		}
		c, err := contenderNamed(r.Contender)
		if err != nil {
			return tale{}, err
		}
		if s == nil {
			s = c.open(r.Dir)
			before = takeStock()
		}
		return tale{Events: r.take(c, s)}, nil
	})
}

// contenderNamed finds what a process is told to drive.
func contenderNamed(name string) (contender, error) {
	all := slices.Concat(fileContenders, linuxContenders, fileDoubles)
	i := slices.IndexFunc(all, func(c contender) bool { return c.name == name })
	if i < 0 {
		return contender{}, fmt.Errorf("no contender %q", name)
	}
	return all[i], nil
}

// take lets the goroutines loose and returns what they have done.
func (r round) take(c contender, s subject) (events []event) {
	var ended sync.WaitGroup
	workers := make([]*worker, crowdGoroutines)
	for i := range workers {
		number := r.First + i
		workers[i] = &worker{
			number: number, asks: c.asks, subject: s, clock: clock(monotonic).unsteady(), names: r.Names, deeds: crowdDeeds, whims: r.Whims,
			random: rand.New(rand.NewPCG(r.Seed[0], r.Seed[1]<<8|uint64(number))),
		}
		ended.Go(func() {
			for monotonic() < r.Start {
			}
			workers[i].work()
		})
	}
	ended.Wait()
	for _, w := range workers {
		events = append(events, w.events...)
	}
	return events
}

// crowdUntilEnd lets processes loose on the same lock files, round by round, and looks at what they leave behind.
func crowdUntilEnd(t *testing.T, e *effort, c contender, environment ...string) {
	crowd := newCrowd(t, c, environment...)
	for n := 0; e.goesOn() && !t.Failed(); n++ {
		if v := crowd.once(e, n, *picturesFlag); v != nil {
			e.found(t, violations, 1, "%v", v)
		}
	}
	if !t.Failed() {
		crowd.disperse(e)
	}
}

type crowd struct {
	t         testing.TB
	contender contender
	dir       string
	peers     []*peer
}

func newCrowd(t testing.TB, c contender, environment ...string) *crowd {
	t.Helper()
	crowd := &crowd{t: t, contender: c, dir: t.TempDir()}
	for range crowdProcesses {
		crowd.peers = append(crowd.peers, startPeer(t, "crowd", environment...))
	}
	return crowd
}

// once makes and checks the histories of a round.
func (c *crowd) once(e *effort, n int, pictures string) *violation {
	c.t.Helper()
	r := round{Contender: c.contender.name, Dir: c.dir, Seed: [2]uint64{e.seed, uint64(n)}}
	for i := range crowdNames {
		r.Names = append(r.Names, fmt.Sprintf("crowd-%d-%d", n, i))
	}
	if n%2 == 0 {
		r.Whims = stormWhims
	}
	r.Start = monotonic() + int64(300*time.Microsecond)
	var events []event
	for _, t := range c.tell(e, r) {
		events = append(events, t.Events...)
	}
	all := byLock(events)
	for name, h := range all {
		all[name] = h.withoutVague()
	}
	return e.checkAll(all, c.contender.permits, pictures)
}

// withoutVague leaves out the refusals of a history in which a wait was abandoned, if there are any. The process that
// abandons a wait in the kernel cannot call it back: it may be granted the lock later, and give it back at once, after
// the wait has ended. A try of another process can meet it there.
func (h history) withoutVague() history {
	if !slices.ContainsFunc(h, func(e event) bool { return e.Action == abandon }) {
		return h
	}
	return slices.DeleteFunc(slices.Clone(h), func(e event) bool { return e.Action == refuse || e.Action == inUse })
}

// tell gives all processes the same order and returns their answers.
func (c *crowd) tell(e *effort, r round) []tale {
	c.t.Helper()
	for i, p := range c.peers {
		r.First = i * crowdGoroutines
		p.order(c.t, r)
	}
	tales := make([]tale, len(c.peers))
	for i, p := range c.peers {
		err := p.answer(&tales[i], patience)
		if errors.Is(err, errHung) {
			e.found(c.t, hangs, 1, "%v", err)
		} else if err != nil {
			c.t.Error(err)
		}
	}
	return tales
}

// disperse looks for what the processes leave behind.
func (c *crowd) disperse(e *effort) {
	c.t.Helper()
	for _, t := range c.tell(e, round{Last: true}) {
		if t.Leftover != "" {
			e.found(c.t, leftovers, 1, "%s", t.Leftover)
		}
	}
	e.expectSwept(c.t, c.dir)
}

// expectSwept checks that no lock file is kept in use by anybody.
func (e *effort) expectSwept(t testing.TB, dir string) {
	t.Helper()
	if _, err := lockutils.RemoveExternalLockFiles(0, lockutils.WithLockPath(dir)); err != nil {
		t.Error(err)
	}
	if rest := names(dir); len(rest) > 0 {
		e.found(t, leftovers, len(rest), "%q", rest)
	}
}
