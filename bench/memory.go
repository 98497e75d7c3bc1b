package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"
)

// What locks leave behind is measured in a process of its own for each, which has used no other before.

// kept makes a scenario of the memory that a process keeps after the order.
func kept(key, title, about string, peers []peer, o order) scenario {
	s := scenario{
		key: key, title: title, about: about, ours: ourLock,
		metrics: []metric{{"memory kept", bytesKept}},
	}
	for _, p := range peers {
		o := o
		o.Lock = p.name
		s.contenders = append(s.contenders, contender{
			name: p.name, note: p.note, mine: p.mine,
			turn: func() ([]float64, error) {
				a, err := askOnce(o)
				return []float64{a.Value}, err
			},
		})
	}
	return s
}

// keptAfter carries out an order about memory and returns the bytes by which the heap has grown.
func keptAfter(o order) (float64, error) {
	i := slices.IndexFunc(peers(), func(p peer) bool { return p.name == o.Lock })
	if i < 0 {
		return 0, fmt.Errorf("no lock %q", o.Lock)
	}
	open := peers()[i].open
	names := manyNames(o.Count)
	start := heap()
	l := open("")
	if o.Do == doMemoryHeld {
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

// heap returns the bytes in use after two collections, the second of which empties the pools and follows the first's cleanups.
func heap() float64 {
	runtime.GC()
	time.Sleep(10 * time.Millisecond) // lets cleanups run
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
