package lockutilstest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

// A test of code that must release what it has acquired, also if it fails.
func ExampleNoneHeld() {
	testResizeReleasesItsLock := func(t *testing.T) {
		lockutilstest.TempLockPath(t)
		lockutilstest.NoneHeld(t)
		if err := resize("4711"); err != nil {
			t.Error(err)
		}
	}
	_ = testResizeReleasesItsLock // go test runs it, by the name TestResizeReleasesItsLock
}

// attach and detach are the code under test. Together they can deadlock.
func attach(ctx context.Context, instance, volume string) error {
	return lockutils.Do(ctx, "instance-"+instance, func(ctx context.Context) error {
		return lockutils.Do(ctx, "volume-"+volume, func(context.Context) error { return nil })
	})
}

func detach(ctx context.Context, instance, volume string) error {
	return lockutils.Do(ctx, "volume-"+volume, func(ctx context.Context) error {
		return lockutils.Do(ctx, "instance-"+instance, func(context.Context) error { return nil })
	})
}

// A test that fails since instances and volumes are locked in both orders, although nothing has hung, and
// not even one instance and volume were the same.
func ExampleCheckOrder() {
	testVolumes := func(t *testing.T) {
		lockutilstest.CheckOrder(t, func(_, name string) string {
			kind, _, _ := strings.Cut(name, "-")
			return kind
		})
		if err := attach(t.Context(), "1", "1"); err != nil {
			t.Error(err)
		}
		if err := detach(t.Context(), "2", "2"); err != nil {
			t.Error(err)
		}
	}
	_ = testVolumes // go test runs it, by the name TestVolumes
}
