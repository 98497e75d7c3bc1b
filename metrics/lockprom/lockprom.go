// Package lockprom offers the figures of package lockutils to Prometheus.
//
//	prometheus.MustRegister(lockprom.NewCollector())
//
// The metrics count since the program began, for each class of locks, mode ("reader" or "writer")
// and layer ("process", "file" or "service"):
//
//	lockutils_contentions_total       requests that had to wait
//	lockutils_timeouts_total          those of them that a deadline ended
//	lockutils_cancellations_total     those of them that a context ended otherwise
//	lockutils_deadlocks_total         those of them that ended as a deadlock
//	lockutils_lost_total              holds at a lock service that were lost
//	lockutils_waiting                 requests that wait now
//	lockutils_wait_seconds            histogram of how long requests waited
//	lockutils_contended_hold_seconds  histogram of how long holders were waited for
//
// The names of locks are not labels. [lockutils.SetClassifier] chooses the classes, of which
// there are at most 201.
package lockprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lockutils/lockutils"
)

// NewCollector returns a collector of the figures of this program. One is enough for a registry;
// a second one collides with it. A scrape reads the figures once, and costs programs that lock
// nothing.
func NewCollector() prometheus.Collector { return collector{} }

type collector struct{}

var labels = []string{"class", "mode", "layer"}

func describe(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("lockutils_"+name, help, labels, nil)
}

// simple are the metrics of one value.
var simple = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*lockutils.LockStats) float64
}{
	{
		describe("contentions_total", "Requests for locks that had to wait."), prometheus.CounterValue,
		func(s *lockutils.LockStats) float64 { return float64(s.Contentions) },
	}, {
		describe("timeouts_total", "Waits for locks that a deadline ended."), prometheus.CounterValue,
		func(s *lockutils.LockStats) float64 { return float64(s.Timeouts) },
	}, {
		describe("cancellations_total", "Waits for locks that a cancelled context ended."), prometheus.CounterValue,
		func(s *lockutils.LockStats) float64 { return float64(s.Cancellations) },
	}, {
		describe("deadlocks_total", "Waits for locks that ended as a deadlock."), prometheus.CounterValue,
		func(s *lockutils.LockStats) float64 { return float64(s.Deadlocks) },
	}, {
		describe("lost_total", "Locks that were lost before they were released."), prometheus.CounterValue,
		func(s *lockutils.LockStats) float64 { return float64(s.Lost) },
	}, {
		describe("waiting", "Requests for locks that wait now."), prometheus.GaugeValue,
		func(s *lockutils.LockStats) float64 { return float64(s.Waiting) },
	},
}

// histograms are the metrics that are histograms.
var histograms = []struct {
	desc  *prometheus.Desc
	value func(*lockutils.LockStats) lockutils.Histogram
}{
	{
		describe("wait_seconds", "How long requests for locks waited."),
		func(s *lockutils.LockStats) lockutils.Histogram { return s.Wait },
	}, {
		describe("contended_hold_seconds", "How long holders of locks were waited for."),
		func(s *lockutils.LockStats) lockutils.Histogram { return s.ContendedHold },
	},
}

// Describe implements prometheus.Collector.
func (collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range simple {
		to <- m.desc
	}
	for _, m := range histograms {
		to <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (collector) Collect(to chan<- prometheus.Metric) {
	var stats lockutils.Stats
	lockutils.ReadStats(&stats)
	for i := range stats.Locks {
		s := &stats.Locks[i]
		values := []string{s.Class, s.Mode.String(), s.Layer.String()}
		for _, m := range simple {
			to <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s), values...)
		}
		for _, m := range histograms {
			to <- constHistogram(m.desc, m.value(s), values)
		}
	}
}

// constHistogram makes the counts cumulative, as Prometheus has them.
func constHistogram(desc *prometheus.Desc, h lockutils.Histogram, values []string) prometheus.Metric {
	var total uint64
	buckets := make(map[float64]uint64, len(h.Bounds))
	for i, n := range h.Counts {
		total += n
		if i < len(h.Bounds) {
			buckets[h.Bounds[i]] = total
		}
	}
	return prometheus.MustNewConstHistogram(desc, total, h.Sum, buckets, values...)
}
