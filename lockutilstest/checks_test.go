package lockutilstest_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/lockutilstest"
)

// A pretender is a test that may fail.
type pretender struct {
	testing.TB
	cleanups []func()
	failures []string
}

func (p *pretender) Helper()          {}
func (p *pretender) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }
func (p *pretender) Errorf(format string, args ...any) {
	p.failures = append(p.failures, fmt.Sprintf(format, args...))
}

// failures runs a test and returns how it fails.
func failures(t *testing.T, test func(t testing.TB)) []string {
	p := &pretender{TB: t}
	test(p)
	for i := len(p.cleanups) - 1; i >= 0; i-- {
		p.cleanups[i]()
	}
	return p.failures
}

func TestNoneHeldFailsWithWhatIsLeft(t *testing.T) {
	before, err := lockutils.Lock("before")
	if err != nil {
		t.Fatal(err)
	}
	defer before.Unlock()
	var left lockutils.Guard
	found := failures(t, func(t testing.TB) {
		lockutilstest.NoneHeld(t)
		released, err := lockutils.Lock("released")
		if err != nil {
			t.Fatal(err)
		}
		_ = released.Unlock()
		left, err = lockutils.Lock("left", lockutils.WithPrefix("p"))
		if err != nil {
			t.Fatal(err)
		}
	})
	_ = left.Unlock()
	if len(found) != 1 || !strings.Contains(found[0], `"left" of "p"`) {
		t.Errorf("%q", found)
	}
	if found := failures(t, func(t testing.TB) { lockutilstest.NoneHeld(t) }); len(found) != 0 {
		t.Errorf("%q", found)
	}
}

func TestNoneHeldTellsOfWaitersAndFiles(t *testing.T) {
	lockutilstest.TempLockPath(t)
	before := lockutils.Snapshot()
	var held lockutils.Guard
	waited := make(chan error, 1)
	found := failures(t, func(t testing.TB) {
		lockutilstest.NoneHeld(t)
		var err error
		if held, err = lockutils.Lock("file", lockutils.External()); err != nil {
			t.Fatal(err)
		}
		go func() { waited <- wait("file") }()
		for queued := false; !queued; {
			for _, i := range lockutils.Snapshot() {
				queued = queued || i.Name == "file" && len(i.Waiters) == 1
			}
		}
	})
	_ = held.Unlock()
	if err := <-waited; err != nil {
		t.Error(err)
	}
	text := strings.Join(found, "\n")
	for _, want := range []string{
		`lock "file"`, "held by a writer", held.Path(), "waiting writer", "checks_test.go",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not tell of %s", text, want)
		}
	}
	if after := lockutils.Snapshot(); len(after) != len(before) {
		t.Errorf("%+v", after)
	}
}

// wait acquires the lock and releases it at once.
func wait(name string) error {
	g, err := lockutils.Lock(name)
	if err != nil {
		return err
	}
	return g.Unlock()
}

func TestNoneHeldGivesGoroutinesTimeToRelease(t *testing.T) {
	g, err := lockutils.Lock("soon free")
	if err != nil {
		t.Fatal(err)
	}
	found := failures(t, func(t testing.TB) {
		lockutilstest.NoneHeld(t)
		t.Cleanup(func() { go g.Unlock() })
		_ = g.Unlock()
		if g, err = lockutils.Lock("soon free", lockutils.WithPrefix("p")); err != nil {
			t.Fatal(err)
		}
	})
	if len(found) != 0 {
		t.Errorf("%q", found)
	}
}

func nested(t testing.TB, names []string, opts ...lockutils.Option) {
	run := func(context.Context) error { return nil }
	for i := len(names) - 1; i >= 0; i-- {
		inner := run
		run = func(ctx context.Context) error { return lockutils.Do(ctx, names[i], inner, opts...) }
	}
	if err := run(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestCheckOrderReportsBothOrders(t *testing.T) {
	byLetter := func(_, name string) string { return name[:1] }
	for name, test := range map[string]struct {
		classify func(scope, name string) string
		orders   [][]string
		opts     []lockutils.Option
		reports  int
	}{
		"one order":    {nil, [][]string{{"a", "b"}, {"a", "b", "c"}, {"b", "c"}}, nil, 0},
		"both orders":  {nil, [][]string{{"a", "b"}, {"b", "a"}, {"b", "a"}}, nil, 1},
		"over a third": {nil, [][]string{{"a", "b"}, {"b", "c"}, {"c", "a"}}, nil, 1},
		"ascending":    {byLetter, [][]string{{"a1", "a2"}, {"a2", "a3"}}, nil, 0},
		"descending":   {byLetter, [][]string{{"a1", "a2"}, {"a2", "a1"}}, nil, 1},
		"classes":      {byLetter, [][]string{{"a1", "b1"}, {"b2", "a2"}}, nil, 1},
		"readers only": {nil, [][]string{{"a", "b"}, {"b", "a"}}, []lockutils.Option{lockutils.Shared()}, 0},
		"not waiting":  {nil, [][]string{{"a", "b"}, {"b", "a"}}, []lockutils.Option{lockutils.NonBlocking()}, 0},
		"by prefix":    {nil, [][]string{{"a", "b"}}, []lockutils.Option{lockutils.WithPrefix("p")}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			found := failures(t, func(t testing.TB) {
				lockutilstest.CheckOrder(t, test.classify)
				for _, names := range test.orders {
					nested(t, names, test.opts...)
				}
			})
			if len(found) != test.reports {
				t.Errorf("%d reports: %q", len(found), found)
			}
			for _, f := range found {
				if !strings.Contains(f, "checks_test.go") {
					t.Errorf("%q does not say where", f)
				}
			}
		})
	}
}

// A writer on one side makes the readers wait for each other.
func TestCheckOrderTellsReadersFromWriters(t *testing.T) {
	found := failures(t, func(t testing.TB) {
		lockutilstest.CheckOrder(t, nil)
		nested(t, []string{"a", "b"}, lockutils.Shared())
		nested(t, []string{"b", "a"})
	})
	if len(found) != 1 {
		t.Errorf("%q", found)
	}
}

// The order of a class is that of names, whatever their prefixes.
func TestCheckOrderComparesNamesBeforePrefixes(t *testing.T) {
	one := func(string, string) string { return "one class" }
	for _, test := range []struct {
		first, second [2]string // prefix and name
		reports       int
	}{
		{[2]string{"p", "a"}, [2]string{"q", "b"}, 0},
		{[2]string{"q", "a"}, [2]string{"p", "b"}, 0},
		{[2]string{"p", "a"}, [2]string{"q", "a"}, 0},
		{[2]string{"q", "a"}, [2]string{"p", "a"}, 1},
		{[2]string{"p", "b"}, [2]string{"q", "a"}, 1},
	} {
		found := failures(t, func(t testing.TB) {
			lockutilstest.CheckOrder(t, one)
			err := lockutils.Do(t.Context(), test.first[1], func(ctx context.Context) error {
				return lockutils.Do(ctx, test.second[1], func(context.Context) error { return nil },
					lockutils.WithPrefix(test.second[0]))
			}, lockutils.WithPrefix(test.first[0]))
			if err != nil {
				t.Fatal(err)
			}
		})
		if len(found) != test.reports {
			t.Errorf("%v: %q", test, found)
		}
	}
}

func TestCheckOrderSeesContextsOfGuardsAndSets(t *testing.T) {
	found := failures(t, func(t testing.TB) {
		lockutilstest.CheckOrder(t, nil)
		g, err := lockutils.Lock("a")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := g.Context(t.Context())
		nothing := func(context.Context) error { return nil }
		if err := lockutils.DoAll(ctx, []string{"c", "b"}, nothing); err != nil {
			t.Fatal(err)
		}
		cancel()
		_ = g.Unlock()
		err = lockutils.DoAll(t.Context(), []string{"c", "b"}, func(ctx context.Context) error {
			return lockutils.Do(ctx, "a", nothing)
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	if len(found) == 0 {
		t.Error("both orders are not reported")
	}
}

func TestCheckOrderForgetsWhatHasBeenReleased(t *testing.T) {
	found := failures(t, func(t testing.TB) {
		lockutilstest.CheckOrder(t, nil)
		var kept context.Context
		err := lockutils.Do(t.Context(), "a", func(ctx context.Context) error { kept = ctx; return nil })
		if err != nil {
			t.Fatal(err)
		}
		if err := lockutils.Do(kept, "b", func(context.Context) error { return nil }); err != nil {
			t.Fatal(err)
		}
		nested(t, []string{"b", "a"})
	})
	if len(found) != 0 {
		t.Errorf("%q", found)
	}
}

func TestCheckOrderIsOverWithItsTest(t *testing.T) {
	found := failures(t, func(t testing.TB) {
		lockutilstest.CheckOrder(t, nil)
		nested(t, []string{"a", "b"})
	})
	nested(t, []string{"b", "a"})
	if len(found) != 0 {
		t.Errorf("%q", found)
	}
}

func TestCheckOrderTakesSetsAsOne(t *testing.T) {
	found := failures(t, func(t testing.TB) {
		lockutilstest.CheckOrder(t, nil)
		for _, names := range [][]string{{"a", "b"}, {"b", "a"}} {
			guards, err := lockutils.LockAll(t.Context(), names)
			if err != nil {
				t.Fatal(err)
			}
			_ = guards.Unlock()
		}
	})
	if len(found) != 0 {
		t.Errorf("%q", found)
	}
}

// A classifier that panics, or fails a test, leaves no lock held.
func TestCheckOrderReleasesTheLockIfClassifyPanics(t *testing.T) {
	lockutilstest.TempLockPath(t)
	for name, classify := range map[string]func(scope, name string) string{
		"panic":  func(string, string) string { panic("broken classifier") },
		"Goexit": func(string, string) string { runtime.Goexit(); return "" },
	} {
		before := len(lockutils.Snapshot())
		var container lockutils.ReaderWriterLocks
		found := failures(t, func(t testing.TB) {
			lockutilstest.CheckOrder(t, classify)
			for _, opts := range [][]lockutils.Option{nil, {lockutils.External()}, {lockutils.Shared()}} {
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					defer func() { _ = recover() }()
					_ = lockutils.Do(context.Background(), "outer", func(ctx context.Context) error {
						return lockutils.Do(ctx, "inner", func(context.Context) error {
							t.Errorf("the function runs")
							return nil
						}, opts...)
					})
					t.Errorf("Do returns")
				}()
				<-ended
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				defer func() { _ = recover() }()
				_ = lockutils.Do(context.Background(), "outer", container.Get("inner").LockContext)
				t.Errorf("LockContext returns")
			}()
			<-ended
		})
		for _, f := range found {
			t.Errorf("%s: %s", name, f)
		}
		if after := lockutils.Snapshot(); len(after) != before {
			t.Errorf("%s: still in use: %+v", name, after)
		}
	}
}
