package boottime_test

import (
	"testing"

	"github.com/lockutils/lockutils/driver/boottime"
)

func TestNowNeverGoesBack(t *testing.T) {
	for last := boottime.Now(); ; {
		now := boottime.Now()
		if now < last {
			t.Fatalf("%v after %v", now, last)
		}
		if now > last {
			return
		}
	}
}
