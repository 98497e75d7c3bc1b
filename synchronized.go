package lockutils

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
)

// Synchronized returns a function of fn's type that runs fn with the named lock held. It panics if
// fn is nil or not a function.
//
//   - If fn's first parameter is a [context.Context], the wait ends with it, and fn gets the
//     context that [Do] would give it.
//   - If fn's last result is an error, the [*AcquireError] of a lock that could not be acquired is
//     returned there. The other results are zero.
//   - If fn has no such result, the function panics with the AcquireError.
//
// The lock is released when fn returns, panics or ends its goroutine with [runtime.Goexit]. If a
// lock at a service is lost, a nil error of fn becomes [ErrLost]. A function without an error
// result logs a warning instead.
//
// Log messages name fn in the attribute "by". Functions of the types func(), func() error and
// func(context.Context) error are called without reflection. Others cost a few hundred nanoseconds
// more.
func Synchronized[F any](name string, fn F, opts ...Option) F {
	return synchronized(name, fn, keepOptions(opts))
}

func synchronized[F any](name string, fn F, opts *keptOptions) F {
	v := reflect.ValueOf(fn)
	if v.Kind() != reflect.Func || v.IsNil() {
		panic(fmt.Sprintf("lockutils: Synchronized(%q): %T is not a function to call", name, fn))
	}
	w := wrapper{name: name, by: runtime.FuncForPC(v.Pointer()).Name(), options: opts}
	switch f := any(fn).(type) {
	case func():
		return any(func() { w.call(f) }).(F)
	case func() error:
		return any(func() error { return w.callError(f) }).(F)
	case func(context.Context) error:
		return any(func(ctx context.Context) error { return doAs(ctx, w.name, w.by, f, w.options.settings()) }).(F)
	}
	return reflect.MakeFunc(v.Type(), w.reflected(v)).Interface().(F)
}

// A wrapper is what a synchronized function knows besides the function itself.
type wrapper struct {
	name, by string
	options  *keptOptions
}

func (w *wrapper) call(f func()) {
	if h, ok := w.options.settings().acquireFast(context.Background(), w.name); ok {
		defer release(h)
		f()
		return
	}
	g, err := acquireSlow(context.Background(), w.name, w.by, w.options.settings())
	if err != nil {
		panic(err)
	}
	defer func() { w.options.settings().warnLost(w.name, w.by, g.Unlock()) }()
	f()
}

func (w *wrapper) callError(f func() error) (err error) {
	if h, ok := w.options.settings().acquireFast(context.Background(), w.name); ok {
		defer release(h)
		return f()
	}
	g, err := acquireSlow(context.Background(), w.name, w.by, w.options.settings())
	if err != nil {
		return err
	}
	defer func() {
		if e := g.Unlock(); err == nil {
			err = e
		}
	}()
	return f()
}

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
)

// reflected returns the function of any other type, in the form that reflect.MakeFunc wants.
func (w *wrapper) reflected(fn reflect.Value) func(args []reflect.Value) []reflect.Value {
	t := fn.Type()
	takesContext := t.NumIn() > 0 && t.In(0) == contextType
	returnsError := t.NumOut() > 0 && t.Out(t.NumOut()-1) == errorType
	run := fn.Call
	if t.IsVariadic() {
		run = fn.CallSlice
	}
	return func(args []reflect.Value) (results []reflect.Value) {
		ctx := context.Background()
		if takesContext {
			ctx, _ = args[0].Interface().(context.Context) // a nil context stays nil, and is refused below
		}
		called := false
		err := doAs(ctx, w.name, w.by, func(ctx context.Context) error {
			if takesContext {
				args[0] = reflect.ValueOf(&ctx).Elem()
			}
			results, called = run(args), true
			return nil
		}, w.options.settings())
		if err == nil {
			return results
		}
		if called && !returnsError {
			w.options.settings().warnLost(w.name, w.by, err)
			return results
		}
		if !returnsError {
			panic(err)
		}
		if results == nil {
			for i := range t.NumOut() {
				results = append(results, reflect.Zero(t.Out(i)))
			}
		}
		if last := results[len(results)-1]; last.IsNil() {
			results[len(results)-1] = reflect.ValueOf(&err).Elem()
		}
		return results
	}
}
