package lockdebug

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/internal/recent"
)

// A Report is what the page shows, and its form in JSON. Fields may be added to it, but none are
// removed or change their meaning. Lists are whole; they may be empty, but are never null.
// Durations are in seconds.
type Report struct {
	Time    time.Time `json:"time"`
	Program string    `json:"program"` // the name of the executable
	PID     int       `json:"pid"`

	Locks     []Lock     `json:"locks"`     // held or waited for, the longest wait first
	Stats     []Stats    `json:"stats"`     // since the program began; see lockutils.ReadStats
	Files     []File     `json:"files"`     // all lock files of the lock path
	FileError string     `json:"fileError"` // why Files is empty or incomplete, or ""
	Deadlocks []Deadlock `json:"deadlocks"` // the latest first; at most 20
}

// A Lock is one lock that is held or waited for. See [lockutils.LockInfo].
type Lock struct {
	Scope   string   `json:"scope"`
	Name    string   `json:"name"`
	Path    string   `json:"path"`    // of the lock file, or ""
	Service string   `json:"service"` // the kind of lock service, or ""
	Mode    string   `json:"mode"`    // how it is held: "none", "reader" or "writer"
	Readers int      `json:"readers"`
	Waited  float64  `json:"waited"` // by the waiter that has waited for longest; 0 without one
	Holders []Holder `json:"holders"`
	Waiters []Waiter `json:"waiters"` // in the order in which they are served
}

// A Holder is a holder as far as it is known.
type Holder struct {
	Since time.Time `json:"since,omitzero"`
	Held  float64   `json:"held"` // 0 if Since is not known
	By    string    `json:"by"`
	Stack []Frame   `json:"stack"`
}

// A Waiter is a request that waits.
type Waiter struct {
	Mode   string    `json:"mode"`
	Fair   bool      `json:"fair"`
	Since  time.Time `json:"since,omitzero"`
	Waited float64   `json:"waited"`
	Holds  []string  `json:"holds"` // names of locks that its context holds
	By     string    `json:"by"`
	Stack  []Frame   `json:"stack"`
}

// A Frame is one call of a stack, the innermost first.
type Frame struct {
	Function string `json:"function"`
	File     string `json:"file"`
	Line     int    `json:"line"`
}

// Stats are the figures of one class of locks. See [lockutils.LockStats].
type Stats struct {
	Class         string    `json:"class"`
	Mode          string    `json:"mode"`
	Layer         string    `json:"layer"` // "process", "file" or "service"
	Contentions   uint64    `json:"contentions"`
	Timeouts      uint64    `json:"timeouts"`
	Cancellations uint64    `json:"cancellations"`
	Deadlocks     uint64    `json:"deadlocks"`
	Lost          uint64    `json:"lost"`
	Waiting       int64     `json:"waiting"`
	Wait          Histogram `json:"wait"`
	ContendedHold Histogram `json:"contendedHold"`
}

// A Histogram counts durations. Counts[i] counts those of at most Bounds[i] seconds; the last
// element of Counts counts those that exceed all bounds.
type Histogram struct {
	Bounds []float64 `json:"bounds"`
	Counts []uint64  `json:"counts"`
	Sum    float64   `json:"sum"`
}

// A File is a lock file of the host. See [lockutils.FileInfo].
type File struct {
	Path     string    `json:"path"`
	Holders  []Process `json:"holders"`
	Waiters  []Process `json:"waiters"`
	LastUsed time.Time `json:"lastUsed"`
}

// A Process holds a lock file, or waits for it.
type Process struct {
	PID     int    `json:"pid,omitempty"` // left out, and 0 in Go, if it cannot be told
	Command string `json:"command"`
	Mode    string `json:"mode"`
}

// A Deadlock is one that was found.
type Deadlock struct {
	Time    time.Time `json:"time"`
	Message string    `json:"message"`
	Cycle   []Wait    `json:"cycle"`
}

// A Wait is one member of a deadlock. See [lockutils.Wait].
type Wait struct {
	Name  string    `json:"name"`
	Path  string    `json:"path"`
	Mode  string    `json:"mode"`
	Holds []string  `json:"holds"`
	Since time.Time `json:"since"`
	Stack []Frame   `json:"stack"`
}

// NewReport reports the locks of the program as they are now.
func NewReport() *Report {
	r := &Report{Time: time.Now(), Program: programName(), PID: os.Getpid()}
	r.Locks = list(lockutils.Snapshot(), r.lock)
	var s lockutils.Stats
	lockutils.ReadStats(&s)
	r.Stats = list(s.Locks, statsOf)
	files, err := lockutils.HostLocks()
	r.Files = list(files, fileOf)
	if err != nil {
		r.FileError = err.Error()
	}
	r.Deadlocks = list(recent.Deadlocks(), deadlockOf)
	return r
}

func programName() string {
	path, err := os.Executable()
	if err != nil {
		path = os.Args[0]
	}
	return filepath.Base(path)
}

// list converts each element. Its result is never nil.
func list[From, To any](from []From, convert func(From) To) []To {
	to := make([]To, 0, len(from))
	for _, f := range from {
		to = append(to, convert(f))
	}
	return to
}

func (r *Report) lock(l lockutils.LockInfo) Lock {
	lock := Lock{
		Scope: l.Scope, Name: l.Name, Path: l.Path, Service: l.Service, Mode: l.Mode.String(),
		Readers: l.Readers, Holders: list(l.Holders, r.holder), Waiters: list(l.Waiters, r.waiter),
	}
	for _, w := range lock.Waiters {
		lock.Waited = max(lock.Waited, w.Waited)
	}
	return lock
}

func (r *Report) holder(h lockutils.HolderInfo) Holder {
	return Holder{Since: h.Since, Held: r.since(h.Since), By: h.By, Stack: frames(h.Stack)}
}

func (r *Report) waiter(w lockutils.WaiterInfo) Waiter {
	return Waiter{
		Mode: w.Mode.String(), Fair: w.Fair, Since: w.Since, Waited: r.since(w.Since),
		Holds: list(w.Holds, func(name string) string { return name }), By: w.By, Stack: frames(w.Stack),
	}
}

// since returns the seconds from then to the time of the report, or 0 if that is not known.
func (r *Report) since(then time.Time) float64 {
	if then.IsZero() {
		return 0
	}
	return max(0, r.Time.Sub(then).Seconds())
}

func statsOf(s lockutils.LockStats) Stats {
	return Stats{
		Class: s.Class, Mode: s.Mode.String(), Layer: s.Layer.String(), Contentions: s.Contentions,
		Timeouts: s.Timeouts, Cancellations: s.Cancellations, Deadlocks: s.Deadlocks, Lost: s.Lost,
		Waiting: s.Waiting, Wait: histogramOf(s.Wait), ContendedHold: histogramOf(s.ContendedHold),
	}
}

func histogramOf(h lockutils.Histogram) Histogram {
	return Histogram{
		Bounds: list(h.Bounds, func(bound float64) float64 { return bound }),
		Counts: list(h.Counts, func(count uint64) uint64 { return count }),
		Sum:    h.Sum,
	}
}

func fileOf(f lockutils.FileInfo) File {
	return File{
		Path: f.Path, Holders: list(f.Holders, processOf), Waiters: list(f.Waiters, processOf),
		LastUsed: f.LastUsed,
	}
}

func processOf(h lockutils.Holder) Process {
	p := Process{PID: h.PID, Command: h.Command, Mode: h.Mode.String()}
	if h.PID == lockutils.UnknownPID {
		p.PID = 0
	}
	return p
}

func deadlockOf(d recent.Deadlock) Deadlock {
	found := Deadlock{Time: d.At, Message: d.Err.Error(), Cycle: []Wait{}}
	if e, ok := errors.AsType[*lockutils.DeadlockError](d.Err); ok {
		found.Cycle = list(e.Cycle, waitOf)
	}
	return found
}

func waitOf(w lockutils.Wait) Wait {
	return Wait{
		Name: w.Name, Path: w.Path, Mode: w.Mode.String(),
		Holds: list(w.Holds, func(name string) string { return name }), Since: w.Since, Stack: frames(w.Stack),
	}
}

// frames looks up the calls of a stack.
func frames(stack []uintptr) []Frame {
	found := []Frame{}
	if len(stack) == 0 {
		return found
	}
	for calls := runtime.CallersFrames(stack); ; {
		f, more := calls.Next()
		found = append(found, Frame{Function: f.Function, File: f.File, Line: f.Line})
		if !more {
			return found
		}
	}
}
