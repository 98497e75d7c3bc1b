package lockutilstest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
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
					t.Errorf("LockPath %q, environment %q, want %q", lockutils.LockPath(),
						os.Getenv("OSLO_LOCK_PATH"), dir)
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
			t.Errorf("after %+v: LockPath %q, environment %q", before, lockutils.LockPath(),
				os.Getenv("OSLO_LOCK_PATH"))
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
			if _, err := lockutils.Lock("x", lockutils.WithTimeout(0), lockutils.WithPrefix(prefix(opts))); !errors.Is(
				err,
				context.DeadlineExceeded,
			) {
				t.Error("the lock should be taken:", err)
			}
		})
		g := lockutilstest.Hold(t, "x", lockutils.NonBlocking(), lockutils.External(),
			lockutils.WithPrefix(prefix(opts)))
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

// A stage is a test that may fail, and may have a deadline.
type stage struct {
	testing.TB
	limit time.Duration // from now; 0 means that there is no deadline
	fatal []any
}

func (s *stage) Deadline() (time.Time, bool) { return time.Now().Add(s.limit), s.limit > 0 }

func (s *stage) Fatal(args ...any) {
	s.fatal = args
	runtime.Goexit()
}

// wantHoldToFail has Hold fail on the stage, with this reason and a message that contains the text.
func wantHoldToFail(t *testing.T, s *stage, reason error, text string, opts ...lockutils.Option) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		lockutilstest.Hold(s, "x", opts...)
		t.Error("Hold has returned")
	}()
	<-done
	if len(s.fatal) != 1 {
		t.Fatalf("Fatal(%v)", s.fatal)
	}
	err, _ := s.fatal[0].(error)
	if !errors.Is(err, reason) || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want one that matches %q and says %q", err, reason, text)
	}
}

func TestHoldEndsTheTestIfTheLockCannotBeHad(t *testing.T) {
	lockutilstest.Hold(t, "x")
	wantHoldToFail(t, &stage{TB: t}, lockutils.ErrLocked, "inside this process", lockutils.NonBlocking())
	wantHoldToFail(t, &stage{TB: t}, lockutils.ErrOptions, "negative timeout", lockutils.WithTimeout(-1))
}

func TestHoldEndsTheTestByItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lockutilstest.Hold(t, "x")
		for limit, latest := range map[time.Duration]time.Duration{
			time.Second: 900 * time.Millisecond,
			time.Hour:   time.Hour - 10*time.Second,
		} {
			start := time.Now()
			wantHoldToFail(t, &stage{TB: t, limit: limit}, context.DeadlineExceeded,
				"the test is near its deadline")
			if took := time.Since(start); took != latest {
				t.Errorf("with %v left it took %v", limit, took)
			}
		}
	})
}

func TestHoldSaysWhichProcessHoldsTheLock(t *testing.T) {
	lockutilstest.TempLockPath(t)
	lockutilstest.Hold(t, "x", lockutils.External())
	text := fmt.Sprintf("process %d", os.Getpid())
	if _, err := lockutils.Holders("x"); errors.Is(err, errors.ErrUnsupported) {
		text = "inside this process"
	}
	wantHoldToFail(t, &stage{TB: t}, lockutils.ErrLocked, text, lockutils.External(),
		lockutils.NonBlocking())
}

func TestHoldSaysWhichGoroutineHoldsTheLockWithoutItsFile(t *testing.T) {
	lockutilstest.TempLockPath(t)
	lockutils.SetTracking(1)
	defer lockutils.SetTracking(0)
	lockutilstest.Hold(t, "x")
	wantHoldToFail(t, &stage{TB: t}, lockutils.ErrLocked, "a goroutine of this process",
		lockutils.External(), lockutils.NonBlocking())
}
