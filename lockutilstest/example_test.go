package lockutilstest_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/lockutilstest"
)

// resize is the code under test.
func resize(instance string) error {
	guard, err := lockutils.TryLock("instance-"+instance, lockutils.External())
	if errors.Is(err, lockutils.ErrLocked) {
		return fmt.Errorf("instance %s is busy", instance)
	}
	if err != nil {
		return err
	}
	return guard.Unlock()
}

// A test with a lock path of its own, which needs no cleanup.
func ExampleTempLockPath() {
	testResize := func(t *testing.T) {
		lockutilstest.TempLockPath(t)
		if err := resize("4711"); err != nil {
			t.Error(err)
		}
	}
	_ = testResize // go test runs it, by the name TestResize
}

// A test of code that finds the lock held.
func ExampleHold() {
	testResizeOfABusyInstance := func(t *testing.T) {
		lockutilstest.TempLockPath(t)
		lockutilstest.Hold(t, "instance-4711", lockutils.External())
		if err := resize("4711"); err == nil {
			t.Error("the instance should be busy")
		}
	}
	_ = testResizeOfABusyInstance // go test runs it, by the name TestResizeOfABusyInstance
}
