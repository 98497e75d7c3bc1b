package lockutilstest_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/lockutilstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTempLockPathIsInForceForOneTest(t *testing.T) {
	for _, before := range []struct{ environment, defaults string }{
		{"", ""},
		{"/environment", ""},
		{"", "/defaults"},
		{"/environment", "/defaults"},
		{"/same", "/same"},
		{"relative", ""},
	} {
		t.Setenv("OSLO_LOCK_PATH", before.environment)
		lockutils.SetDefaults(before.defaults)
		was := lockutils.LockPath()
		var outer, inner string
		t.Run("outer", func(t *testing.T) {
			outer = lockutilstest.TempLockPath(t)
			inForce := func(dir string) {
				t.Helper()
				if lockutils.LockPath() != dir || os.Getenv("OSLO_LOCK_PATH") != dir {
					t.Errorf("LockPath %q, environment %q, want %q", lockutils.LockPath(), os.Getenv("OSLO_LOCK_PATH"), dir)
				}
			}
			inForce(outer)
			if _, err := os.Stat(outer); err != nil {
				t.Error(err)
			}
			t.Run("inner", func(t *testing.T) {
				inner = lockutilstest.TempLockPath(t)
				inForce(inner)
			})
			inForce(outer)
			lockutilstest.Hold(t, "x", lockutils.External())
		})
		if lockutils.LockPath() != was || os.Getenv("OSLO_LOCK_PATH") != before.environment {
			t.Errorf("after %+v: LockPath %q, environment %q", before, lockutils.LockPath(), os.Getenv("OSLO_LOCK_PATH"))
		}
		for _, dir := range []string{outer, inner} {
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("%q is left", dir)
			}
		}
		if outer == inner {
			t.Error("two tests have shared a lock path")
		}
	}
	lockutils.SetDefaults("")
}

func TestTempLockPathRefusesParallelTests(t *testing.T) {
	t.Run("parallel", func(t *testing.T) {
		t.Parallel()
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		lockutilstest.TempLockPath(t)
	})
}

func TestHoldHoldsTheLockUntilTheTestEnds(t *testing.T) {
	lockutilstest.TempLockPath(t)
	for _, opts := range [][]lockutils.Option{
		nil,
		{lockutils.External()},
		{lockutils.Shared()},
		{lockutils.WithTimeout(time.Second)},
		{lockutils.NonBlocking(), lockutils.WithPrefix("p")},
	} {
		t.Run("holder", func(t *testing.T) {
			g := lockutilstest.Hold(t, "x", opts...)
			if g.Name() != "x" {
				t.Errorf("name %q", g.Name())
			}
			if _, err := lockutils.Lock("x", lockutils.WithTimeout(0), lockutils.WithPrefix(prefix(opts))); !errors.Is(err, context.DeadlineExceeded) {
				t.Error("the lock should be taken:", err)
			}
		})
		g := lockutilstest.Hold(t, "x", lockutils.NonBlocking(), lockutils.External(), lockutils.WithPrefix(prefix(opts)))
		if err := g.Unlock(); err != nil { // which a test may do before its end
			t.Error(err)
		}
	}
}

// prefix returns the prefix that the last of the cases has.
func prefix(opts []lockutils.Option) string {
	if len(opts) == 2 {
		return "p"
	}
	return ""
}

// A stage is a test that may fail.
type stage struct {
	testing.TB
	fatal []any
}

func (s *stage) Fatal(args ...any) {
	s.fatal = args
	runtime.Goexit()
}

func TestHoldEndsTheTestIfTheLockCannotBeHad(t *testing.T) {
	lockutilstest.Hold(t, "x")
	s := &stage{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		lockutilstest.Hold(s, "x", lockutils.NonBlocking())
		t.Error("Hold has returned")
	}()
	<-done
	if len(s.fatal) != 1 || !errors.Is(s.fatal[0].(error), lockutils.ErrLocked) {
		t.Errorf("Fatal(%v)", s.fatal)
	}
}
