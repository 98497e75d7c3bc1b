package lockprom_test

import (
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/metrics/lockprom"
)

// In main: the figures are served together with those of the program.
func Example() {
	prometheus.MustRegister(lockprom.NewCollector())
	http.Handle("/metrics", promhttp.Handler())
}

func ExampleNewCollector() {
	registry := prometheus.NewRegistry()
	registry.MustRegister(lockprom.NewCollector())

	busy, _ := lockutils.Lock("instance-4711", lockutils.WithPrefix("nova"))
	_, _ = lockutils.Lock("instance-4711", lockutils.WithPrefix("nova"), lockutils.WithTimeout(time.Millisecond))
	_ = busy.Unlock()
	metrics, err := registry.Gather()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range metrics {
		fmt.Println(m.GetName())
	}
	// Output:
	// lockutils_cancellations_total
	// lockutils_contended_hold_seconds
	// lockutils_contentions_total
	// lockutils_deadlocks_total
	// lockutils_lost_total
	// lockutils_timeouts_total
	// lockutils_wait_seconds
	// lockutils_waiting
}
