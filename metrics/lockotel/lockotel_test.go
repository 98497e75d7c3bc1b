package lockotel_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/metrics/lockotel"
)

// collect returns what a reader of the SDK gets, by metric.
func collect(t *testing.T) map[string]metricdata.Metrics {
	t.Helper()
	reader := metric.NewManualReader(metric.WithProducer(lockotel.NewProducer()))
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	defer provider.Shutdown(context.Background())
	var found metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &found); err != nil {
		t.Fatal(err)
	}
	metrics := make(map[string]metricdata.Metrics)
	for _, scope := range found.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Description == "" || m.Unit == "" {
				t.Errorf("%s lacks a description or a unit", m.Name)
			}
			metrics[m.Name] = m
		}
	}
	return metrics
}

// isWriter reports whether the attributes are those of writers of the class in the process.
func isWriter(attributes attribute.Set, class string) bool {
	return attributes.Equals(ptr(attribute.NewSet(attribute.String("lockutils.lock.class", class),
		attribute.String("lockutils.lock.mode", "writer"), attribute.String("lockutils.lock.layer", "process"))))
}

func ptr(s attribute.Set) *attribute.Set { return &s }

func sum(t *testing.T, m metricdata.Metrics, class string) int64 {
	t.Helper()
	for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
		if isWriter(p.Attributes, class) {
			if !p.StartTime.Before(p.Time) {
				t.Errorf("%s counts from %v to %v", m.Name, p.StartTime, p.Time)
			}
			return p.Value
		}
	}
	t.Errorf("%s has no point of class %s", m.Name, class)
	return 0
}

var runs atomic.Int64

func TestWaitsAreCounted(t *testing.T) {
	class := fmt.Sprintf("counted-%d", runs.Add(1)) // figures count for as long as the program runs
	g, err := lockutils.Lock("x", lockutils.WithPrefix(class))
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	_, err = lockutils.Lock("x", lockutils.WithPrefix(class), lockutils.WithTimeout(time.Millisecond))
	if err == nil {
		t.Error("the lock is free")
	}
	longest := time.Since(begun).Seconds()
	g.Unlock()
	metrics := collect(t)
	for name, want := range map[string]int64{
		"contentions": 1, "timeouts": 1, "cancellations": 0, "deadlocks": 0, "losses": 0, "pending_requests": 0,
	} {
		if got := sum(t, metrics["lockutils.lock."+name], class); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	for _, name := range []string{"wait_time", "use_time"} {
		m := metrics["lockutils.lock."+name]
		if m.Unit != "s" {
			t.Errorf("%s is in %q", name, m.Unit)
		}
		for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
			if len(p.BucketCounts) != len(p.Bounds)+1 {
				t.Errorf("%s has %d bounds and %d counts", name, len(p.Bounds), len(p.BucketCounts))
			}
			if name != "wait_time" || !isWriter(p.Attributes, class) {
				continue
			}
			if p.Count != 1 || p.Sum <= 0 || p.Sum > longest {
				t.Errorf("%d waits of %v s, want one of at most %v s", p.Count, p.Sum, longest)
			}
		}
	}
}
