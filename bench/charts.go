package main

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/lockutils/lockutils/bench/internal/chart"
)

// newPanel returns the panel of the first metric, best row on top. Unless only is nil, it has only
// the rows named there.
func newPanel(r result, only []string) chart.Panel {
	m := r.metrics[0]
	p := chart.Panel{Title: capital(r.title), Format: m.unit.format}
	p.Caption = fmt.Sprintf("%s; processors: %d", m.caption(), runtime.GOMAXPROCS(0))
	for _, row := range r.ranking() {
		if row.err != nil || row.name == noLockName || only != nil && !slices.Contains(only, row.name) {
			continue
		}
		values := row.values(0)
		if value := median(values); finite(value) && finite(slices.Max(values)) {
			p.Bars = append(p.Bars, chart.Bar{
				Name: row.name, Value: value, Least: slices.Min(values), Most: slices.Max(values), Ours: row.mine,
			})
		}
	}
	return p
}

// caption says what the bars show and which direction is better.
func (m metric) caption() string {
	switch m.unit {
	case perSecond:
		return m.name + " a second, more is better"
	case share:
		return m.name + ", more is better"
	case bytesKept:
		return m.name + ", less is better"
	}
	if m.name == "time" {
		return "time for each acquisition and release, less is better"
	}
	return m.name + ", less is better"
}

// overviewName is the name of the chart that summarises the others.
const overviewName = "overview"

// overview returns panels of the best-known locks in the most important scenarios.
func overview(results []result) []chart.Panel {
	var panels []chart.Panel
	for _, choice := range []struct {
		key  string
		rows []string
	}{
		{"hot", []string{ourLock, "sync.Mutex", "moby Locker", "containerd kmutex", "sync.Map + Mutex"}},
		{"new-parallel", []string{
			ourLock, "moby Locker", "containerd kmutex", "sync.Map + Mutex", "weak pointers",
		}},
		{"waits", []string{ourLock, "sync.Mutex", "moby Locker", "containerd kmutex", "sync.Map + Mutex"}},
		{"file-uncontended", []string{ourFile, "gofrs/flock", "lockedfile", "juju/mutex", "oslo.concurrency"}},
		{"file-handover", []string{ourFile, blocking, polling, "lockedfile"}},
	} {
		if i := slices.IndexFunc(results, func(r result) bool { return r.key == choice.key }); i >= 0 {
			panels = append(panels, newPanel(results[i], choice.rows))
		}
	}
	return panels
}
