package driver_test

import (
	"sync"
	"testing"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/drivertest"
)

func TestCapabilityNamesWhatItHas(t *testing.T) {
	for c, want := range map[driver.Capability]string{
		0:                             "none",
		driver.Shared:                 "Shared",
		driver.Shared | driver.Fenced: "Shared|Fenced",
		driver.Fair | driver.SurvivesPause | driver.Linearizable: "Fair|SurvivesPause|Linearizable",
	} {
		if got := c.String(); got != want {
			t.Errorf("%d is %q, want %q", uint(c), got, want)
		}
		if !c.Has(0) || !c.Has(c) || c.Has(c|1<<9) {
			t.Errorf("%v has the wrong members", c)
		}
	}
}

func TestTheServiceOfTheExamplePassesTheSuite(t *testing.T) {
	service := local{new(sync.Map)}
	drivertest.TestService(t, func(*testing.T) driver.Service { return service })
}
