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

// Several processes, each with several goroutines, use the same lock files concurrently.
// The monotonic clock of the host orders their events.

var processes = trials("processes, all at once", processTrials()...)

func TestProcessesAllAtOnce(t *testing.T) { processes.run(t) }

func processTrials() (list []trial) {
	for _, c := range slices.Concat(fileContenders, linuxContenders) {
		list = append(list, trial{c.name, 2, func(t *testing.T, st *stats) { groupUntilEnd(t, st, c) }})
	}
	c := sharedFiles
	list = append(list, trial{c.name + ", portable engine", 2, func(t *testing.T, st *stats) {
		groupUntilEnd(t, st, c, portable)
	}})
	return list
}

const (
	groupProcesses  = 4
	groupGoroutines = 2 // of each
	groupOperations = 6 // of each goroutine in each round
	groupNames      = 2
)

// A roundRequest tells a process what its goroutines do in one round.
type roundRequest struct {
	Contender string
	Dir       string
	First     int // number of the first client
	Seed      [2]uint64
	Cancels   int
	Names     []string
	Start     int64 // by the monotonic clock
	Last      bool  // report leftovers instead
}

// A reply holds what the process did in a round, or what it left over.
type reply struct {
	Events   []event
	Leftover string
}

func init() { roles["group"] = serveGroup }

func serveGroup() error {
	var s subject
	before := currentResources()
	return serve(func(req roundRequest) (reply, error) {
		if req.Last {
			return reply{Leftover: before.leftover(grace)}, nil
		}
		c, err := contenderNamed(req.Contender)
		if err != nil {
			return reply{}, err
		}
		if s == nil {
			s = c.open(req.Dir)
			before = currentResources()
		}
		return reply{Events: req.run(c, s)}, nil
	})
}

// contenderNamed returns the contender of that name, mutants included.
func contenderNamed(name string) (contender, error) {
	all := slices.Concat(fileContenders, linuxContenders, fileMutants)
	i := slices.IndexFunc(all, func(c contender) bool { return c.name == name })
	if i < 0 {
		return contender{}, fmt.Errorf("no contender %q", name)
	}
	return all[i], nil
}

// run runs the clients of the process and returns their events.
func (req roundRequest) run(c contender, s subject) (events []event) {
	var ended sync.WaitGroup
	clients := make([]*client, groupGoroutines)
	for i := range clients {
		number := req.First + i
		clients[i] = &client{
			number: number, requests: c.requests, subject: s, clock: clock(monotonic).unsteady(), names: req.Names,
			operations: groupOperations, cancels: req.Cancels,
			random: rand.New(rand.NewPCG(req.Seed[0], req.Seed[1]<<8|uint64(number))),
		}
		ended.Go(func() {
			for monotonic() < req.Start {
			}
			clients[i].run()
		})
	}
	ended.Wait()
	for _, c := range clients {
		events = append(events, c.events...)
	}
	return events
}

// groupUntilEnd runs rounds until the trial ends, then checks for leftovers.
func groupUntilEnd(t *testing.T, st *stats, c contender, environment ...string) {
	group := newProcessGroup(t, c, environment...)
	for n := 0; st.timeLeft() && !t.Failed(); n++ {
		if v := group.round(st, n, *picturesFlag); v != nil {
			st.found(t, violations, 1, "%v", v)
		}
	}
	if !t.Failed() {
		group.close(st)
	}
}

type processGroup struct {
	t         testing.TB
	contender contender
	dir       string
	peers     []*peer
}

func newProcessGroup(t testing.TB, c contender, environment ...string) *processGroup {
	t.Helper()
	group := &processGroup{t: t, contender: c, dir: t.TempDir()}
	for range groupProcesses {
		group.peers = append(group.peers, startPeer(t, "group", environment...))
	}
	return group
}

// round runs one round and checks its histories.
func (group *processGroup) round(st *stats, n int, pictures string) *violation {
	group.t.Helper()
	req := roundRequest{
		Contender: group.contender.name,
		Dir:       group.dir,
		Seed:      [2]uint64{st.seed, uint64(n)},
	}
	for i := range groupNames {
		req.Names = append(req.Names, fmt.Sprintf("group-%d-%d", n, i))
	}
	if n%2 == 0 {
		req.Cancels = loadCancels
	}
	req.Start = monotonic() + int64(300*time.Microsecond)
	var events []event
	for _, t := range group.send(st, req) {
		events = append(events, t.Events...)
	}
	all := byLock(events)
	for name, h := range all {
		all[name] = h.withoutVague()
	}
	return st.checkAll(all, group.contender.permits, pictures)
}

// withoutVague returns the history without refusals if a wait in it was abandoned.
// A wait in the kernel cannot be withdrawn. After the waiter has returned, the kernel may still
// grant the lock, which is then released at once. A try of another process can meet that hold.
func (h history) withoutVague() history {
	if !slices.ContainsFunc(h, func(e event) bool { return e.Action == abandon }) {
		return h
	}
	return slices.DeleteFunc(slices.Clone(h),
		func(e event) bool { return e.Action == refuse || e.Action == inUse })
}

// send sends the request to all processes and returns their replies.
func (group *processGroup) send(st *stats, req roundRequest) []reply {
	group.t.Helper()
	for i, p := range group.peers {
		req.First = i * groupGoroutines
		p.send(group.t, req)
	}
	replies := make([]reply, len(group.peers))
	for i, p := range group.peers {
		err := p.receive(&replies[i], waitLimit)
		if errors.Is(err, errHung) {
			st.found(group.t, hangs, 1, "%v", err)
		} else if err != nil {
			group.t.Error(err)
		}
	}
	return replies
}

// close checks what the processes leave behind.
func (group *processGroup) close(st *stats) {
	group.t.Helper()
	for _, t := range group.send(st, roundRequest{Last: true}) {
		if t.Leftover != "" {
			st.found(group.t, leftovers, 1, "%s", t.Leftover)
		}
	}
	st.expectSwept(group.t, group.dir)
}

// expectSwept checks that no lock file in dir is in use.
func (st *stats) expectSwept(t testing.TB, dir string) {
	t.Helper()
	if _, err := lockutils.SweepExternalLockFiles(0, lockutils.WithLockPath(dir)); err != nil {
		t.Error(err)
	}
	if rest := names(dir); len(rest) > 0 {
		st.found(t, leftovers, len(rest), "%q", rest)
	}
}
