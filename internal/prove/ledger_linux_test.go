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

// A ledger is a counter in a file, protected by nothing but the lock under trial: a holder reads
// it, pauses, and writes it back incremented. Two holders at once lose an update.
//
// The ledger also has a witness: a flock(2) on the ledger itself, which is only ever tried. A
// holder that finds the witness locked has met another holder, and records that in a file.
type ledger struct {
	dir     string
	file    *os.File
	account *os.File
}

// An account is one process's own count of the updates that it began and of those that it
// finished. After a kill they differ by at most one.
const (
	begunAt = 0
	doneAt  = numberSize
)

// numberSize is the length of a number in a file: twenty digits and a newline, so that a write
// replaces all of it.
const numberSize = 21

func ledgerFile(dir string) string  { return filepath.Join(dir, "ledger") }
func overlapFile(dir string) string { return filepath.Join(dir, "overlaps") }

const accountPrefix = "account-"

// openLedger opens the ledger in dir and the account of that name.
func openLedger(dir, account string) (*ledger, error) {
	l := &ledger{dir: dir}
	var err error
	if l.file, err = openHigh(ledgerFile(dir)); err != nil {
		return nil, err
	}
	l.account, err = openHigh(filepath.Join(dir, accountPrefix+account))
	return l, err
}

// openHigh opens a file with a high descriptor. The kernel closes the descriptors of a killed
// process from the highest down, and the witness must end before the lock does.
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

// write increments the ledger, with a pause between reading and writing.
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

// read checks that the ledger does not change during the pause.
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

// alone calls work under the witness.
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

// An audit is what a ledger and its accounts show in the end.
type audit struct {
	overlaps    int
	updates     int // in the ledger
	lost        int
	unexplained int // updates in the ledger without an account
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
	a.unexplained = max(0, a.updates-begun)
	return a, nil
}

// pass waits for d, spinning if d is short.
func pass(d time.Duration) {
	if d > time.Millisecond {
		time.Sleep(d)
		return
	}
	for start := time.Now(); time.Since(start) < d; {
	}
}
