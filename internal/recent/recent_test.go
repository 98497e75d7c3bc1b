package recent_test

import (
	"fmt"
	"testing"

	"github.com/lockutils/lockutils/internal/recent"
)

func TestOnlyTheLatestDeadlocksAreKept(t *testing.T) {
	const n = 50
	for i := range n {
		recent.AddDeadlock(fmt.Errorf("%d", i))
	}
	found := recent.Deadlocks()
	if len(found) == 0 || len(found) >= n {
		t.Fatalf("%d deadlocks are kept", len(found))
	}
	for i, d := range found {
		if want := fmt.Sprint(n - 1 - i); d.Err.Error() != want || d.At.IsZero() {
			t.Errorf("number %d is %v at %v, want %s", i, d.Err, d.At, want)
		}
	}
}
