package filelock

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockutils/lockutils/internal/queue"
)

// pathState is what this process knows of one path: whose turn it is, the descriptor that is kept
// for the next request, the hold that the readers of the process share, and the waits in the
// kernel.
type pathState struct {
	path string

	// turn is the lock among the goroutines of this process. Its holder holds the lock, or takes
	// it from the kernel; readers have their turn together.
	turn queue.Lock

	// The table owns these; its mutex guards them.
	refs       int  // requests, holds and pending waits under way
	slot       int  // index in the table's clock, or noSlot
	referenced bool // used since the clock's hand or a sweep last passed

	// mu guards what follows, and is held during system calls that do not wait. The table's mutex
	// is never taken under it.
	mu     sync.Mutex
	idle   *Hold               // open and unlocked; nil for a path that has left the table
	shared [2]*Hold            // the latest shared hold, without and with a record lock; with readers
	waits  [kinds]*pendingWait // at most one wait of a kind
}

// Hold is a lock file that is held. Internally it is also one in a pending wait, or idle.
type Hold struct {
	path *pathState
	file lockFile
	req  Request      // of those who hold it now
	used atomic.Int64 // when the file was last marked as used, in nanoseconds of Unix time

	taken time.Time // when an exclusive hold began

	// readers counts the shared holders; guarded by path.mu.
	readers int
}

// Unlock releases the lock. It must be called exactly once for each acquisition. An error means
// that the file could not be unlocked properly; the lock is released all the same.
func (h *Hold) Unlock() error {
	p, mode := h.path, h.req.Mode
	now := h.markUsed()
	if mode == Exclusive {
		h.file.holdEnds(h.taken, now)
	}
	err := h.release()
	p.turn.Release(mode)
	paths.leave(p)
	return err
}

// lock waits for the turn, and then for the lock of r.
func (p *pathState) lock(ctx context.Context, r Request) (*Hold, error) {
	if _, err := p.turn.Acquire(ctx, r.Mode, r.order(), r.Subject); err != nil {
		return nil, err
	}
	return p.inTurn(r.Mode, func() (*Hold, error) { return p.lockFile(ctx, r) })
}

// tryLock takes the lock of r if both the turn and the lock are free.
func (p *pathState) tryLock(r Request) (*Hold, error) {
	if _, ok := p.turn.TryAcquire(r.Mode, r.order()); !ok {
		return nil, ErrLocked
	}
	return p.inTurn(r.Mode, func() (*Hold, error) { return p.tryLockFile(r) })
}

// inTurn calls acquire, which takes the lock from the kernel, and gives the turn up if that fails.
func (p *pathState) inTurn(m Mode, acquire func() (*Hold, error)) (h *Hold, err error) {
	acquired := false
	defer func() {
		if !acquired { // also if an observer panics
			p.turn.Release(m)
		}
	}()
	h, err = acquire()
	// The descriptors kept for later must not be the ones missing now.
	for err != nil && outOfDescriptors(err) && paths.closeIdle() > 0 {
		h, err = acquire()
	}
	acquired = err == nil
	return h, err
}

// lockFile waits until the kernel gives it the lock of r. Shared requests of one kind wait
// together.
func (p *pathState) lockFile(ctx context.Context, r Request) (*Hold, error) {
	p.mu.Lock()
	if w := p.waits[kindOf(r)]; w != nil {
		w.join()
		p.mu.Unlock()
		ctx, wait := w.observe(ctx, r, w.leave)
		h, err := w.await(ctx)
		return h, wait.Over(err)
	}
	h, granted, err := p.try(r, persist)
	if err != nil || granted {
		p.mu.Unlock()
		return h, err
	}
	w := p.startWait(r, h)
	p.mu.Unlock()
	ctx, wait := w.observe(ctx, r, func() {
		w.leave()
		go w.run() // others may have joined
	})
	if ctx.Done() == nil {
		w.run()
	} else {
		go w.run()
	}
	h, err = w.await(ctx)
	return h, wait.Over(err)
}

// tryLockFile takes the lock of r if the kernel gives it now, or an abandoned wait has it.
func (p *pathState) tryLockFile(r Request) (*Hold, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.waits[kindOf(r)]; w != nil && w.canTakeOver() {
		return w.takeOver()
	}
	for {
		h, err := p.tryOnce(r)
		if !errors.Is(err, ErrLocked) || !p.endAbandoned() {
			return h, err
		}
	}
}

// tryOnce takes the lock of r if the kernel gives it now. p.mu is held.
func (p *pathState) tryOnce(r Request) (*Hold, error) {
	h, granted, err := p.try(r, once)
	if err == nil && !granted {
		h.abandon()
		return nil, ErrLocked
	}
	return h, err
}

// endAbandoned gives back the locks of waits in which no request is left, and tells if there were
// any. p.mu is held, but not all the time.
func (p *pathState) endAbandoned() (ended bool) {
	for kind := range p.waits {
		switch w := p.waits[kind]; {
		case w == nil || w.requests > 0:
		case w.canTakeOver():
			ended = true
			if h, err := w.takeOver(); err == nil {
				p.mu.Unlock()
				_ = h.release()
				p.mu.Lock()
			}
		case w.hold != nil && w.hold.file.polls():
			ended = p.awaitPollEnd(w) || ended
		}
	}
	return ended
}

// pollEndLimit is how long an abandoned poll may take to notice that it is. It takes
// microseconds, but on a busy host it may have to wait for a processor.
const pollEndLimit = 200 * time.Millisecond

// awaitPollEnd lets an abandoned poll take its last look, and tells if it has ended. p.mu is
// held, but not all the time.
func (p *pathState) awaitPollEnd(w *pendingWait) bool {
	for start := time.Now(); p.waits[kindOf(w.req)] == w; {
		if w.requests > 0 || time.Since(start) > pollEndLimit {
			return false
		}
		p.mu.Unlock()
		if time.Since(start) < time.Millisecond {
			runtime.Gosched()
		} else {
			time.Sleep(100 * time.Microsecond)
		}
		p.mu.Lock()
	}
	return true
}

// once and persist say how often to try before a refusal counts.
func once(lockFile) int      { return 1 }
func persist(f lockFile) int { return f.spins() }

// try takes the lock of r without waiting, as one more reader of a shared hold or with a file of
// its own. A hold that is not granted is open, and for the caller to use or abandon. p.mu is
// held.
func (p *pathState) try(r Request, times func(lockFile) int) (h *Hold, granted bool, err error) {
	if h, err := p.joinReaders(r); h != nil || err != nil {
		return h, h != nil, err
	}
	for range restarts {
		h, err := p.open(r)
		if err != nil {
			return nil, false, err
		}
		granted, err := tryFor(h.file, r.Mode, times(h.file))
		if err != nil {
			h.discard()
			return nil, false, err
		}
		if !granted {
			return h, false, nil
		}
		current, err := h.current()
		if current {
			return p.grant(h, 1), true, nil
		}
		h.discard()
		if err != nil {
			return nil, false, err
		}
	}
	return nil, false, pathError("lock", p.path, errUnstable)
}

// joinReaders adds a reader to the shared hold of this process, if there is one that r may join
// and the path still leads to its file. A fair reader may not: it would pass those who queue.
// p.mu is held.
func (p *pathState) joinReaders(r Request) (*Hold, error) {
	h := p.shared[recordIndex(r)]
	if r.Mode != Shared || r.Fair || h == nil {
		return nil, nil
	}
	current, err := h.current()
	if err != nil || !current {
		return nil, err
	}
	h.readers++
	return h, nil
}

// grant makes h, which has just been locked, the hold of n requesters. p.mu is held.
func (p *pathState) grant(h *Hold, n int) *Hold {
	if h.req.Mode == Exclusive {
		return h
	}
	latest := &p.shared[recordIndex(h.req)]
	if *latest != nil {
		// Readers who queued for their turn meet others who hold already: one descriptor is
		// enough for all.
		if current, err := (*latest).current(); current && err == nil {
			h.abandon()
			(*latest).readers += n
			return *latest
		}
	}
	h.readers += n
	*latest = h
	return h
}

// open returns a hold for r that is not locked: the idle one if it serves. p.mu is held.
func (p *pathState) open(r Request) (*Hold, error) {
	if h := p.idle; h != nil {
		p.idle = nil
		if h.file.serves(r) {
			h.req = r
			return h, nil
		}
		h.file.close()
	}
	f, err := files.open(r)
	if err != nil {
		return nil, err
	}
	return &Hold{path: p, file: f, req: r}, nil
}

// keep makes an unlocked hold the idle one of its path. p.mu is held.
func (p *pathState) keep(h *Hold) {
	if p.idle != nil {
		h.file.close()
		return
	}
	p.idle = h
}

// closeIdle closes the idle descriptor and returns how many that were.
func (p *pathState) closeIdle() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.idle == nil {
		return 0
	}
	p.idle.file.close()
	p.idle = nil
	return 1
}

// release takes back one grant of h.
func (h *Hold) release() error {
	p := h.path
	if h.req.Mode == Shared && !p.lastReader(h) {
		return nil
	}
	if err := h.file.unlock(); err != nil {
		h.file.close() // which frees the lock if anything does
		return err
	}
	p.mu.Lock()
	p.keep(h)
	p.mu.Unlock()
	return nil
}

// lastReader takes one reader from h and tells if it was the last.
func (p *pathState) lastReader(h *Hold) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	h.readers--
	if h.readers > 0 {
		return false
	}
	if latest := &p.shared[recordIndex(h.req)]; *latest == h {
		*latest = nil
	}
	return true
}

// abandon gives back what an unsuccessful or superfluous request has taken, and keeps the
// descriptor. path.mu is held.
func (h *Hold) abandon() {
	if h.file.unlock() != nil {
		h.file.close()
		return
	}
	h.path.keep(h)
}

// discard gives back what the hold has taken and closes it.
func (h *Hold) discard() {
	// Closing unlocks as well, but later: a child being forked may share the descriptor.
	_ = h.file.unlock()
	h.file.close()
}

// current tells if the path still leads to the file of h.
func (h *Hold) current() (bool, error) {
	current, used, err := h.file.current()
	if current {
		h.used.Store(used.UnixNano())
	}
	return current, err
}

// usedGranularity is the precision of a file's time of last use: marking each use would double
// what a lock costs.
const usedGranularity = time.Second

// markUsed records in the file's times that somebody uses it now, unless they say about that
// already. It returns the time.
func (h *Hold) markUsed() (now time.Time) {
	now = time.Now()
	age := time.Duration(now.UnixNano() - h.used.Load())
	if age.Abs() >= usedGranularity {
		h.used.Store(now.UnixNano())
		h.file.touch()
	}
	return now
}

// recordIndex is the index in pathState.shared.
func recordIndex(r Request) int {
	if r.Fcntl {
		return 1
	}
	return 0
}

// tryFor calls try up to n times, a moment apart. With one processor it does not repeat: the
// holder may need that one to get done.
func tryFor(f lockFile, m Mode, n int) (granted bool, err error) {
	for i := range n {
		granted, err = f.try(m)
		if granted || err != nil || i == n-1 || runtime.GOMAXPROCS(0) == 1 {
			break
		}
		for start := time.Now(); time.Since(start) < 2*time.Microsecond; {
		}
	}
	return granted, err
}
