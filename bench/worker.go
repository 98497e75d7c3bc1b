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

// A worker is a process that handles requests: another instance of this program, or a Python
// interpreter. Requests go to its standard input and replies come from its standard output, both as
// lines of JSON. It exits when its input ends.

// isWorker reports whether this process was started as a worker.
func isWorker() bool { return os.Getenv(workerMark) != "" }

const workerMark = "LOCKUTILS_BENCH_WORKER"

// The requests that a worker handles.
const (
	doUse        = "use"         // acquire and release without contention: replies with nanoseconds for each
	doContest    = "contest"     // acquire, hold, release and think until the end, and log each use
	doHold       = "hold"        // acquire, reply, and hold until killed
	doMemoryOnce = "memory once" // lock one name after another: replies with bytes kept
	doMemoryHeld = "memory held" // hold many names at once, release them: replies with bytes kept
	doVersions   = "versions"    // of the Python peers
)

// A request is one line to a worker. Start and End are nanoseconds since 1970 on the host's clock.
type request struct {
	Do    string        `json:"do"`
	Lock  string        `json:"lock"`  // name of the peer
	Dir   string        `json:"dir"`   // directory of the lock file
	Count int           `json:"count"` // of names
	Slice time.Duration `json:"slice"`
	Hold  time.Duration `json:"hold"`
	Think time.Duration `json:"think"`
	Start int64         `json:"start"`
	End   int64         `json:"end"`
	Log   string        `json:"log"` // file for the uses
}

// A reply is one line from a worker.
type reply struct {
	Value    float64           `json:"value"`
	Versions map[string]string `json:"versions"`
	Absent   string            `json:"absent"` // why the peer is not available here
	Err      string            `json:"err"`
}

// A worker is this side of such a process.
type worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	to  *json.Encoder
	out *json.Decoder
}

// startWorker starts this program as a worker.
func startWorker() (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), workerMark+"=1")
	return start(cmd)
}

// start starts cmd as a worker.
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

// call sends a request and waits for the reply. It kills a worker that takes too long.
func (w *worker) call(req request) (reply, error) {
	late := time.AfterFunc(turnLimit/2, func() { _ = w.cmd.Process.Kill() })
	defer late.Stop()
	var rep reply
	if err := w.to.Encode(req); err != nil {
		return rep, fmt.Errorf("worker, %s: %w", req.Do, err)
	}
	if err := w.out.Decode(&rep); err != nil {
		return rep, fmt.Errorf("worker, %s: %w", req.Do, err)
	}
	switch {
	case rep.Absent != "":
		return rep, fmt.Errorf("%w: %s", errAbsent, rep.Absent)
	case rep.Err != "":
		return rep, fmt.Errorf("worker, %s: %s", req.Do, rep.Err)
	}
	return rep, nil
}

// kill kills the worker and waits for it.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

// callOnce sends one request to a new worker.
func callOnce(req request) (reply, error) {
	w, err := startWorker()
	if err != nil {
		return reply{}, err
	}
	defer w.kill()
	return w.call(req)
}

// A site is the shared ground of the processes: a directory for lock files and logs, and idle
// workers.
type site struct {
	dir    string
	python string // the interpreter
	tmp    string // $TMPDIR before newSite

	// Guarded by mu.
	mu   sync.Mutex
	idle map[program][]*worker
	all  []*worker
}

// A program is what a worker runs.
type program int

const (
	goProgram program = iota
	pythonProgram
)

// newSite creates the directory. It sets $TMPDIR to it, also for the workers, because some peers
// create their lock files nowhere else.
func newSite(python string) (*site, error) {
	dir, err := os.MkdirTemp("", "lockutils-bench-")
	if err != nil {
		return nil, err
	}
	s := &site{dir: dir, python: python, tmp: os.Getenv("TMPDIR"), idle: make(map[program][]*worker)}
	return s, os.Setenv("TMPDIR", dir)
}

// close kills the workers and removes the directory.
func (s *site) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.all {
		w.kill()
	}
	_ = os.Setenv("TMPDIR", s.tmp)
	_ = os.RemoveAll(s.dir)
}

// newDir returns a new directory for lock files.
func (s *site) newDir() (string, error) { return os.MkdirTemp(s.dir, "locks-") }

// get returns an idle worker of the program, or starts one.
func (s *site) get(p program) (*worker, error) {
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

// start starts a worker of the program.
func (s *site) start(p program) (*worker, error) {
	if p == goProgram {
		return startWorker()
	}
	if _, err := exec.LookPath(s.python); err != nil {
		return nil, fmt.Errorf("%w: no Python interpreter", errAbsent)
	}
	return start(exec.Command(s.python, "-c", pythonWorker))
}

// put returns an idle worker.
func (s *site) put(p program, w *worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle[p] = append(s.idle[p], w)
}

// call sends a request to a worker of the program.
func (s *site) call(p program, req request) (reply, error) {
	w, err := s.get(p)
	if err != nil {
		return reply{}, err
	}
	rep, err := w.call(req)
	if err != nil && !errors.Is(err, errAbsent) {
		w.kill()
		return rep, err
	}
	s.put(p, w)
	return rep, err
}

// serve handles requests until the input ends.
func serve(in io.Reader, out io.Writer) {
	requests, replies := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var req request
		if requests.Decode(&req) != nil {
			return
		}
		var rep reply
		if value, err := handle(req, replies); err != nil {
			rep.Err = err.Error()
		} else {
			rep.Value = value
		}
		if replies.Encode(rep) != nil {
			return
		}
	}
}

// handle handles one request.
func handle(req request, replies *json.Encoder) (float64, error) {
	switch req.Do {
	case doMemoryOnce, doMemoryHeld:
		return keptAfter(req)
	case doContest:
		return 0, runContest(req)
	case doHold:
		l, err := openFile(req.Lock, req.Dir)
		if err != nil {
			return 0, err
		}
		return 0, l.pass(func() {
			must(replies.Encode(reply{}))
			_, _ = io.Copy(io.Discard, os.Stdin) // until the requesting process has exited
			os.Exit(0)
		})
	}
	return 0, fmt.Errorf("unknown request %q", req.Do)
}
