package redislock

import (
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
)

func TestAnswerToAWithdrawalKeepsALaterOne(t *testing.T) {
	s := newService(config{ttl: time.Hour}, "")
	q := s.newRequest(driver.Request{Name: "a"})
	s.leases.withdraw(q, false)
	first, _ := s.leases.due(true)
	s.leases.withdraw(q, false) // what the server has granted after the first withdrawal
	s.leases.withdrawn(first[0], 0, nil)
	if later, _ := s.leases.due(true); len(later) != 1 {
		t.Errorf("%d withdrawals are left, want 1", len(later))
	}
}
