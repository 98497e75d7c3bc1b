package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/moby/locker"
	"k8s.io/utils/keymutex"

	"github.com/lockutils/lockutils"
)

// adopting has the code of docs/adopting.md, before and after.
var adopting = map[string]func(ctx context.Context, path, id string) error{
	"gofrs/flock, before": func(ctx context.Context, path, _ string) error {
		lock := flock.New(path)
		if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		defer func() { _ = lock.Unlock() }()
		return rebuild(ctx)
	},
	"gofrs/flock, after, with the same file": func(ctx context.Context, path, _ string) error {
		lock := lockutils.NewInterProcessLock(path)
		if err := lock.LockContext(ctx); err != nil {
			return err
		}
		defer func() { _ = lock.Unlock() }()
		return rebuild(ctx)
	},
	"gofrs/flock, after, by name": func(ctx context.Context, _, _ string) error {
		return lockutils.Do(ctx, "index", rebuild, lockutils.External())
	},
	"moby/locker, before": func(ctx context.Context, _, id string) error {
		locks := locker.New()

		locks.Lock(id)
		defer func() { _ = locks.Unlock(id) }()
		return stop(ctx, id)
	},
	"moby/locker, after": func(ctx context.Context, _, id string) error {
		return lockutils.Do(ctx, id, func(ctx context.Context) error {
			return stop(ctx, id)
		})
	},
	"moby/locker, after, without errors": func(ctx context.Context, _, id string) error {
		var locks lockutils.FairLocks

		l := locks.Get(id)
		l.Lock()
		defer l.Unlock()
		return stop(ctx, id)
	},
	"a map of mutexes, before": func(ctx context.Context, _, id string) error {
		var locks sync.Map

		value, _ := locks.LoadOrStore(id, new(sync.Mutex))
		mu := value.(*sync.Mutex)
		mu.Lock()
		defer mu.Unlock()
		return resize(ctx, id)
	},
	"a map of mutexes, after": func(ctx context.Context, _, id string) error {
		guard, err := lockutils.LockContext(ctx, id)
		if err != nil {
			return err
		}
		defer func() { _ = guard.Unlock() }()
		return resize(ctx, id)
	},
	"k8s keymutex, before": func(ctx context.Context, _, volume string) error {
		locks := keymutex.NewHashed(0)

		locks.LockKey(volume)
		defer func() { _ = locks.UnlockKey(volume) }()
		return attach(ctx, volume)
	},
	"k8s keymutex, after": func(ctx context.Context, _, volume string) error {
		return lockutils.Do(ctx, volume, func(ctx context.Context) error {
			return attach(ctx, volume)
		})
	},
}

func rebuild(ctx context.Context) error          { return ctx.Err() }
func stop(ctx context.Context, _ string) error   { return ctx.Err() }
func resize(ctx context.Context, _ string) error { return ctx.Err() }
func attach(ctx context.Context, _ string) error { return ctx.Err() }

func TestAdoptingCodeRuns(t *testing.T) {
	lockutils.SetDefaults(t.TempDir())
	t.Cleanup(func() { lockutils.SetDefaults("") })
	for name, code := range adopting {
		t.Run(name, func(t *testing.T) {
			if err := code(t.Context(), filepath.Join(t.TempDir(), "index.lock"), "instance-4711"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAdoptingDocumentHasThisCode(t *testing.T) {
	document, err := os.ReadFile("../docs/adopting.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("adopting_test.go")
	if err != nil {
		t.Fatal(err)
	}
	code := strings.ReplaceAll(string(source), "\n\t\t", "\n") // as it is indented in the document
	blocks := 0
	for i, part := range strings.Split(string(document), "```") {
		snippet, ok := strings.CutPrefix(part, "go\n")
		if i%2 == 0 || !ok {
			continue
		}
		blocks++
		if !strings.Contains(code, snippet) {
			t.Errorf("not in this file:\n%s", snippet)
		}
	}
	if blocks != len(adopting) {
		t.Errorf("the document has %d snippets, want %d", blocks, len(adopting))
	}
}
