package filelock

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPollIntervalsGrowToTheirLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const first, limit = time.Millisecond, 10 * time.Millisecond
		last := time.Now()
		longest := first
		tries := 0
		err := poll(first, limit, nil, func() (bool, error) {
			interval := time.Since(last)
			last = time.Now()
			if tries == 0 && interval != 0 {
				t.Errorf("the first try came after %v", interval)
			}
			if tries > 0 && (interval < longest/2 || interval > longest) {
				t.Errorf("try %d came after %v instead of at most %v", tries, interval, longest)
			}
			if tries > 0 {
				longest = min(2*longest, limit)
			}
			tries++
			return tries == 10, nil
		})
		if err != nil || tries != 10 {
			t.Errorf("%d tries, %v", tries, err)
		}
	})
}

func TestPollEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		time.AfterFunc(time.Minute, func() { close(stop) })
		start := time.Now()
		never := func() (bool, error) { return false, nil }
		err := poll(time.Millisecond, time.Hour, stop, never)
		if err != errStopped || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		failure := errors.New("failure")
		fail := func() (bool, error) { return false, failure }
		if err := poll(time.Millisecond, time.Hour, nil, fail); err != failure {
			t.Error(err)
		}
	})
}
