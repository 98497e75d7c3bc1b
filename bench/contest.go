package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// A use is one acquisition in the log of a contest. The times are of the host's clock, so that the
// logs of all processes can be merged. Released is read just before the release: holds that
// overlap in the log have overlapped.
type use struct{ Requested, Acquired, Released int64 }

// openFile opens the lock file of the named peer.
func openFile(name, dir string) (fileLock, error) {
	peers := filePeers()
	i := slices.IndexFunc(peers, func(p filePeer) bool { return p.name == name })
	if i < 0 {
		return fileLock{}, fmt.Errorf("unknown lock file %q", name)
	}
	return peers[i].open(dir), nil
}

// runContest uses a lock file from the start to the end of the request and writes the log.
func runContest(req request) error {
	l, err := openFile(req.Lock, req.Dir)
	if err != nil {
		return err
	}
	now := func() int64 { return time.Now().UnixNano() }
	spin := func(d time.Duration) {
		for until := now() + int64(d); d > 0 && now() < until; {
		}
	}
	uses := make([]use, 0, 1<<16)
	var u use
	inside := func() {
		u.Acquired = now()
		spin(req.Hold)
		u.Released = now()
	}
	time.Sleep(time.Until(time.Unix(0, req.Start)))
	for u.Requested = now(); u.Requested < req.End; u.Requested = now() {
		if err := l.pass(inside); err != nil {
			return err
		}
		uses = append(uses, u)
		spin(req.Think)
	}
	var log bytes.Buffer
	if err := binary.Write(&log, binary.NativeEndian, uses); err != nil {
		return err
	}
	return os.WriteFile(req.Log, log.Bytes(), 0o600)
}

// A process takes part in a contest.
type process struct {
	program program
	lock    string
}

// A loggedUse is a use with the index of its process.
type loggedUse struct {
	use
	process int
}

// A contestLog is the merged log of a contest in order of acquisition, from the first request of
// the last process to the end.
type contestLog struct {
	uses       []loggedUse
	processes  int
	start, end int64
}

// contest makes processes compete for one lock file and returns the merged log. Two holders at once
// are an error.
func (s *site) contest(processes []process, hold, think, slice time.Duration) (contestLog, error) {
	dir, err := s.newDir()
	if err != nil {
		return contestLog{}, err
	}
	workers := make([]*worker, len(processes))
	for i, p := range processes {
		if workers[i], err = s.get(p.program); err != nil {
			for j, w := range workers[:i] {
				s.put(processes[j].program, w)
			}
			return contestLog{}, err
		}
	}
	for i, p := range processes { // a Python process needs time to load its modules
		if p.program == pythonProgram {
			if _, err := workers[i].call(request{Do: doVersions}); err != nil {
				return contestLog{}, err
			}
		}
	}

	const lead = 20 * time.Millisecond // so that all processes are ready at the start
	start := time.Now().Add(lead)
	end := start.Add(slice)
	errs := make([]error, len(processes))
	logs := make([][]use, len(processes))
	var all sync.WaitGroup
	for i, p := range processes {
		all.Go(func() {
			log := filepath.Join(dir, fmt.Sprintf("uses-%d", i))
			_, errs[i] = workers[i].call(request{
				Do: doContest, Lock: p.lock, Dir: dir, Hold: hold, Think: think,
				Start: start.UnixNano(), End: end.UnixNano(), Log: log,
			})
			if errs[i] != nil {
				workers[i].kill()
				return
			}
			s.put(p.program, workers[i])
			logs[i], errs[i] = readUses(log)
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return contestLog{}, err
	}
	log := merge(logs, start.UnixNano(), end.UnixNano())
	if n := log.overlaps(); n > 0 {
		return log, fmt.Errorf("two holders at once: %d times in %d", n, len(log.uses))
	}
	log.trim()
	return log, os.RemoveAll(dir)
}

// merge merges the logs of the processes.
func merge(logs [][]use, start, end int64) contestLog {
	log := contestLog{processes: len(logs), start: start, end: end}
	for process, uses := range logs {
		if len(uses) > 0 {
			log.start = max(log.start, uses[0].Requested)
		}
		for _, u := range uses {
			log.uses = append(log.uses, loggedUse{u, process})
		}
	}
	slices.SortFunc(log.uses, func(a, b loggedUse) int { return cmp.Compare(a.Acquired, b.Acquired) })
	return log
}

// trim drops the uses before the last process began and after the end.
func (log *contestLog) trim() {
	log.uses = slices.DeleteFunc(log.uses,
		func(u loggedUse) bool { return u.Acquired < log.start || u.Acquired > log.end })
}

// readUses reads the log of one process.
func readUses(path string) ([]use, error) {
	log, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	uses := make([]use, len(log)/binary.Size(use{}))
	return uses, binary.Read(bytes.NewReader(log), binary.NativeEndian, uses)
}

// overlaps counts the acquisitions while another process still held the lock.
func (log contestLog) overlaps() int {
	n := 0
	for i := 1; i < len(log.uses); i++ {
		if log.uses[i].Acquired < log.uses[i-1].Released {
			n++
		}
	}
	return n
}

// rate returns the acquisitions per second.
func (log contestLog) rate() float64 {
	return float64(len(log.uses)) / time.Duration(log.end-log.start).Seconds()
}

// changes returns how often per second the lock passed from one process to another.
func (log contestLog) changes() float64 {
	n := 0
	for i := 1; i < len(log.uses); i++ {
		if log.uses[i].process != log.uses[i-1].process {
			n++
		}
	}
	return float64(n) / time.Duration(log.end-log.start).Seconds()
}

// counts returns the acquisitions of each process.
func (log contestLog) counts() []int {
	counts := make([]int, log.processes)
	for _, u := range log.uses {
		counts[u.process]++
	}
	return counts
}

// leastShare returns the fewest acquisitions of a process, divided by the mean.
func (log contestLog) leastShare() float64 { return float64(slices.Min(log.counts())) / log.mean() }

// greatestShare returns the most acquisitions of a process, divided by the mean.
func (log contestLog) greatestShare() float64 { return float64(slices.Max(log.counts())) / log.mean() }

func (log contestLog) mean() float64 { return float64(len(log.uses)) / float64(log.processes) }

// wait returns a quantile of the time from request to acquisition.
func (log contestLog) wait(q float64) float64 {
	waits := make([]int64, len(log.uses))
	for i, u := range log.uses {
		waits[i] = u.Acquired - u.Requested
	}
	slices.Sort(waits)
	return quantile(waits, q)
}

// handOvers returns the sorted times from a release to the acquisition by a waiter. They count from
// the first release after the request, even if another process acquires the lock in between.
func (log contestLog) handOvers() []int64 {
	var delays []int64
	for i, u := range log.uses {
		first := i
		for first > 0 && log.uses[first-1].Released > u.Requested {
			first--
		}
		if first < i {
			delays = append(delays, u.Acquired-log.uses[first].Released)
		}
	}
	slices.Sort(delays)
	return delays
}

// passes returns a quantile of how many later requests were granted before a request. Simultaneous
// requests may pass each other once, because the time is read just before the request.
func (log contestLog) passes(q float64) float64 {
	passes := make([]int64, len(log.uses))
	for i, u := range log.uses {
		for j := i - 1; j >= 0 && log.uses[j].Acquired > u.Requested; j-- {
			if log.uses[j].Requested > u.Requested {
				passes[i]++
			}
		}
	}
	slices.Sort(passes)
	return quantile(passes, q)
}
