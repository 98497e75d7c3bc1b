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

// A use is one acquisition in the log of a rush, on the host's clock, so that the logs of all its processes fit together.
// The release is noted just before the lock is let go: holds that overlap in the log overlapped for certain.
type use struct{ Asked, Acquired, Released int64 }

// openFile returns the named peer's lock file.
func openFile(name, dir string) (fileLock, error) {
	peers := filePeers()
	i := slices.IndexFunc(peers, func(p filePeer) bool { return p.name == name })
	if i < 0 {
		return fileLock{}, fmt.Errorf("no lock file %q", name)
	}
	return peers[i].open(dir), nil
}

// rush uses a lock file from the order's start to its end and writes the log.
func rush(o order) error {
	l, err := openFile(o.Lock, o.Dir)
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
		spin(o.Hold)
		u.Released = now()
	}
	time.Sleep(time.Until(time.Unix(0, o.Start)))
	for u.Asked = now(); u.Asked < o.End; u.Asked = now() {
		if err := l.pass(inside); err != nil {
			return err
		}
		uses = append(uses, u)
		spin(o.Think)
	}
	var log bytes.Buffer
	if err := binary.Write(&log, binary.NativeEndian, uses); err != nil {
		return err
	}
	return os.WriteFile(o.Log, log.Bytes(), 0o600)
}

// A party is one process of a rush.
type party struct {
	program program
	lock    string
}

// A logged use says who it was.
type logged struct {
	use
	who int
}

// A rushed is the merged log of a rush, in the order of acquisition, from when the last party has come to the order's end.
type rushed struct {
	uses       []logged
	parties    int
	start, end int64
}

// rush has the parties compete for one lock file and returns the merged log. Two holders at once are an error.
func (s *site) rush(parties []party, hold, think, slice time.Duration) (rushed, error) {
	dir, err := s.fresh()
	if err != nil {
		return rushed{}, err
	}
	workers := make([]*worker, len(parties))
	for i, p := range parties {
		if workers[i], err = s.hire(p.program); err != nil {
			for j, w := range workers[:i] {
				s.release(parties[j].program, w)
			}
			return rushed{}, err
		}
	}
	for i, p := range parties { // a Python process takes its time to load what it needs
		if p.program == pythonProgram {
			if _, err := workers[i].ask(order{Do: doVersions}); err != nil {
				return rushed{}, err
			}
		}
	}

	const lead = 20 * time.Millisecond // so that all are there when it begins
	start := time.Now().Add(lead)
	end := start.Add(slice)
	errs := make([]error, len(parties))
	logs := make([][]use, len(parties))
	var all sync.WaitGroup
	for i, p := range parties {
		all.Go(func() {
			log := filepath.Join(dir, fmt.Sprintf("uses-%d", i))
			_, errs[i] = workers[i].ask(order{
				Do: doRush, Lock: p.lock, Dir: dir, Hold: hold, Think: think, Start: start.UnixNano(), End: end.UnixNano(), Log: log,
			})
			if errs[i] != nil {
				workers[i].kill()
				return
			}
			s.release(p.program, workers[i])
			logs[i], errs[i] = readUses(log)
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return rushed{}, err
	}
	r := merge(logs, start.UnixNano(), end.UnixNano())
	if n := r.overlaps(); n > 0 {
		return r, fmt.Errorf("two holders at once: %d times in %d", n, len(r.uses))
	}
	r.trim()
	return r, os.RemoveAll(dir)
}

// merge puts the parties' logs together.
func merge(logs [][]use, start, end int64) rushed {
	r := rushed{parties: len(logs), start: start, end: end}
	for who, uses := range logs {
		if len(uses) > 0 {
			r.start = max(r.start, uses[0].Asked)
		}
		for _, u := range uses {
			r.uses = append(r.uses, logged{u, who})
		}
	}
	slices.SortFunc(r.uses, func(a, b logged) int { return cmp.Compare(a.Acquired, b.Acquired) })
	return r
}

// trim drops what happened before all parties had come and after the end, when some had gone.
func (r *rushed) trim() {
	r.uses = slices.DeleteFunc(r.uses, func(u logged) bool { return u.Acquired < r.start || u.Acquired > r.end })
}

// readUses reads a log.
func readUses(path string) ([]use, error) {
	log, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	uses := make([]use, len(log)/binary.Size(use{}))
	return uses, binary.Read(bytes.NewReader(log), binary.NativeEndian, uses)
}

// overlaps counts the acquisitions while another party still held the lock.
func (r rushed) overlaps() int {
	n := 0
	for i := 1; i < len(r.uses); i++ {
		if r.uses[i].Acquired < r.uses[i-1].Released {
			n++
		}
	}
	return n
}

// rate returns the acquisitions a second.
func (r rushed) rate() float64 {
	return float64(len(r.uses)) / time.Duration(r.end-r.start).Seconds()
}

// changes returns how often a second the lock went from one party to another.
func (r rushed) changes() float64 {
	n := 0
	for i := 1; i < len(r.uses); i++ {
		if r.uses[i].who != r.uses[i-1].who {
			n++
		}
	}
	return float64(n) / time.Duration(r.end-r.start).Seconds()
}

// counts returns the acquisitions of each party.
func (r rushed) counts() []int {
	counts := make([]int, r.parties)
	for _, u := range r.uses {
		counts[u.who]++
	}
	return counts
}

// leastShare returns the acquisitions of the least served party as a part of the mean.
func (r rushed) leastShare() float64 { return float64(slices.Min(r.counts())) / r.mean() }

// greatestShare returns those of the most served party.
func (r rushed) greatestShare() float64 { return float64(slices.Max(r.counts())) / r.mean() }

func (r rushed) mean() float64 { return float64(len(r.uses)) / float64(r.parties) }

// wait returns a quantile of the time from asking to acquiring.
func (r rushed) wait(q float64) float64 {
	waits := make([]int64, len(r.uses))
	for i, u := range r.uses {
		waits[i] = u.Acquired - u.Asked
	}
	slices.Sort(waits)
	return quantile(waits, q)
}

// handOvers returns, sorted, how long those who had to wait for another party waited from the first release after they
// had asked. A waiter that slept through it and lost the lock to somebody else again counts from there.
func (r rushed) handOvers() []int64 {
	var delays []int64
	for i, u := range r.uses {
		first := i
		for first > 0 && r.uses[first-1].Released > u.Asked {
			first--
		}
		if first < i {
			delays = append(delays, u.Acquired-r.uses[first].Released)
		}
	}
	slices.Sort(delays)
	return delays
}

// passes returns a quantile of how many acquisitions came before one although they were asked for after it. Those who ask at
// the same moment may pass each other once, as asking is noted a little before it is done.
func (r rushed) passes(q float64) float64 {
	passes := make([]int64, len(r.uses))
	for i, u := range r.uses {
		for j := i - 1; j >= 0 && r.uses[j].Acquired > u.Asked; j-- {
			if r.uses[j].Asked > u.Asked {
				passes[i]++
			}
		}
	}
	slices.Sort(passes)
	return quantile(passes, q)
}
