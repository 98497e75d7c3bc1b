package lockdebug

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

// holdPlanted and waitPlanted are the functions that pages and messages tell of.

func holdPlanted(t *testing.T, name string) lockutils.Guard {
	t.Helper()
	g, err := lockutils.Lock(name, lockutils.WithPrefix("nova"))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func waitPlanted(ctx context.Context, t *testing.T, name string, opts ...lockutils.Option) {
	g, err := lockutils.LockContext(ctx, name, append(opts, lockutils.WithPrefix("nova"))...)
	if err != nil {
		t.Error(err)
		return
	}
	if err := g.Unlock(); err != nil {
		t.Error(err)
	}
}

// plant has a writer hold a lock, and three others wait, in this order: a writer, a reader that
// holds the lock "volume", and a fair writer. The test releases them when it ends.
func plant(t *testing.T, name string) {
	t.Helper()
	lockutils.SetTracking(1)
	holder := holdPlanted(t, name)
	var waits sync.WaitGroup
	t.Cleanup(func() {
		if err := holder.Unlock(); err != nil {
			t.Error(err)
		}
		waits.Wait()
		lockutils.SetTracking(0)
	})
	waits.Go(func() { waitPlanted(context.Background(), t, name) })
	awaitWaiters(t, name, 1)
	waits.Go(func() {
		err := lockutils.Do(context.Background(), "volume", func(ctx context.Context) error {
			waitPlanted(ctx, t, name, lockutils.Shared())
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	awaitWaiters(t, name, 2)
	waits.Go(func() { waitPlanted(context.Background(), t, name, lockutils.Fair()) })
	awaitWaiters(t, name, 3)
}

// awaitWaiters returns the lock when it has n waiters whose stacks are known.
func awaitWaiters(t *testing.T, name string, n int) lockutils.LockInfo {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		for _, l := range lockutils.Snapshot() {
			known := !slices.ContainsFunc(l.Waiters, func(w lockutils.WaiterInfo) bool { return w.By == "" })
			if l.Name == name && len(l.Waiters) == n && known {
				return l
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has not got %d waiters: %+v", name, n, lockutils.Snapshot())
		}
	}
}

func TestAPlantedHoldShowsInTheSnapshot(t *testing.T) {
	plant(t, "instance-4711")
	l := awaitWaiters(t, "instance-4711", 3)
	if l.Scope != "nova" || l.Mode != lockutils.ModeWriter || len(l.Holders) != 1 ||
		!isPlace(l.Holders[0].Stack, "holdPlanted") {
		t.Errorf("%+v", l)
	}
	var waits []string
	for _, w := range l.Waiters {
		if !isPlace(w.Stack, "waitPlanted") || w.Since.IsZero() {
			t.Errorf("%+v", w)
		}
		waits = append(waits, fmt.Sprintf("%v %v %v", w.Mode, w.Fair, w.Holds))
	}
	want := []string{"writer false []", "reader false [volume]", "writer true []"}
	if !slices.Equal(waits, want) {
		t.Errorf("waiters %q, want %q", waits, want)
	}
}

// isPlace reports whether a stack leads through the function of this file.
func isPlace(stack []uintptr, function string) bool {
	return slices.ContainsFunc(frames(stack), func(f Frame) bool {
		return strings.HasSuffix(f.Function, "."+function) && f.Line > 0 &&
			strings.HasSuffix(f.File, "planted_test.go")
	})
}

func TestAPlantedHoldShowsInTheJSON(t *testing.T) {
	plant(t, "instance-4712")
	_, body := get(t, "?format=json")
	var r Report
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(r.Locks, func(l Lock) bool { return l.Name == "instance-4712" })
	if i < 0 {
		t.Fatal(body)
	}
	l := r.Locks[i]
	if l.Scope != "nova" || l.Mode != "writer" || l.Waited <= 0 || len(l.Holders) != 1 ||
		!strings.HasSuffix(l.Holders[0].By, ".holdPlanted") || len(l.Waiters) != 3 {
		t.Fatalf("%+v", l)
	}
	modes := []string{"writer", "reader", "writer"}
	for i, w := range l.Waiters {
		if w.Mode != modes[i] || w.Fair != (i == 2) || w.Waited <= 0 || !strings.HasSuffix(w.By, ".waitPlanted") ||
			!strings.HasSuffix(w.Stack[0].File, "planted_test.go") || w.Stack[0].Line == 0 {
			t.Errorf("waiter %d: %+v", i, w)
		}
	}
	if !slices.Equal(l.Waiters[1].Holds, []string{"volume"}) {
		t.Errorf("%+v", l.Waiters[1])
	}
}

func TestAPlantedHoldShowsInTheText(t *testing.T) {
	plant(t, "instance-4713")
	_, body := get(t, "?format=text")
	inOrder(t, body, `nova instance-4713 +this process +writer +3 `, `holder .*\.holdPlanted +for `,
		`waiter 1 .*\.waitPlanted +for \S+ +writer\s`, `waiter 2 .*\.waitPlanted +for \S+ +reader +holds volume`,
		`waiter 3 .*\.waitPlanted +for \S+ +writer, fair`)
}

func TestAPlantedHoldShowsInTheSlowWaitMessage(t *testing.T) {
	var messages lockedBuffer
	lockutils.SetLogger(slog.New(slog.NewTextHandler(&messages, nil)))
	lockutils.SetSlowWait(10 * time.Millisecond)
	defer func() {
		lockutils.SetSlowWait(0)
		lockutils.SetLogger(nil)
	}()
	plant(t, "instance-4714")
	for place := 1; place <= 3; place++ {
		want := regexp.MustCompile(fmt.Sprintf(`level=WARN msg="Waiting for lock" lock=instance-4714 scope=nova `+
			`waited=\S+ position=%d holders="\[lockdebug.holdPlanted at planted_test.go:\d+, since \S+\]"`, place))
		deadline := time.Now().Add(30 * time.Second)
		for ; !want.MatchString(messages.String()); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("no message like %s in\n%s", want, messages.String())
			}
		}
	}
}

// inOrder checks that a text has matches of the patterns, one after the other.
func inOrder(t *testing.T, text string, patterns ...string) {
	t.Helper()
	rest := text
	for _, p := range patterns {
		at := regexp.MustCompile(p).FindStringIndex(rest)
		if at == nil {
			t.Fatalf("there is no %s where it should be in\n%s", p, text)
		}
		rest = rest[at[1]:]
	}
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
