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

func TestSuite(t *testing.T) {
	drivertest.TestService(t, opener(redistest.Start(t)))
}

func TestFlawsAreCaught(t *testing.T) {
	drivertest.TestFlaws(t, opener(redistest.Start(t)))
}

// opener returns what opens a Service whose way to the server the suite can disturb.
func opener(server *redistest.Server) func(t *testing.T) driver.Service {
	return func(t *testing.T) driver.Service {
		link, addr := linkTo(t, server)
		return drivertest.Process{
			Service: dial(t, at(addr), redislock.WithTTL(suiteTTL)), Link: link, TTL: suiteTTL,
		}
	}
}
