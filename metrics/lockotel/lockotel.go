// Package lockotel offers the figures of package lockutils to OpenTelemetry.
//
// They are counted by lockutils itself, histograms included, so they come through a producer for a
// reader of the metrics SDK, and not through instruments of a meter:
//
//	reader := metric.NewPeriodicReader(exporter, metric.WithProducer(lockotel.NewProducer()))
//	provider := metric.NewMeterProvider(metric.WithReader(reader))
//
// The metrics count since the program began. Their names follow db.client.connection.* of the
// semantic conventions:
//
//	lockutils.lock.contentions       {request}  counter: requests that had to wait
//	lockutils.lock.timeouts          {request}  counter: those of them that a deadline ended
//	lockutils.lock.cancellations     {request}  counter: those of them that a context ended otherwise
//	lockutils.lock.deadlocks         {request}  counter: those of them that ended as a deadlock
//	lockutils.lock.losses            {lock}     counter: holds at a lock service that were lost
//	lockutils.lock.pending_requests  {request}  up-down counter: requests that wait now
//	lockutils.lock.wait_time         s          histogram: how long requests waited
//	lockutils.lock.use_time          s          histogram: how long holders were waited for
//
// Their attributes are lockutils.lock.class, lockutils.lock.mode ("reader" or "writer") and
// lockutils.lock.layer ("process", "file" or "service"). The names of locks are not attributes.
// [lockutils.SetClassifier] chooses the classes, of which there are at most 201.
package lockotel

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/lockutils/lockutils"
)

const scope = "github.com/lockutils/lockutils/metrics/lockotel"

// NewProducer returns a producer of the figures of this program. Temporality is cumulative. Several
// readers may have one each.
func NewProducer() metric.Producer { return producer{} }

type producer struct{}

// began is when the figures began to count: as soon as the program had them.
var began = time.Now()

// sums are the metrics of one value.
var sums = []struct {
	name, description, unit string
	monotonic               bool
	value                   func(*lockutils.LockStats) int64
}{
	{
		"contentions", "Requests for locks that had to wait.", "{request}", true,
		func(s *lockutils.LockStats) int64 { return int64(s.Contentions) },
	}, {
		"timeouts", "Waits for locks that a deadline ended.", "{request}", true,
		func(s *lockutils.LockStats) int64 { return int64(s.Timeouts) },
	}, {
		"cancellations", "Waits for locks that a cancelled context ended.", "{request}", true,
		func(s *lockutils.LockStats) int64 { return int64(s.Cancellations) },
	}, {
		"deadlocks", "Waits for locks that ended as a deadlock.", "{request}", true,
		func(s *lockutils.LockStats) int64 { return int64(s.Deadlocks) },
	}, {
		"losses", "Locks that were lost before they were released.", "{lock}", true,
		func(s *lockutils.LockStats) int64 { return int64(s.Lost) },
	}, {
		"pending_requests", "Requests for locks that wait now.", "{request}", false,
		func(s *lockutils.LockStats) int64 { return s.Waiting },
	},
}

// histograms are the metrics that are histograms.
var histograms = []struct {
	name, description string
	value             func(*lockutils.LockStats) lockutils.Histogram
}{
	{
		"wait_time", "How long requests for locks waited.",
		func(s *lockutils.LockStats) lockutils.Histogram { return s.Wait },
	}, {
		"use_time", "How long holders of locks were waited for.",
		func(s *lockutils.LockStats) lockutils.Histogram { return s.ContendedHold },
	},
}

// Produce implements metric.Producer.
func (producer) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	var stats lockutils.Stats
	lockutils.ReadStats(&stats)
	now := time.Now()
	var metrics []metricdata.Metrics
	for _, m := range sums {
		var points []metricdata.DataPoint[int64]
		for i := range stats.Locks {
			s := &stats.Locks[i]
			points = append(points, metricdata.DataPoint[int64]{
				Attributes: attributes(s), StartTime: began, Time: now, Value: m.value(s),
			})
		}
		metrics = append(metrics, metricdata.Metrics{
			Name: prefix + m.name, Description: m.description, Unit: m.unit,
			Data: metricdata.Sum[int64]{
				DataPoints: points, Temporality: metricdata.CumulativeTemporality, IsMonotonic: m.monotonic,
			},
		})
	}
	for _, m := range histograms {
		var points []metricdata.HistogramDataPoint[float64]
		for i := range stats.Locks {
			points = append(points, point(&stats.Locks[i], m.value(&stats.Locks[i]), now))
		}
		metrics = append(metrics, metricdata.Metrics{
			Name: prefix + m.name, Description: m.description, Unit: "s",
			Data: metricdata.Histogram[float64]{
				DataPoints: points, Temporality: metricdata.CumulativeTemporality,
			},
		})
	}
	return []metricdata.ScopeMetrics{{Scope: instrumentation.Scope{Name: scope}, Metrics: metrics}}, nil
}

const prefix = "lockutils.lock."

func attributes(s *lockutils.LockStats) attribute.Set {
	return attribute.NewSet(attribute.String(prefix+"class", s.Class),
		attribute.String(prefix+"mode", s.Mode.String()), attribute.String(prefix+"layer", s.Layer.String()))
}

func point(
	s *lockutils.LockStats, h lockutils.Histogram, now time.Time,
) metricdata.HistogramDataPoint[float64] {
	var count uint64
	for _, n := range h.Counts {
		count += n
	}
	return metricdata.HistogramDataPoint[float64]{
		Attributes: attributes(s), StartTime: began, Time: now,
		Count: count, Sum: h.Sum, Bounds: h.Bounds, BucketCounts: h.Counts,
	}
}
