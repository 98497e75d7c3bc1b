package filelock

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// standing returns the number after the last that is taken in the queue of a lock.
func standing(t testing.TB, path string) int64 {
	t.Helper()
	q := queueFile{path: queueFileOf(path), perm: 0o600, fd: -1}
	defer q.close()
	if err := q.open(); err != nil {
		t.Fatal(err)
	}
	end, err := q.end(1)
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// enqueue starts processes that wait for r, and returns when all of them stand in the queue in
// this order.
func enqueue(t testing.TB, r Request, n int) (peers []peer) {
	t.Helper()
	for range n {
		before := standing(t, r.Path)
		p := newPeer(t)
		p.send("lock", r)
		for standing(t, r.Path) == before {
		}
		peers = append(peers, p)
	}
	return peers
}

// TestFairGrantsInOrder lets processes queue, some of them die or cancel in the queue, and checks
// the order of the rest.
func TestFairGrantsInOrder(t *testing.T) {
	for name, r := range map[string]Request{"flock": {Fair: true}, "fcntl": {Fair: true, Fcntl: true}} {
		t.Run(name, func(t *testing.T) {
			r.Path = lockPath(t)
			h := mustLock(t, r)
			peers := enqueue(t, r, 8)
			for i, p := range peers {
				if slices.Contains([]int{0, 3, 4, 7}, i) {
					p.kill()
				}
			}
			if _, err := TryLock(r); !errors.Is(err, ErrLocked) {
				t.Error(err)
			}
			var mu sync.Mutex
			var order []int
			var answers sync.WaitGroup
			for _, i := range []int{1, 2, 5, 6} {
				answers.Go(func() {
					got := peers[i].answer()
					mu.Lock()
					order = append(order, i)
					mu.Unlock()
					if got == "ok" {
						peers[i].send("unlock", r)
						got = peers[i].answer()
					}
					if got != "ok" {
						t.Error(got)
					}
				})
			}
			mustUnlock(t, h)
			answers.Wait()
			if !slices.Equal(order, []int{1, 2, 5, 6}) {
				t.Errorf("served in the order %v", order)
			}
		})
	}
}

func TestFairKeepsItsPlaceAcrossCancelledWaits(t *testing.T) {
	r := Request{Path: lockPath(t), Fair: true}
	other := newPeer(t)
	other.must("lock", r)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := Lock(ctx, r)
		failed <- err
	}()
	awaitBlocked(t, r.Path)
	cancel()
	if err := <-failed; err != context.Canceled {
		t.Error(err)
	}
	first := standing(t, r.Path)
	later := enqueue(t, r, 1)[0]
	granted := make(chan *Hold)
	go func() { granted <- mustLock(t, r) }()
	awaitWaiters(t, r, 1)
	if n := standing(t, r.Path); n != first+1 {
		t.Errorf("the queue is %d long instead of %d", n, first+1)
	}
	other.must("unlock", r)
	h := <-granted
	mustRefuse(t, r)
	mustUnlock(t, h)
	if got := later.answer(); got != "ok" {
		t.Error(got)
	}
	later.must("unlock", r)
}

// awaitBlocked returns when the kernel's table of locks shows somebody who waits for a lock on
// the file at path.
func awaitBlocked(t testing.TB, path string) {
	t.Helper()
	m, err := readMounts()
	if err != nil {
		t.Fatal(err)
	}
	file, err := m.tableName(path)
	if err != nil || file == "" {
		t.Fatalf("%q, %v", file, err)
	}
	for {
		table, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(table)) {
			if strings.Contains(line, "->") && strings.Contains(line, file) {
				return
			}
		}
	}
}

func TestAbandonedFairWaitLetsOthersPass(t *testing.T) {
	r := Request{Path: lockPath(t), Fair: true}
	other := newPeer(t)
	other.must("lock", r)
	cancelWait(t, r)
	later := enqueue(t, r, 1)[0]
	other.must("unlock", r)
	if got := later.answer(); got != "ok" {
		t.Error(got)
	}
	later.must("unlock", r)
	mustUnlock(t, mustLock(t, r))
}

// TestFairReadersShare checks that readers get in together and that a writer between them in the
// queue is not passed.
func TestFairReadersShare(t *testing.T) {
	read, write := Request{Path: lockPath(t), Fair: true, Mode: Shared}, Request{Fair: true}
	write.Path = read.Path
	first, second := newPeer(t), newPeer(t)
	first.must("lock", read)
	second.must("lock", read)
	mine := mustLock(t, read)
	mine2 := mustLock(t, read)
	mustRefuse(t, write)
	writer := enqueue(t, write, 1)[0]
	mustRefuse(t, read) // the writer is before
	mustUnlock(t, mine)
	mustUnlock(t, mine2)
	first.must("unlock", read)
	second.must("unlock", read)
	if got := writer.answer(); got != "ok" {
		t.Fatal(got)
	}
	mustRefuse(t, read)
	writer.must("unlock", write)
	mustUnlock(t, mustLock(t, read))
}

func TestFairAndPlainExcludeEachOther(t *testing.T) {
	fair := Request{Path: lockPath(t), Fair: true}
	plain := Request{Path: fair.Path}
	other := newPeer(t)
	for _, pair := range [][2]Request{{fair, plain}, {plain, fair}} {
		other.must("lock", pair[0])
		mustRefuse(t, pair[1])
		other.must("unlock", pair[0])
		mustUnlock(t, mustLock(t, pair[1]))
	}
}

func TestQueueFileInUseStays(t *testing.T) {
	r := Request{Path: lockPath(t), Fair: true}
	h := mustLock(t, Request{Path: r.Path})
	waiter := enqueue(t, r, 1)[0]
	if err := removeQueueFile(queueFileOf(r.Path)); !errors.Is(err, ErrLocked) {
		t.Errorf("removed under those who queue: %v", err)
	}
	mustUnlock(t, h)
	if got := waiter.answer(); got != "ok" {
		t.Fatal(got)
	}
	if err := Remove(r.Path); !errors.Is(err, ErrLocked) {
		t.Errorf("removed under its holder: %v", err)
	}
	waiter.must("unlock", r)
	if err := Remove(r.Path); err != nil {
		t.Error(err)
	}
	for _, path := range []string{r.Path, queueFileOf(r.Path)} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
	mustGrant(t, r)
}
