package lockutils_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils"
)

// A recorder is a handler that keeps what is logged.
type recorder struct {
	level slog.Level

	mu       sync.Mutex
	messages []message // guarded by mu
}

type message struct {
	slog.Record
	ctx   context.Context
	attrs map[string]slog.Value
	keys  []string // sorted
}

func (r *recorder) Enabled(_ context.Context, l slog.Level) bool { return l >= r.level }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler           { panic("not used") }
func (r *recorder) WithGroup(string) slog.Handler                { panic("not used") }

func (r *recorder) Handle(ctx context.Context, record slog.Record) error {
	m := message{Record: record, ctx: ctx, attrs: map[string]slog.Value{}}
	record.Attrs(func(a slog.Attr) bool {
		m.attrs[a.Key] = a.Value
		m.keys = append(m.keys, a.Key)
		return true
	})
	slices.Sort(m.keys)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, m)
	return nil
}

// take returns what has been recorded since the last look.
func (r *recorder) take() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.messages
	r.messages = nil
	return m
}

// want fails the test unless exactly these messages have been recorded, each given as "text:
// attribute keys".
func (r *recorder) want(t testing.TB, messages ...string) []message {
	t.Helper()
	got := r.take()
	lines := []string{}
	for _, m := range got {
		lines = append(lines, m.Message+": "+strings.Join(m.keys, " "))
	}
	if !slices.Equal(lines, messages) {
		t.Fatalf("logged %q, want %q", lines, messages)
	}
	return got
}

func record(t testing.TB, level slog.Level) *recorder {
	r := &recorder{level: level}
	lockutils.SetLogger(slog.New(r))
	t.Cleanup(func() { lockutils.SetLogger(nil) })
	return r
}

func TestMessagesTellTheLifeOfAHold(t *testing.T) {
	dir := setLockPath(t)
	r := record(t, slog.LevelDebug)
	synctest.Test(t, func(t *testing.T) {
		for _, opts := range [][]lockutils.Option{{}, {lockutils.WithLogging(true)}, {lockutils.Fair()},
			{lockutils.Shared()}} {
			first := mustLock(t, "x", lockutils.WithLogging(false))
			time.AfterFunc(time.Second, func() { mustUnlock(t, first) })
			g := mustLock(t, "x", opts...)
			time.Sleep(time.Minute)
			mustUnlock(t, g)
			wantError(t, g.Unlock(), lockutils.ErrNotHeld) // and no word
			messages := r.want(t, "Acquiring lock: lock", "Acquired lock: lock waited", "Released lock: held lock")
			for _, m := range messages {
				if m.attrs["lock"].String() != "x" || m.Level != slog.LevelDebug {
					t.Errorf("%v", m)
				}
			}
			if waited := messages[1].attrs["waited"].Duration(); waited != time.Second {
				t.Errorf("waited %v for a second", waited)
			}
			if held := messages[2].attrs["held"].Duration(); held != time.Minute {
				t.Errorf("held %v for a minute", held)
			}
		}
	})

	g := mustLock(t, "x", lockutils.External(), lockutils.WithPrefix("p"))
	mustUnlock(t, g)
	for _, m := range r.want(t, "Acquiring lock: lock path scope",
		"Acquired lock: lock path scope waited", "Released lock: held lock path scope") {
		if m.attrs["path"].String() != filepath.Join(dir,
			"p-x") || m.attrs["scope"].String() != "p" || m.attrs["lock"].String() != "x" {
			t.Errorf("%v", m)
		}
	}
}

func TestMessagesNameTheContainer(t *testing.T) {
	r := record(t, slog.LevelDebug)
	container := &lockutils.Semaphores{Name: "volumes"}
	mustUnlock(t, mustLock(t, "x", lockutils.WithSemaphores(container), lockutils.WithPrefix("p")))
	for _, m := range r.want(t, "Acquiring lock: lock scope", "Acquired lock: lock scope waited",
		"Released lock: held lock scope") {
		if scope := m.attrs["scope"].String(); scope != "volumes/p" {
			t.Errorf("scope %q", scope)
		}
	}
}

func TestMessagesCarryTheContext(t *testing.T) {
	r := record(t, slog.LevelDebug)
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "trace")
	_ = lockutils.Do(ctx, "x", func(context.Context) error { return nil })
	for _, m := range r.want(t, "Acquiring lock: lock", "Acquired lock: lock waited",
		"Released lock: held lock") {
		if m.ctx.Value(key{}) != "trace" {
			t.Errorf("%s: another context", m.Message)
		}
	}
}

func wrapped() error { return nil }

func TestMessagesNameTheFunctionThatIsWrapped(t *testing.T) {
	r := record(t, slog.LevelDebug)
	n := &counter{}
	for name, call := range map[string]func(){
		"wrapped":      func() { _ = lockutils.Synchronized("x", wrapped)() },
		"counter).add": func() { lockutils.Synchronized("x", n.add)(1) },
		"MessagesName": func() { lockutils.Synchronized("x", func() {})() },
		"lockutils_test": func() {
			_ = lockutils.Synchronized("x",
				func(context.Context) error { return nil })(t.Context())
		},
		"lockutils_test.wrapped": func() { _ = lockutils.SynchronizedWithPrefix("")("x", wrapped)() },
	} {
		call()
		for _, m := range r.want(t, "Acquiring lock: by lock", "Acquired lock: by lock waited",
			"Released lock: by held lock") {
			if by := m.attrs["by"].String(); !strings.Contains(by, name) {
				t.Errorf("by %q, want one with %q", by, name)
			}
		}
	}
}

func TestMessagesTellOfFailures(t *testing.T) {
	setLockPath(t)
	g := mustLock(t, "x")
	r := record(t, slog.LevelDebug)
	_, err := lockutils.TryLock("x", lockutils.External())
	wantError(t, err, lockutils.ErrLocked)
	m := r.want(t, "Acquiring lock: lock path", "Failed to acquire lock: error lock path waited")
	if failure, _ := m[1].attrs["error"].Any().(error); !errors.Is(failure, lockutils.ErrLocked) {
		t.Errorf("error %v", m[1].attrs["error"])
	}
	mustUnlock(t, g)
	r.want(t)
}

// The error says it all.
func TestRemovingLogsNothing(t *testing.T) {
	dir := setLockPath(t)
	if err := os.Mkdir(filepath.Join(dir, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	makeFiles(t, dir, 0, "b")
	g := mustLock(t, "y", lockutils.External())
	r := record(t, slog.LevelDebug)
	if err := lockutils.RemoveExternalLockFile("x"); err == nil {
		t.Error("a directory has been removed")
	}
	wantError(t, lockutils.RemoveExternalLockFile("y"), lockutils.ErrLocked)
	if err := lockutils.RemoveExternalLockFile("z"); err != nil {
		t.Error(err)
	}
	if _, err := sweep(0); err != nil {
		t.Error(err)
	}
	r.want(t)
	lockutils.SetLogger(nil)
	mustUnlock(t, g)
}

func TestNothingIsLoggedUnlessWanted(t *testing.T) {
	r := record(t, slog.LevelDebug)
	mustUnlock(t, mustLock(t, "x", lockutils.WithLogging(false)))
	mustUnlock(t, mustLock(t, "x", lockutils.WithLogging(true), lockutils.WithLogging(false)))
	_ = lockutils.Synchronized("x", wrapped, lockutils.WithLogging(false))()
	r.want(t)

	r = record(t, slog.LevelInfo)
	mustUnlock(t, mustLock(t, "x"))
	_ = lockutils.Synchronized("x", wrapped)()
	r.want(t)
}

func TestNilLoggerMeansTheDefaultOne(t *testing.T) {
	r := &recorder{level: slog.LevelDebug}
	before := slog.Default()
	slog.SetDefault(slog.New(r))
	t.Cleanup(func() { slog.SetDefault(before) })
	lockutils.SetLogger(nil)
	mustUnlock(t, mustLock(t, "x"))
	r.want(t, "Acquiring lock: lock", "Acquired lock: lock waited", "Released lock: held lock")
}

// A bomb is a handler that panics at one message.
type bomb struct {
	recorder
	message string
}

func (b *bomb) Handle(ctx context.Context, record slog.Record) error {
	if record.Message == b.message {
		panic(b.message)
	}
	return nil
}

func TestHandlerThatPanicsLeavesNothingHeld(t *testing.T) {
	t.Cleanup(func() { lockutils.SetLogger(nil) })
	external := []lockutils.Option{lockutils.External(), lockutils.WithLockPath(t.TempDir())}
	for _, message := range []string{"Acquiring lock", "Acquired lock", "Released lock"} {
		for _, opts := range [][]lockutils.Option{nil, external} {
			lockutils.SetLogger(slog.New(&bomb{recorder{level: slog.LevelDebug}, message}))
			func() {
				defer func() {
					if recover() != message {
						t.Errorf("no panic at %q", message)
					}
				}()
				guard, err := lockutils.Lock(t.Name(), opts...)
				if err == nil {
					_ = guard.Unlock()
				}
			}()
			lockutils.SetLogger(nil)
			guard, err := lockutils.TryLock(t.Name(), opts...)
			if err != nil {
				t.Fatalf("after a panic at %q: %v", message, err)
			}
			_ = guard.Unlock()
		}
	}
}

func TestHandlerThatPanicsLeavesNoneOfSeveralHeld(t *testing.T) {
	t.Cleanup(func() { lockutils.SetLogger(nil) })
	names := []string{"a", "b", "c"}
	lockutils.SetLogger(slog.New(&bomb{recorder{level: slog.LevelDebug}, "Released lock"}))
	guards, err := lockutils.LockAll(t.Context(), names)
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_ = guards.Unlock()
	}()
	lockutils.SetLogger(nil)
	for _, name := range names {
		wantFree(t, name)
	}
}

func TestSetLoggerRefusesALoggerWithoutHandler(t *testing.T) {
	t.Cleanup(func() { lockutils.SetLogger(nil) })
	defer func() {
		if v := recover(); v != "lockutils: SetLogger: logger without a handler" {
			t.Errorf("panic %v", v)
		}
		wantFree(t, "x") // with the logger set before
	}()
	lockutils.SetLogger(new(slog.Logger))
}
