//go:build unix

package filelock

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// durationVariable sets how long each contest between processes lasts; 200ms if it is not set.
const durationVariable = "LOCKUTILS_STRESS"

func stressDuration(t testing.TB) time.Duration {
	t.Helper()
	text := os.Getenv(durationVariable)
	if text == "" {
		return 200 * time.Millisecond
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// hammer tells a process what to do until it is killed, or its time is over and it has written once.
type hammer struct {
	Requests []Request // one of these each time
	Removes  bool      // sometimes remove the lock file instead
	Cancels  bool      // sometimes give up waiting soon
	Ledger   string    // the file that the lock protects
	Hold     time.Duration
	Think    time.Duration
	For      time.Duration
}

func init() { roles["hammer"] = serveHammer }

// serveHammer acquires and releases, and keeps the ledger each time it holds the lock. It prints
// the number of writes at the end.
func serveHammer(_ *bufio.Scanner, out io.Writer, arguments []byte) error {
	var h hammer
	if err := json.Unmarshal(arguments, &h); err != nil {
		return err
	}
	l, err := openLedger(h.Ledger)
	if err != nil {
		return err
	}
	n := 0
	for end := time.Now().Add(h.For); n == 0 || time.Now().Before(end); {
		wrote, err := h.once(l)
		if err != nil {
			return err
		}
		if wrote {
			n++
		}
	}
	fmt.Fprintln(out, n)
	return nil
}

func (h hammer) once(l *ledger) (bool, error) {
	r := h.Requests[rand.IntN(len(h.Requests))]
	if h.Removes && rand.IntN(4) == 0 {
		if err := Remove(r.Path); err != nil && !errors.Is(err, ErrLocked) {
			return false, err
		}
		return false, nil
	}
	ctx := context.Background()
	if h.Cancels && rand.IntN(3) == 0 {
		limited, cancel := context.WithTimeout(ctx, rand.N(300*time.Microsecond))
		defer cancel()
		ctx = limited
	}
	hold, err := Lock(ctx, r)
	if err != nil && ctx.Err() != nil {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if r.Mode == Shared {
		err = l.read(h.Hold)
	} else {
		err = l.write(h.Hold)
	}
	if err := errors.Join(err, hold.Unlock()); err != nil {
		return false, err
	}
	pause(h.Think)
	return r.Mode == Exclusive, nil
}

// pause spends d without sleeping, if it is short.
func pause(d time.Duration) {
	if d > time.Millisecond {
		time.Sleep(d)
		return
	}
	for start := time.Now(); time.Since(start) < d; {
	}
}

// ledger is a count in a file that only the lock under test keeps right. Its witness is a lock of
// the simplest kind on the ledger itself, which nobody ever waits for: whoever finds it taken is
// not alone.
//
// Each writer appends the count that it has written to a journal. If two have written the same,
// an update is lost. That can be told also of writers that are killed, who leave the ledger and
// no report.
type ledger struct{ file, journal *os.File }

// The ledger's content: how many writes it has seen, and how often somebody was not alone.
const (
	countAt    = 0
	overlapsAt = 8
)

func openLedger(path string) (*ledger, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// The kernel releases the locks of a killed process from the highest descriptor down. The
	// witness has to go first.
	high, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 1000)
	if err != nil {
		return nil, err
	}
	journal, err := os.OpenFile(path+".journal", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	return &ledger{os.NewFile(uintptr(high), path), journal}, err
}

func (l *ledger) close() { _ = errors.Join(l.file.Close(), l.journal.Close()) }

func (l *ledger) get(at int64) (uint64, error) {
	var b [8]byte
	_, err := l.file.ReadAt(b[:], at)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return binary.LittleEndian.Uint64(b[:]), err
}

func (l *ledger) put(at int64, v uint64) error {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	_, err := l.file.WriteAt(b[:], at)
	return err
}

// write adds one to the count, with the hold between reading and writing.
func (l *ledger) write(hold time.Duration) error {
	return l.alone(syscall.LOCK_EX, func() error {
		before, err := l.get(countAt)
		if err != nil {
			return err
		}
		pause(hold)
		if err := l.put(countAt, before+1); err != nil {
			return err
		}
		_, err = l.journal.Write(binary.LittleEndian.AppendUint64(nil, before+1))
		return err
	})
}

// read checks that the count stays the same during a hold.
func (l *ledger) read(hold time.Duration) error {
	return l.alone(syscall.LOCK_SH, func() error {
		before, err := l.get(countAt)
		if err != nil {
			return err
		}
		pause(hold)
		after, err := l.get(countAt)
		if err == nil && after != before {
			err = l.overlap()
		}
		return err
	})
}

// alone calls work with the witness taken.
func (l *ledger) alone(how int, work func() error) error {
	fd := int(l.file.Fd())
	if err := syscall.Flock(fd, how|syscall.LOCK_NB); err != nil {
		return l.overlap()
	}
	return errors.Join(work(), syscall.Flock(fd, syscall.LOCK_UN))
}

func (l *ledger) overlap() error {
	n, err := l.get(overlapsAt)
	return errors.Join(err, l.put(overlapsAt, n+1))
}

// check fails the test if anybody ever held the lock together with somebody whom it excludes, or
// an update is lost. It returns the count.
func (l *ledger) check(t testing.TB) int {
	t.Helper()
	overlaps, err := l.get(overlapsAt)
	if err != nil {
		t.Fatal(err)
	}
	if overlaps > 0 {
		t.Errorf("%d overlaps", overlaps)
	}
	journal, err := os.ReadFile(l.journal.Name())
	if err != nil {
		t.Fatal(err)
	}
	written := make(map[uint64]bool)
	for entry := range slices.Chunk(journal, 8) {
		written[binary.LittleEndian.Uint64(entry)] = true
	}
	if lost := len(journal)/8 - len(written); lost > 0 {
		t.Errorf("%d updates lost", lost)
	}
	count, err := l.get(countAt)
	if err != nil {
		t.Fatal(err)
	}
	return int(count)
}

// writes waits for processes and returns the number of writes that each prints.
func writes(t testing.TB, processes ...*process) (counts []int) {
	t.Helper()
	for _, p := range processes {
		n, err := strconv.Atoi(p.line())
		if err != nil {
			t.Fatal(err)
		}
		counts = append(counts, n)
	}
	return counts
}

func sum(counts []int) (total int) {
	for _, n := range counts {
		total += n
	}
	return total
}

// TestProcessesLoseNoUpdate lets processes write to a ledger, and read it, under locks of all
// kinds, while files are removed and waits abandoned.
func TestProcessesLoseNoUpdate(t *testing.T) {
	type requests = []Request
	for name, c := range map[string]struct {
		requests requests
		removes  bool
		portable bool
	}{
		"exclusive":               {requests: requests{{}}},
		"exclusive, removed":      {requests: requests{{}}, removes: true},
		"shared, removed":         {requests: requests{{}, {Mode: Shared}}, removes: true},
		"fair":                    {requests: requests{{Fair: true}}},
		"fair and plain, removed": {requests: requests{{Fair: true}, {}}, removes: true},
		"fair and shared, removed": {requests: requests{{Fair: true}, {Fair: true, Mode: Shared},
			{Mode: Shared}}, removes: true},
		"fcntl, removed": {requests: requests{{Fcntl: true}, {Fcntl: true, Mode: Shared}, {}},
			removes: true},
		"fcntl and fair, removed": {requests: requests{{Fcntl: true, Fair: true}, {Fcntl: true},
			{Fair: true, Mode: Shared}}, removes: true},
		"portable, shared, removed": {requests: requests{{}, {Mode: Shared}}, removes: true, portable: true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.portable {
				useEngine(t, portableEngine{})
			}
			h := newHammer(t, c.requests...)
			h.Removes = c.removes
			h.Cancels = true
			var processes []*process
			for range 4 {
				processes = append(processes, start(t, "hammer", h))
			}
			wrote := sum(writes(t, processes...))
			if count := h.ledger(t).check(t); count != wrote {
				t.Errorf("%d writes, %d of them in the ledger", wrote, count)
			}
		})
	}
}

// TestKilledProcessesLeaveNothingBehind kills processes at any instant of locking, holding,
// unlocking and removing.
func TestKilledProcessesLeaveNothingBehind(t *testing.T) {
	for name, requests := range map[string][]Request{
		"plain": {{}, {Mode: Shared}},
		"fair":  {{Fair: true}, {}, {Fair: true, Mode: Shared}},
		"fcntl": {{Fcntl: true}, {}, {Fcntl: true, Mode: Shared}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHammer(t, requests...)
			h.Removes = true
			h.Cancels = true
			var slots [4]*process
			kills := 0
			for end := time.Now().Add(h.For); time.Now().Before(end); kills++ {
				i := rand.IntN(len(slots))
				if slots[i] != nil {
					slots[i].kill()
				}
				slots[i] = start(t, "hammer", h)
				time.Sleep(rand.N(20 * time.Millisecond)) // the instant of the next kill
			}
			for _, p := range slots {
				if p != nil {
					p.kill()
				}
			}
			for _, r := range h.Requests {
				mustUnlock(t, mustLock(t, r))
			}
			t.Logf("%d kills, %d writes", kills, h.ledger(t).check(t))
		})
	}
}

func newHammer(t testing.TB, requests ...Request) hammer {
	t.Helper()
	path := lockPath(t)
	h := hammer{Ledger: filepath.Join(t.TempDir(), "ledger"), For: stressDuration(t)}
	for _, r := range requests {
		r.Path = path
		r.Delay = time.Millisecond
		needs(t, r)
		h.Requests = append(h.Requests, r)
	}
	return h
}

func (h hammer) ledger(t testing.TB) *ledger {
	t.Helper()
	l, err := openLedger(h.Ledger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}
