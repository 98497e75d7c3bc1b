//go:build unix

package filelock

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// pythonPath is the interpreter that sees the packages of the distribution.
const pythonPath = "/usr/bin/python3"

// python skips the test unless the Python programs that share lock files with this package are
// installed.
func python(t testing.TB) {
	t.Helper()
	if err := exec.Command(pythonPath, "-c", "import oslo_concurrency, fasteners, filelock").Run(); err != nil {
		t.Skip("python3-oslo.concurrency, python3-fasteners and python3-filelock are not installed")
	}
}

// pythonPeer obeys lines of the form "try KIND PATH" and "release KIND PATH", and prints the
// outcome of each.
const pythonPeer = `
import os, sys
import fasteners, filelock
from oslo_concurrency import lockutils

def oslo(path):
    lock = lockutils.external_lock(os.path.basename(path), lock_path=os.path.dirname(path))
    return lambda: lock.acquire(blocking=False), lock.release

def fasteners_lock(path):
    lock = fasteners.InterProcessLock(path)
    return lambda: lock.acquire(blocking=False), lock.release

def reader(path):
    lock = fasteners.InterProcessReaderWriterLock(path)
    return lambda: lock.acquire_read_lock(blocking=False), lock.release_read_lock

def writer(path):
    lock = fasteners.InterProcessReaderWriterLock(path)
    return lambda: lock.acquire_write_lock(blocking=False), lock.release_write_lock

def file_lock(path):
    lock = filelock.FileLock(path)
    def acquire():
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            return False
        return True
    return acquire, lock.release

kinds = {"oslo": oslo, "fasteners": fasteners_lock, "reader": reader, "writer": writer, "filelock": file_lock}
held = {}
for line in sys.stdin:
    command, kind, path = line.split()
    if command == "try":
        acquire, release = kinds[kind](path)
        granted = acquire()
        if granted:
            held[kind] = release
        print("granted" if granted else "refused", flush=True)
    else:
        held.pop(kind)()
        print("released", flush=True)
`

// foreign is a way to lock that is not this package's: it returns nil if the lock is refused.
type foreign func(t *testing.T, path string) (release func())

// TestOthersOnTheSameFile checks who excludes whom when programs with other kinds of locks use
// the same file.
func TestOthersOnTheSameFile(t *testing.T) {
	python(t)
	p := startCommand(t, exec.Command(pythonPath, "-c", pythonPeer))
	fromPython := func(kind string) foreign {
		ask := func(command, path string) string {
			fmt.Fprintln(p.in, command, kind, path)
			return p.line()
		}
		return func(t *testing.T, path string) func() {
			if ask("try", path) == "refused" {
				return nil
			}
			return func() { ask("release", path) }
		}
	}
	others := map[string]foreign{
		"oslo":         fromPython("oslo"),
		"fasteners":    fromPython("fasteners"),
		"reader":       fromPython("reader"),
		"writer":       fromPython("writer"),
		"filelock":     fromPython("filelock"),
		"flock":        flockCommand("-x"),
		"flock shared": flockCommand("-s"),
		"gofrs":        gofrs((*flock.Flock).TryLock),
		"gofrs shared": gofrs((*flock.Flock).TryRLock),
	}
	recordLocks := []string{"oslo", "fasteners", "reader", "writer"}
	for name, c := range map[string]struct {
		r       Request
		coexist []string // who gets the lock all the same
	}{
		"exclusive":      {Request{}, recordLocks},
		"shared":         {Request{Mode: Shared}, append(recordLocks, "flock shared", "gofrs shared")},
		"fair":           {Request{Fair: true}, recordLocks},
		"fcntl":          {Request{Fcntl: true}, nil},
		"fcntl and fair": {Request{Fcntl: true, Fair: true}, nil},
		"fcntl and shared": {Request{Fcntl: true, Mode: Shared},
			[]string{"reader", "flock shared", "gofrs shared"}},
	} {
		coexist := map[string]bool{}
		for _, other := range c.coexist {
			coexist[other] = true
		}
		r := c.r
		r.Path = lockPath(t)
		for other, try := range others {
			t.Run(name+", then "+other, func(t *testing.T) {
				h := mustLock(t, r)
				release := try(t, r.Path)
				if granted := release != nil; granted != coexist[other] {
					t.Errorf("granted: %v", granted)
				}
				if release != nil {
					release()
				}
				mustUnlock(t, h)
				if release = try(t, r.Path); release == nil {
					t.Fatal("refused after the release")
				}
				release()
			})
			t.Run(other+", then "+name, func(t *testing.T) {
				release := try(t, r.Path)
				if release == nil {
					t.Fatal("a free lock was refused")
				}
				h, err := TryLock(r)
				if err != nil && !errors.Is(err, ErrLocked) {
					t.Fatal(err)
				}
				if granted := err == nil; granted != coexist[other] {
					t.Errorf("granted: %v", granted)
				}
				if h != nil {
					mustUnlock(t, h)
				}
				release()
				mustGrant(t, r)
			})
		}
	}
}

// flockCommand locks with flock(1).
func flockCommand(mode string) foreign {
	return func(t *testing.T, path string) func() {
		t.Helper()
		p := startCommand(t, exec.Command("flock", "-n", mode, path, "sh", "-c", "echo granted; read line"))
		if !p.lines.Scan() {
			return nil
		}
		return func() {
			_ = p.in.Close()
			_ = p.cmd.Wait()
		}
	}
}

// gofrs locks with github.com/gofrs/flock.
func gofrs(try func(*flock.Flock) (bool, error)) foreign {
	return func(t *testing.T, path string) func() {
		t.Helper()
		l := flock.New(path)
		granted, err := try(l)
		if err != nil {
			t.Fatal(err)
		}
		if !granted {
			return nil
		}
		return func() {
			if err := l.Unlock(); err != nil {
				t.Error(err)
			}
		}
	}
}

// pythonHammer does what serveHammer does, with the external lock of oslo.concurrency.
const pythonHammer = `
import fcntl, json, os, struct, sys, time
from oslo_concurrency import lockutils

h = json.loads(sys.argv[1])
path = h["Requests"][0]["Path"]
ledger = os.open(h["Ledger"], os.O_RDWR | os.O_CREAT, 0o600)

def pause(nanoseconds):
    end = time.monotonic_ns() + nanoseconds
    while time.monotonic_ns() < end:
        pass

def count(at):
    return struct.unpack("<Q", os.pread(ledger, 8, at).ljust(8, b"\0"))[0]

def put(at, value):
    os.pwrite(ledger, struct.pack("<Q", value), at)

def write():
    try:
        fcntl.flock(ledger, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        put(8, count(8) + 1)
        return
    before = count(0)
    pause(h["Hold"])
    put(0, before + 1)
    fcntl.flock(ledger, fcntl.LOCK_UN)

n = 0
end = time.monotonic_ns() + h["For"]
while time.monotonic_ns() < end:
    with lockutils.external_lock(os.path.basename(path), lock_path=os.path.dirname(path)):
        write()
    n += 1
    pause(h["Think"])
print(n, flush=True)
`

func startPythonHammer(t testing.TB, h hammer) *process {
	t.Helper()
	encoded, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	return startCommand(t, exec.Command(pythonPath, "-c", pythonHammer, string(encoded)))
}

// TestPythonProcessesLoseNoUpdate lets Python and Go write to one ledger, each at least once.
func TestPythonProcessesLoseNoUpdate(t *testing.T) {
	python(t)
	h := newHammer(t, Request{Fcntl: true}, Request{Fcntl: true, Mode: Shared}, Request{Fcntl: true, Fair: true})
	h.Hold, h.Think = 200*time.Microsecond, 200*time.Microsecond
	h.Cancels = true
	wrote := writes(t, start(t, "hammer", h), start(t, "hammer", h), startPythonHammer(t, h),
		startPythonHammer(t, h))
	if count := h.ledger(t).check(t); count != sum(wrote) {
		t.Errorf("%d writes, %d of them in the ledger", sum(wrote), count)
	}
}

// BenchmarkPythonShare lets two processes of this package contend with two of oslo.concurrency,
// and reports the least number of acquisitions by any of them as a part of the most.
func BenchmarkPythonShare(b *testing.B) {
	python(b)
	for _, think := range []time.Duration{200 * time.Microsecond, 0} {
		b.Run(fmt.Sprintf("hold=200µs,think=%v", think), func(b *testing.B) {
			for range b.N {
				h := hammer{
					Requests: []Request{{Path: filepath.Join(b.TempDir(), "lock"), Fcntl: true}},
					Ledger:   filepath.Join(b.TempDir(), "ledger"),
					Hold:     200 * time.Microsecond,
					Think:    think,
					For:      stressDuration(b),
				}
				n := writes(b, start(b, "hammer", h), start(b, "hammer", h), startPythonHammer(b, h),
					startPythonHammer(b, h))
				h.ledger(b).check(b)
				b.ReportMetric(float64(slices.Min(n))/float64(slices.Max(n)), "least/most")
				b.ReportMetric(float64(n[0]+n[1])/h.For.Seconds(), "go-acq/s")
				b.ReportMetric(float64(n[2]+n[3])/h.For.Seconds(), "python-acq/s")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}
