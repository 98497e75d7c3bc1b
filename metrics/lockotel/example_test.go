package lockotel_test

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/metrics/lockotel"
)

// In main: the figures are exported together with those of the program.
func Example() {
	start := func(exporter metric.Exporter) *metric.MeterProvider {
		reader := metric.NewPeriodicReader(exporter, metric.WithProducer(lockotel.NewProducer()))
		provider := metric.NewMeterProvider(metric.WithReader(reader))
		otel.SetMeterProvider(provider)
		return provider
	}
	_ = start
}

func ExampleNewProducer() {
	reader := metric.NewManualReader(metric.WithProducer(lockotel.NewProducer()))
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	defer provider.Shutdown(context.Background())

	busy, _ := lockutils.Lock("instance-4711", lockutils.WithPrefix("nova"))
	_, _ = lockutils.Lock("instance-4711", lockutils.WithPrefix("nova"), lockutils.WithTimeout(time.Millisecond))
	_ = busy.Unlock()
	var figures metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &figures); err != nil {
		fmt.Println(err)
		return
	}
	for _, scope := range figures.ScopeMetrics {
		for _, m := range scope.Metrics {
			fmt.Println(m.Name)
		}
	}
	// Output:
	// lockutils.lock.contentions
	// lockutils.lock.timeouts
	// lockutils.lock.cancellations
	// lockutils.lock.deadlocks
	// lockutils.lock.losses
	// lockutils.lock.pending_requests
	// lockutils.lock.wait_time
	// lockutils.lock.use_time
}
