package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// A worker is a process that carries out orders: this program started anew, or a Python interpreter. Orders go to its
// standard input and answers come from its standard output, both as lines of JSON. It ends when its input does.

// isWorker reports whether this process has been started as a worker.
func isWorker() bool { return os.Getenv(workerMark) != "" }

const workerMark = "LOCKUTILS_BENCH_WORKER"

// What a worker can be told to do.
const (
	doUse        = "use"         // acquire and release alone for a slice of time: answers with nanoseconds for each
	doRush       = "rush"        // acquire, hold, release, think, again and again until the end, and log it
	doHold       = "hold"        // acquire, answer, and hold for good
	doMemoryOnce = "memory once" // lock one name after the other: answers with bytes kept
	doMemoryHeld = "memory held" // hold many names at once, release them: answers with bytes kept
	doVersions   = "versions"    // of a Python worker's peers
)

// An order is one line to a worker. Times of day are nanoseconds since 1970 on the host's clock.
type order struct {
	Do    string        `json:"do"`
	Lock  string        `json:"lock"`  // the peer's name
	Dir   string        `json:"dir"`   // where its lock file is
	Count int           `json:"count"` // of names
	Slice time.Duration `json:"slice"`
	Hold  time.Duration `json:"hold"`
	Think time.Duration `json:"think"`
	Start int64         `json:"start"`
	End   int64         `json:"end"`
	Log   string        `json:"log"` // the file that takes the uses
}

// An answer is one line from a worker.
type answer struct {
	Value    float64           `json:"value"`
	Versions map[string]string `json:"versions"`
	Absent   string            `json:"absent"` // why the peer is not to be had here
	Err      string            `json:"err"`
}

// A worker is the other end of such a process.
type worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	to  *json.Encoder
	out *json.Decoder
}

// startWorker starts this program anew as a worker.
func startWorker() (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), workerMark+"=1")
	return start(cmd)
}

// start starts any worker.
func start(cmd *exec.Cmd) (*worker, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &worker{cmd: cmd, in: in, to: json.NewEncoder(in), out: json.NewDecoder(out)}, nil
}

// ask gives an order and waits for the answer. A worker that takes too long is killed.
func (w *worker) ask(o order) (answer, error) {
	late := time.AfterFunc(patience/2, func() { _ = w.cmd.Process.Kill() })
	defer late.Stop()
	var a answer
	if err := w.to.Encode(o); err != nil {
		return a, fmt.Errorf("worker, %s: %w", o.Do, err)
	}
	if err := w.out.Decode(&a); err != nil {
		return a, fmt.Errorf("worker, %s: %w", o.Do, err)
	}
	switch {
	case a.Absent != "":
		return a, fmt.Errorf("%w: %s", errAbsent, a.Absent)
	case a.Err != "":
		return a, fmt.Errorf("worker, %s: %s", o.Do, a.Err)
	}
	return a, nil
}

// kill ends the worker whatever it does.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

// askOnce has a fresh worker carry out one order.
func askOnce(o order) (answer, error) {
	w, err := startWorker()
	if err != nil {
		return answer{}, err
	}
	defer w.kill()
	return w.ask(o)
}

// A site is where the processes meet: a directory for the lock files and logs, and the workers that are between two orders.
type site struct {
	dir    string
	python string // the interpreter
	tmp    string // $TMPDIR as it was

	// Guarded by mu.
	mu   sync.Mutex
	idle map[program][]*worker
	all  []*worker // ever hired
}

// A program is what a worker runs.
type program int

const (
	goProgram program = iota
	pythonProgram
)

// newSite makes the directory and, for peers that know no other place for their files, makes it that of temporary files, of the
// workers too.
func newSite(python string) (*site, error) {
	dir, err := os.MkdirTemp("", "lockutils-bench-")
	if err != nil {
		return nil, err
	}
	s := &site{dir: dir, python: python, tmp: os.Getenv("TMPDIR"), idle: make(map[program][]*worker)}
	return s, os.Setenv("TMPDIR", dir)
}

// close ends the workers and removes the directory.
func (s *site) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.all {
		w.kill()
	}
	_ = os.Setenv("TMPDIR", s.tmp)
	_ = os.RemoveAll(s.dir)
}

// fresh returns a directory without lock files.
func (s *site) fresh() (string, error) { return os.MkdirTemp(s.dir, "turn-") }

// hire returns a worker, an idle one if there is one.
func (s *site) hire(p program) (*worker, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.idle[p]); n > 0 {
		w := s.idle[p][n-1]
		s.idle[p] = s.idle[p][:n-1]
		return w, nil
	}
	w, err := s.start(p)
	if err == nil {
		s.all = append(s.all, w)
	}
	return w, err
}

// start starts a worker.
func (s *site) start(p program) (*worker, error) {
	if p == goProgram {
		return startWorker()
	}
	if _, err := exec.LookPath(s.python); err != nil {
		return nil, fmt.Errorf("%w: no Python interpreter", errAbsent)
	}
	return start(exec.Command(s.python, "-c", pythonWorker))
}

// release takes a worker back for the next order.
func (s *site) release(p program, w *worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle[p] = append(s.idle[p], w)
}

// ask has one worker of the program carry out an order.
func (s *site) ask(p program, o order) (answer, error) {
	w, err := s.hire(p)
	if err != nil {
		return answer{}, err
	}
	a, err := w.ask(o)
	if err != nil && !errors.Is(err, errAbsent) {
		w.kill()
		return a, err
	}
	s.release(p, w)
	return a, err
}

// serve carries out orders until the input ends.
func serve(in io.Reader, out io.Writer) {
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var o order
		if orders.Decode(&o) != nil {
			return
		}
		var a answer
		if value, err := carryOut(o, answers); err != nil {
			a.Err = err.Error()
		} else {
			a.Value = value
		}
		if answers.Encode(a) != nil {
			return
		}
	}
}

// carryOut does what an order says.
func carryOut(o order, answers *json.Encoder) (float64, error) {
	switch o.Do {
	case doMemoryOnce, doMemoryHeld:
		return keptAfter(o)
	case doRush:
		return 0, rush(o)
	case doHold:
		l, err := openFile(o.Lock, o.Dir)
		if err != nil {
			return 0, err
		}
		return 0, l.pass(func() {
			must(answers.Encode(answer{}))
			_, _ = io.Copy(io.Discard, os.Stdin) // until the process that gave the order has gone
			os.Exit(0)
		})
	}
	return 0, fmt.Errorf("no order %q", o.Do)
}
