package redislock_test

import (
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/drivertest"
	"github.com/lockutils/lockutils/drivers/redislock"
	"github.com/lockutils/lockutils/drivers/redislock/redistest"
)

const suiteTTL = 4 * time.Second

func TestServicePassesTheSuite(t *testing.T) {
	server := redistest.Start(t)
	drivertest.TestService(t, func(t *testing.T) driver.Service {
		link := drivertest.NewProxy()
		t.Cleanup(func() { link.Close() })
		addr, err := link.Addr(server.Addr)
		if err != nil {
			t.Fatal(err)
		}
		return drivertest.Process{
			Service: dial(t, at(addr), redislock.WithTTL(suiteTTL)), Link: link, TTL: suiteTTL,
		}
	})
}
