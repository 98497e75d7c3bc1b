package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"
)

// The memory that locks leave behind is measured in a new process for each peer.

// kept returns the scenario of the memory that a process keeps after the request.
func kept(key, title, about string, peers []peer, req request) scenario {
	s := scenario{
		key: key, title: title, about: about, ours: ourLock,
		metrics: []metric{{"memory kept", bytesKept}},
	}
	for _, p := range peers {
		req := req
		req.Lock = p.name
		s.contenders = append(s.contenders, contender{
			name: p.name, note: p.note, mine: p.mine,
			turn: func() ([]float64, error) {
				rep, err := callOnce(req)
				return []float64{rep.Value}, err
			},
		})
	}
	return s
}

// keptAfter handles a request about memory and returns the growth of the heap in bytes.
func keptAfter(req request) (float64, error) {
	i := slices.IndexFunc(peers(), func(p peer) bool { return p.name == req.Lock })
	if i < 0 {
		return 0, fmt.Errorf("unknown lock %q", req.Lock)
	}
	open := peers()[i].open
	names := manyNames(req.Count)
	start := heap()
	l := open("")
	if req.Do == doMemoryHeld {
		releases := make([]func(), len(names))
		for i, name := range names {
			releases[i] = l.hold(name)
		}
		for _, release := range releases {
			release()
		}
	} else {
		for _, name := range names {
			l.pass(name, nil)
		}
	}
	grown := heap() - start
	runtime.KeepAlive(names)
	runtime.KeepAlive(l)
	return grown, nil
}

// heap returns the bytes in use after two collections: the second empties pools and follows
// cleanups.
func heap() float64 {
	runtime.GC()
	time.Sleep(10 * time.Millisecond) // lets cleanups run
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
