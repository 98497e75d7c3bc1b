package prove

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A ledger is a number in a file that only the lock under trial keeps right: whoever holds the lock reads it, takes its
// time, and writes it back with one added. If two do that together an update is lost.
//
// It has a witness too, a lock of the simplest kind on the ledger itself, for which nobody ever waits: whoever finds it
// taken is not alone, and says so in a file of its own.
type ledger struct {
	dir     string
	file    *os.File
	account *os.File
}

// An account is a process's own count: of the updates that it has begun and of those that it has done. Of a process
// that was killed they differ by one at most.
const (
	begunAt = 0
	doneAt  = numberSize
)

// numberSize is the length of a number in a file: twenty digits and a newline, so that it is always replaced as a whole.
const numberSize = 21

func ledgerFile(dir string) string  { return filepath.Join(dir, "ledger") }
func overlapFile(dir string) string { return filepath.Join(dir, "overlaps") }

const accountPrefix = "account-"

// openLedger opens the ledger in dir for a process with an account of that name.
func openLedger(dir, account string) (*ledger, error) {
	l := &ledger{dir: dir}
	var err error
	if l.file, err = openHigh(ledgerFile(dir)); err != nil {
		return nil, err
	}
	l.account, err = openHigh(filepath.Join(dir, accountPrefix+account))
	return l, err
}

// openHigh opens a file with a high descriptor. The kernel closes those of a killed process from the highest down, and the
// witness must be gone before the lock that it bears witness to.
func openHigh(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	high, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 500)
	return os.NewFile(uintptr(high), path), err
}

func readNumber(f *os.File, at int64) (n int, err error) {
	text := make([]byte, numberSize)
	if read, _ := f.ReadAt(text, at); read == 0 {
		return 0, nil
	}
	_, err = fmt.Sscan(string(text), &n)
	return n, err
}

func writeNumber(f *os.File, at int64, n int) error {
	_, err := f.WriteAt(fmt.Appendf(nil, "%*d\n", numberSize-1, n), at)
	return err
}

// write adds one to the ledger, with the pause between reading and writing.
func (l *ledger) write(pause func()) error {
	return l.alone(syscall.LOCK_EX, func() error {
		before, err := readNumber(l.file, 0)
		if err != nil {
			return err
		}
		pause()
		done, err := readNumber(l.account, doneAt)
		return errors.Join(err,
			writeNumber(l.account, begunAt, done+1),
			writeNumber(l.file, 0, before+1),
			writeNumber(l.account, doneAt, done+1))
	})
}

// read checks that the ledger stays the same for a while.
func (l *ledger) read(pause func()) error {
	return l.alone(syscall.LOCK_SH, func() error {
		before, err := readNumber(l.file, 0)
		pause()
		after, err2 := readNumber(l.file, 0)
		if after != before {
			err2 = errors.Join(err2, l.notAlone())
		}
		return errors.Join(err, err2)
	})
}

// alone calls work with the witness taken.
func (l *ledger) alone(how int, work func() error) error {
	if err := flock(l.file, how|syscall.LOCK_NB); err != nil {
		return l.notAlone()
	}
	return errors.Join(work(), flock(l.file, syscall.LOCK_UN))
}

func (l *ledger) notAlone() error {
	f, err := os.OpenFile(overlapFile(l.dir), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString("x")
	return errors.Join(err, f.Close())
}

// An audit is what a ledger and its accounts say in the end.
type audit struct {
	overlaps int
	updates  int // in the ledger
	lost     int
	excess   int // updates that nobody has an account of
}

func auditLedger(dir string) (a audit, err error) {
	text, _ := os.ReadFile(overlapFile(dir))
	a.overlaps = len(text)
	l, err := openLedger(dir, "auditor")
	if err != nil {
		return a, err
	}
	defer l.file.Close()
	defer l.account.Close()
	if a.updates, err = readNumber(l.file, 0); err != nil {
		return a, err
	}
	begun, done := 0, 0
	for _, name := range names(dir) {
		if !strings.HasPrefix(name, accountPrefix) {
			continue
		}
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return a, err
		}
		b, err := readNumber(f, begunAt)
		d, err2 := readNumber(f, doneAt)
		if err := errors.Join(err, err2, f.Close()); err != nil {
			return a, err
		}
		begun, done = begun+b, done+d
	}
	a.lost = max(0, done-a.updates)
	a.excess = max(0, a.updates-begun)
	return a, nil
}

// spend passes d, without sleeping if it is short.
func spend(d time.Duration) {
	if d > time.Millisecond {
		time.Sleep(d)
		return
	}
	for start := time.Now(); time.Since(start) < d; {
	}
}
