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

// These trials take away what a lock file needs: descriptors, and space for files.

var exhaustionTrials = trials(
	"resources exhausted",
	trial{"descriptors", 2, func(t *testing.T, st *stats) { descriptorsExhausted(t, st) }},
	trial{
		"descriptors, portable engine",
		1,
		func(t *testing.T, st *stats) { descriptorsExhausted(t, st, portable) },
	},
	trial{"file system full", 1, fileSystemFull},
)

func TestResourcesExhausted(t *testing.T) { exhaustionTrials.run(t) }

// An exhaustRequest tells a process with few descriptors to acquire locks.
type exhaustRequest struct {
	Contender string
	Dir       string
	Seed      [2]uint64
	Last      bool
}

// An exhaustion is the reply to an exhaustRequest.
type exhaustion struct {
	Refusals int // acquisitions that failed with EMFILE
	Acquired int
	Leftover string
}

func init() { roles["exhausted"] = serveExhausted }

const (
	maxFreeDescriptors = 6 // upper bound of the random number
	exhaustedRequests  = 8 // concurrent
)

// serveExhausted acquires locks with fewer descriptors than they need.
func serveExhausted() error {
	before := currentResources()
	limit := &syscall.Rlimit{Cur: 64, Max: 64}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, limit); err != nil {
		return err
	}
	return serve(func(req exhaustRequest) (exhaustion, error) {
		if req.Last {
			return exhaustion{Leftover: before.leftover(grace)}, nil
		}
		before.goroutines = currentResources().goroutines
		c, err := contenderNamed(req.Contender)
		if err != nil {
			return exhaustion{}, err
		}
		return req.acquireExhausted(c.open(req.Dir), c.requests,
			rand.New(rand.NewPCG(req.Seed[0], req.Seed[1])))
	})
}

// acquireExhausted makes concurrent requests while few descriptors or none are free.
// Then it frees the descriptors and checks that each kind of request succeeds.
func (req exhaustRequest) acquireExhausted(
	s subject, requests []request, random *rand.Rand,
) (result exhaustion, err error) {
	var opened []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		opened = append(opened, f)
	}
	release := func(n int) {
		for _, f := range opened[:n] {
			_ = f.Close()
		}
		opened = opened[n:]
	}
	release(random.IntN(maxFreeDescriptors))
	var refusals, granted atomic.Int64
	var inFlight sync.WaitGroup
	failures := make(chan error, exhaustedRequests)
	for i := range exhaustedRequests {
		name, r := fmt.Sprint("exhausted-", i%(exhaustedRequests-2)), requests[random.IntN(len(requests))]
		inFlight.Go(func() {
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
	inFlight.Wait()
	close(failures)
	for failure := range failures {
		err = errors.Join(err, failure)
	}
	release(len(opened))
	if err != nil {
		return result, err
	}
	for _, r := range requests {
		g, err := s.lock(context.Background(), "exhausted-0", r)
		if err != nil {
			return result, fmt.Errorf("with descriptors free again: %w", err)
		}
		if err := g.Unlock(); err != nil {
			return result, err
		}
	}
	return exhaustion{Refusals: int(refusals.Load()), Acquired: int(granted.Load())}, nil
}

func descriptorsExhausted(t *testing.T, st *stats, environment ...string) {
	contenders := slices.Concat(fileContenders, linuxContenders)
	if len(environment) > 0 {
		contenders = fileContenders
	}
	for n := 0; st.timeLeft() && !t.Failed(); {
		p := startPeer(t, "exhausted", environment...)
		dir := t.TempDir()
		for _, c := range contenders {
			for range 10 {
				n++
				st.exhaustDescriptors(t, p,
					exhaustRequest{Contender: c.name, Dir: dir, Seed: [2]uint64{st.seed, uint64(n)}})
			}
		}
		st.exhaustDescriptors(t, p, exhaustRequest{Last: true})
		p.kill()
		if !t.Failed() {
			st.expectSwept(t, dir)
		}
	}
}

// exhaustDescriptors sends the request and records the reply.
func (st *stats) exhaustDescriptors(t *testing.T, p *peer, req exhaustRequest) {
	t.Helper()
	p.send(t, req)
	var result exhaustion
	err := p.receive(&result, waitLimit)
	switch {
	case errors.Is(err, errHung):
		st.found(t, hangs, 1, "%v", err)
	case err != nil:
		t.Fatal(err)
	case result.Leftover != "":
		st.found(t, leftovers, 1, "%s", result.Leftover)
	}
	st.count(operations, result.Acquired)
	st.count(refusals, result.Refusals)
}

// fileSystemFull acquires locks on a file system without room for another file.
func fileSystemFull(t *testing.T, st *stats) {
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,nr_inodes=8")
	needs(t, "full file system", err)
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	// The portable engine opens files in the same way, so that it needs no trial of its own.
	for n := 0; st.timeLeft() && !t.Failed(); n++ {
		for _, c := range slices.Concat(fileContenders, linuxContenders) {
			st.fillFileSystem(t, dir, c)
		}
	}
}

func (st *stats) fillFileSystem(t *testing.T, dir string, c contender) {
	t.Helper()
	s := c.open(dir)
	r := c.requests[0]
	mustTake := func(when, name string) {
		t.Helper()
		g, err := s.lock(context.Background(), name, r)
		if err == nil {
			err = g.Unlock()
		}
		if err != nil {
			t.Errorf("%s, %s: %v", c.name, when, err)
		}
		st.count(operations, 1)
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
	before := currentResources()
	if g, err := s.lock(context.Background(), "one more", r); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%s, without room for files: %v, %v", c.name, g, err)
	}
	st.count(refusals, 1)
	st.found(t, leftovers, min(1, len(before.leftover(grace))), "after a refusal")
	for _, name := range names(dir) {
		_ = os.Remove(filepath.Join(dir, name))
	}
	mustTake("with room again", "one more")
	_ = os.Remove(filepath.Join(dir, "one more"))
}
