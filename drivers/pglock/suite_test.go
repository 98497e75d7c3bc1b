//go:build unix

package pglock

import (
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/drivertest"
)

func TestSuite(t *testing.T) {
	s := server(t)
	drivertest.TestService(t, func(t *testing.T) driver.Service {
		proxy := drivertest.NewProxy()
		config := parse(s.URL())
		config.DialFunc = proxy.Dial
		const ttl = 2 * time.Second
		service, err := Dial(t.Context(), config, WithTTL(ttl), WithNamespace(t.Name()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { service.Close(); proxy.Close() })
		return drivertest.Process{Service: service, Link: proxy, TTL: ttl}
	})
}
