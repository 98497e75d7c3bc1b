package prove

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockutils/lockutils"
)

// Several processes acquire random subsets of a few locks with LockAll, in every way in which
// that can be done. Some names have one lock file together. Witnesses show each overlap of two
// holders.

var setsOfLocks = trials("processes, several locks at once",
	trial{"LockAll", 4, func(t *testing.T, st *stats) { setsUntilEnd(t, st) }},
	trial{"LockAll, portable engine", 2, func(t *testing.T, st *stats) { setsUntilEnd(t, st, portable) }},
)

func TestProcessesAcquireSeveralLocksAtOnce(t *testing.T) { setsOfLocks.run(t) }

const (
	setProcesses  = 4
	setGoroutines = 16 // of each
	setRound      = 250 * time.Millisecond
	setLargest    = 6 // names of a call
)

// setNames are twenty names of fourteen files: "n/1" and "n_1" have one.
var setNames = func() (names []string) {
	for i := range 6 {
		names = append(names, fmt.Sprint("n/", i), fmt.Sprint("n_", i))
	}
	for i := range 8 {
		names = append(names, fmt.Sprint("o-", i))
	}
	return names
}()

// A setRequest makes a process acquire sets for a while, or report leftovers.
type setRequest struct {
	Dir, Witnesses string
	First          int // number of the first goroutine
	Seed           [2]uint64
	Last           bool
}

// A setReply says what the goroutines of a process have done and found.
type setReply struct {
	Sets, Overlaps int
	Leftover       string // of a call that has failed, or at the end
}

func init() { roles["sets"] = serveSets }

func serveSets() error {
	before := sync.OnceValue(currentResources)
	return serve(func(req setRequest) (reply setReply, err error) {
		if req.Last {
			reply.Leftover = before().leftover(grace)
			for _, i := range lockutils.Snapshot() {
				reply.Leftover += fmt.Sprintf("in use: %+v\n", i)
			}
			return reply, nil
		}
		before()
		replies := make([]setReply, setGoroutines)
		errs := make([]error, setGoroutines)
		var group sync.WaitGroup
		rooms := make([]sync.RWMutex, len(setNames))
		for i := range replies {
			c := &setClient{
				number: req.First + i, request: req, rooms: rooms, reply: &replies[i],
				random: rand.New(rand.NewPCG(req.Seed[0], req.Seed[1]<<8|uint64(req.First+i))),
			}
			group.Go(func() { errs[i] = c.run() })
		}
		group.Wait()
		for _, r := range replies {
			reply.Sets += r.Sets
			reply.Overlaps += r.Overlaps
			reply.Leftover += r.Leftover
		}
		return reply, errors.Join(errs...)
	})
}

// A setClient is a goroutine that acquires sets.
type setClient struct {
	number  int
	request setRequest
	rooms   []sync.RWMutex // by name; only tried, to witness the holders in this process
	random  *rand.Rand
	reply   *setReply
}

func (c *setClient) run() error {
	for end := time.Now().Add(setRound); time.Now().Before(end); c.reply.Sets++ {
		if err := c.once(); err != nil {
			return err
		}
	}
	return nil
}

// once acquires a random set. The client's own lock is part of it, the first in the order, so
// that it shows whether a call that fails at a later one leaves something held.
func (c *setClient) once() error {
	own := fmt.Sprintf("a-own-%d", c.number)
	chosen := c.random.Perm(len(setNames))[:1+c.random.IntN(setLargest)]
	names := []string{own}
	for _, i := range chosen {
		names = append(names, setNames[i])
	}
	c.random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })

	base := []lockutils.Option{lockutils.WithLockPath(c.request.Dir), lockutils.WithDelay(time.Millisecond)}
	hasFile := c.random.IntN(2) == 0
	if hasFile {
		base = append(base, lockutils.External())
	}
	isShared := c.random.IntN(3) == 0
	opts := slices.Clone(base)
	if isShared {
		opts = append(opts, lockutils.Shared())
	}
	if !hasFile && c.random.IntN(3) == 0 {
		opts = append(opts, lockutils.Fair())
	}
	ctx := context.Background()
	switch c.random.IntN(6) {
	case 0:
		opts = append(opts, lockutils.NonBlocking())
	case 1:
		opts = append(opts, lockutils.WithTimeout(time.Duration(c.random.IntN(2000))*time.Microsecond))
	case 2:
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(1+c.random.IntN(2000))*time.Microsecond)
		defer cancel()
	}
	guards, err := lockutils.LockAll(ctx, names, opts...)
	if err != nil {
		if err := ignoreLocked(err); err != nil {
			return err
		}
		g, err := lockutils.TryLock(own, base...)
		if err != nil {
			c.reply.Leftover += fmt.Sprintf("after a call that has failed: %v\n", err)
			return nil
		}
		return g.Unlock()
	}
	err = c.visit(chosen, isShared, hasFile)
	return errors.Join(err, guards.Unlock())
}

// visit meets the witnesses of the locks while they are held.
func (c *setClient) visit(chosen []int, isShared, hasFile bool) error {
	var leave []func()
	defer func() {
		for _, f := range leave {
			f()
		}
	}()
	seen := make(map[string]bool)
	for _, i := range chosen {
		room := &c.rooms[i]
		try, end := room.TryLock, room.Unlock
		if isShared {
			try, end = room.TryRLock, room.RUnlock
		}
		if !try() {
			c.reply.Overlaps++
			continue
		}
		leave = append(leave, end)
		witness := filepath.Join(c.request.Witnesses, strings.ReplaceAll(setNames[i], "/", "_"))
		if !hasFile || seen[witness] {
			continue
		}
		seen[witness] = true
		f, err := os.OpenFile(witness, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		leave = append(leave, func() { f.Close() })
		how := unix.LOCK_EX
		if isShared {
			how = unix.LOCK_SH
		}
		if err := flock(f, how|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
			c.reply.Overlaps++
		} else if err != nil {
			return err
		}
	}
	pass(time.Duration(c.random.IntN(50)) * time.Microsecond)
	return nil
}

func setsUntilEnd(t *testing.T, st *stats, environment ...string) {
	dir, witnesses := t.TempDir(), t.TempDir()
	var peers []*peer
	for range setProcesses {
		peers = append(peers, startPeer(t, "sets", environment...))
	}
	round := func(req setRequest) {
		for i, p := range peers {
			req.First = i * setGoroutines
			p.send(t, req)
		}
		for _, p := range peers {
			var reply setReply
			err := p.receive(&reply, waitLimit)
			if errors.Is(err, errHung) {
				st.found(t, hangs, 1, "%v", err)
			} else if err != nil {
				t.Error(err)
			}
			st.count(operations, reply.Sets)
			st.found(t, overlaps, reply.Overlaps, "two holders at once")
			if reply.Leftover != "" {
				st.found(t, leftovers, 1, "%s", reply.Leftover)
			}
		}
	}
	for n := 0; st.timeLeft() && !t.Failed(); n++ {
		round(setRequest{Dir: dir, Witnesses: witnesses, Seed: [2]uint64{st.seed, uint64(n)}})
	}
	if !t.Failed() {
		round(setRequest{Last: true})
		st.expectSwept(t, dir)
	}
}
