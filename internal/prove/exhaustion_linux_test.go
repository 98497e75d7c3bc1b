package prove

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What a lock file needs runs out: descriptors, and space for files.

var exhaustion = trials("resources exhausted",
	trial{"descriptors", 2, func(t *testing.T, e *effort) { exhaustDescriptors(t, e) }},
	trial{"descriptors, portable engine", 1, func(t *testing.T, e *effort) { exhaustDescriptors(t, e, portable) }},
	trial{"file system full", 1, fillFileSystem},
)

func TestResourcesExhausted(t *testing.T) { exhaustion.run(t) }

// A need is an order to a process with few descriptors.
type need struct {
	Contender string
	Dir       string
	Seed      [2]uint64
	Last      bool
}

// A hardship is the answer.
type hardship struct {
	Refusals int // for want of a descriptor
	Granted  int
	Leftover string
}

func init() { roles["pauper"] = servePauper }

const (
	pauperMeans    = 6 // descriptors that are free at most
	pauperRequests = 8 // at once
)

// servePauper takes locks with less descriptors than that would take.
func servePauper() error {
	before := takeStock()
	limit := &syscall.Rlimit{Cur: 64, Max: 64}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, limit); err != nil {
		return err
	}
	return serve(func(n need) (hardship, error) {
		if n.Last {
			return hardship{Leftover: before.leftover(grace)}, nil
		}
		before.goroutines = takeStock().goroutines
		c, err := contenderNamed(n.Contender)
		if err != nil {
			return hardship{}, err
		}
		return n.endure(c.open(n.Dir), c.asks, rand.New(rand.NewPCG(n.Seed[0], n.Seed[1])))
	})
}

// endure asks for several locks at once while there are few descriptors or none, and then, when there are enough again,
// for one more.
func (n need) endure(s subject, asks []request, random *rand.Rand) (h hardship, err error) {
	var spent []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		spent = append(spent, f)
	}
	release := func(n int) {
		for _, f := range spent[:n] {
			_ = f.Close()
		}
		spent = spent[n:]
	}
	release(random.IntN(pauperMeans))
	var refusals, granted atomic.Int64
	var requests sync.WaitGroup
	failures := make(chan error, pauperRequests)
	for i := range pauperRequests {
		name, r := fmt.Sprint("pauper-", i%(pauperRequests-2)), asks[random.IntN(len(asks))]
		requests.Go(func() {
			g, err := s.lock(context.Background(), name, r)
			switch {
			case err == nil:
				granted.Add(1)
				failures <- g.Unlock()
			case errors.Is(err, syscall.EMFILE):
				refusals.Add(1)
			default:
				failures <- err
			}
		})
	}
	requests.Wait()
	close(failures)
	for failure := range failures {
		err = errors.Join(err, failure)
	}
	release(len(spent))
	if err != nil {
		return h, err
	}
	for _, r := range asks {
		g, err := s.lock(context.Background(), "pauper-0", r)
		if err != nil {
			return h, fmt.Errorf("with descriptors free again: %w", err)
		}
		if err := g.Unlock(); err != nil {
			return h, err
		}
	}
	return hardship{Refusals: int(refusals.Load()), Granted: int(granted.Load())}, nil
}

func exhaustDescriptors(t *testing.T, e *effort, environment ...string) {
	contenders := slices.Concat(fileContenders, linuxContenders)
	if len(environment) > 0 {
		contenders = fileContenders
	}
	for n := 0; e.goesOn() && !t.Failed(); {
		p := startPeer(t, "pauper", environment...)
		dir := t.TempDir()
		for _, c := range contenders {
			for range 10 {
				n++
				e.exhaust(t, p, need{Contender: c.name, Dir: dir, Seed: [2]uint64{e.seed, uint64(n)}})
			}
		}
		e.exhaust(t, p, need{Last: true})
		p.kill()
		if !t.Failed() {
			e.expectSwept(t, dir)
		}
	}
}

// exhaust gives the order and looks at the answer.
func (e *effort) exhaust(t *testing.T, p *peer, n need) {
	t.Helper()
	p.order(t, n)
	var h hardship
	err := p.answer(&h, patience)
	switch {
	case errors.Is(err, errHung):
		e.found(t, hangs, 1, "%v", err)
	case err != nil:
		t.Fatal(err)
	case h.Leftover != "":
		e.found(t, leftovers, 1, "%s", h.Leftover)
	}
	e.count(operations, h.Granted)
	e.count(refusals, h.Refusals)
}

// fillFileSystem takes locks on a file system that has no room for another file.
func fillFileSystem(t *testing.T, e *effort) {
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,nr_inodes=8")
	needs(t, "full file system", err)
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	// The portable engine differs here in nothing that matters, and the process has chosen its engine already.
	for n := 0; e.goesOn() && !t.Failed(); n++ {
		for _, c := range slices.Concat(fileContenders, linuxContenders) {
			e.fill(t, dir, c)
		}
	}
}

func (e *effort) fill(t *testing.T, dir string, c contender) {
	t.Helper()
	s := c.open(dir)
	r := c.asks[0]
	mustTake := func(when, name string) {
		t.Helper()
		g, err := s.lock(context.Background(), name, r)
		if err == nil {
			err = g.Unlock()
		}
		if err != nil {
			t.Errorf("%s, %s: %v", c.name, when, err)
		}
		e.count(operations, 1)
	}
	mustTake("before", "there")
	data := filepath.Join(dir, "data")
	if err := os.WriteFile(data, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	mustTake("without room for data", "new")
	files := 0
	for {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint("file-", files)))
		if err != nil {
			break
		}
		_ = f.Close()
		files++
	}
	mustTake("without room for files", "there")
	before := takeStock()
	if g, err := s.lock(context.Background(), "one more", r); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%s, without room for files: %v, %v", c.name, g, err)
	}
	e.count(refusals, 1)
	e.found(t, leftovers, min(1, len(before.leftover(grace))), "after a refusal")
	for _, name := range names(dir) {
		_ = os.Remove(filepath.Join(dir, name))
	}
	mustTake("with room again", "one more")
	_ = os.Remove(filepath.Join(dir, "one more"))
}
