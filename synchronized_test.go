package lockutils_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lockutils/lockutils"
)

var errFromFn = errors.New("from fn")

type (
	task    func() error
	handler func(ctx context.Context, request string) (reply string, err error)
	ownCtx  interface{ context.Context }
	ownErr  interface{ error }
)

type counter struct{ n int }

func (c *counter) add(n int) int { c.n += n; return c.n }

func pair[A, B any](a A, b B) (A, B) { return a, b }

// Each shape is called once while the lock is free.
func TestSynchronizedKeepsTheMeaningOfAFunction(t *testing.T) {
	inside := func() { t.Helper(); wantTaken(t, "x") }
	check := func(got, want any) {
		t.Helper()
		wantFree(t, "x")
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}

	called := false
	lockutils.Synchronized("x", func() { inside(); called = true })()
	check(called, true)

	check(lockutils.Synchronized("x", func() error { inside(); return errFromFn })(), errFromFn)
	check(lockutils.Synchronized("x", func() error { inside(); return nil })(), nil)
	check(lockutils.Synchronized("x", task(func() error { inside(); return errFromFn }))(), errFromFn)

	check(lockutils.Synchronized("x", func(ctx context.Context) error {
		inside()
		check := lockutils.HeldLocks(ctx)
		return errors.New(strings.Join(check, ","))
	})(t.Context()).Error(), "x")

	reply, err := lockutils.Synchronized("x", handler(func(ctx context.Context, request string) (string, error) {
		inside()
		return request + strings.Join(lockutils.HeldLocks(ctx), ","), errFromFn
	}))(t.Context(), "held: ")
	check(reply, "held: x")
	check(err, errFromFn)

	check(lockutils.Synchronized("x", func(words ...string) int { inside(); return len(words) })("a",
		"b", "c"), 3)
	check(lockutils.Synchronized("x", func(words ...string) int { inside(); return len(words) })(), 0)
	check(lockutils.Synchronized("x", fmt.Sprintf)("%s-%d", "a", 1), "a-1")

	a, b, c, err := lockutils.Synchronized("x",
		func(n int) (int, string, []byte, error) { inside(); return n, "b", nil, nil })(1)
	check([]any{a, b, c, err}, []any{1, "b", []byte(nil), error(nil)})

	count := &counter{1}
	check(lockutils.Synchronized("x", count.add)(2), 3)
	check(lockutils.Synchronized("x", (*counter).add)(count, 2), 5)

	n, s := lockutils.Synchronized("x", pair[int, string])(1, "s")
	check([]any{n, s}, []any{1, "s"})

	var anything any = func() error { inside(); return errFromFn }
	check(lockutils.Synchronized("x", anything).(func() error)(), errFromFn)
	anything = func(n int) int { inside(); return n }
	check(lockutils.Synchronized("x", anything).(func(int) int)(4), 4)

	// Interfaces of one's own are neither a context nor an error to Synchronized, but arrive.
	own := lockutils.Synchronized("x", func(ctx ownCtx) ownErr { inside(); return ownErr(errFromFn) })
	check(own(nil), errFromFn)
	check(lockutils.Synchronized("x", func(n int,
		ctx context.Context) bool {
		inside()
		return ctx == nil
	})(1, nil), true)
}

func TestSynchronizedSaysThatTheLockCannotBeHad(t *testing.T) {
	opts := []lockutils.Option{lockutils.NonBlocking()}
	mustLock(t, "x")
	never := func() { t.Error("fn has run") }
	want := func(err error) {
		t.Helper()
		wantAcquireError(t, err, "x", "", lockutils.ErrLocked)
	}
	want(lockutils.Synchronized("x", func() error { never(); return nil }, opts...)())
	want(lockutils.Synchronized("x", task(func() error { never(); return nil }), opts...)())
	want(lockutils.Synchronized("x", func(context.Context) error { never(); return nil }, opts...)(t.Context()))
	n, s, err := lockutils.Synchronized("x", func(int) (int, *string, error) {
		never()
		return 0, nil,
			nil
	}, opts...)(1)
	want(err)
	if n != 0 || s != nil {
		t.Errorf("results %v, %v", n, s)
	}

	for name, call := range map[string]func(){
		"func()":        func() { lockutils.Synchronized("x", never, opts...)() },
		"func(int) int": func() { lockutils.Synchronized("x", func(int) int { never(); return 0 }, opts...)(1) },
		"func() (error, int)": func() {
			lockutils.Synchronized("x",
				//lint:ignore ST1008 an error that is not the last result is what is tested
				func() (error, int) { never(); return nil, 0 }, opts...)()
		},
		"func() *AcquireError": func() {
			lockutils.Synchronized("x",
				func() *lockutils.AcquireError { never(); return nil }, opts...)()
		},
		"func(context.Context)": func() {
			lockutils.Synchronized("x", func(context.Context) { never() },
				opts...)(t.Context())
		},
	} {
		func() {
			defer func() {
				err, ok := recover().(*lockutils.AcquireError)
				if !ok {
					t.Errorf("%s: the panic is no *AcquireError", name)
					return
				}
				want(err)
			}()
			call()
		}()
	}
}

func TestSynchronizedPanicsWhenItWrapsWhatCannotBeCalled(t *testing.T) {
	for name, wrap := range map[string]func(){
		"int":            func() { lockutils.Synchronized("x", 1) },
		"struct":         func() { lockutils.Synchronized("x", counter{}) },
		"nil any":        func() { lockutils.Synchronized[any]("x", nil) },
		"nil func":       func() { lockutils.Synchronized[func()]("x", nil) },
		"nil named func": func() { lockutils.Synchronized[handler]("x", nil) },
		"with a prefix":  func() { lockutils.SynchronizedWithPrefix("p")("x", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			wrap()
		})
	}
}

func TestSynchronizedRefusesANilContext(t *testing.T) {
	var none context.Context
	err := lockutils.Synchronized("x", func(context.Context) error { t.Error("fn has run"); return nil })(none)
	wantError(t, err, lockutils.ErrOptions)
	_, err = lockutils.Synchronized("x", func(context.Context) (int,
		error) {
		t.Error("fn has run")
		return 0, nil
	})(none)
	wantError(t, err, lockutils.ErrOptions)
}

func TestSynchronizedFunctionsExcludeEachOther(t *testing.T) {
	var trace []int // guarded by the lock
	first := lockutils.Synchronized("x", func(id int) {
		for range 10 {
			trace = append(trace, id)
		}
	})
	second := lockutils.Synchronized("x", func(id int) error {
		first := id + 100
		trace = append(trace,
			first, first)
		return nil
	})
	var all sync.WaitGroup
	for id := range 20 {
		all.Go(func() { first(id) })
		all.Go(func() { _ = second(id) })
	}
	all.Wait()
	if len(trace) != 240 {
		t.Fatalf("%d steps", len(trace))
	}
	if steps := len(slices.Compact(trace)); steps != 40 {
		t.Errorf("%d runs of equal steps for 40 calls", steps)
	}
}

// The wrapped function is not bound to what was in force when it was made.
func TestSynchronizedTakesTheLockPathOfTheCall(t *testing.T) {
	f := lockutils.Synchronized("x", func() error { return nil }, lockutils.External())
	wantAcquireError(t, f(), "x", "", lockutils.ErrLockPath)
	setLockPath(t)
	if err := f(); err != nil {
		t.Error(err)
	}
}
