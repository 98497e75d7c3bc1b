package lockutils_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/internal/filelock"
)

func TestContradictoryOptionsAreRefused(t *testing.T) {
	dir := setLockPath(t)
	container := new(lockutils.Semaphores)
	for name, opts := range map[string][]lockutils.Option{
		"fair, container":            {lockutils.Fair(), lockutils.WithSemaphores(container)},
		"container, fair":            {lockutils.WithSemaphores(container), lockutils.Fair()},
		"non-blocking, timeout":      {lockutils.NonBlocking(), lockutils.WithTimeout(time.Second)},
		"non-blocking, zero timeout": {lockutils.WithTimeout(0), lockutils.NonBlocking()},
		"negative timeout":           {lockutils.WithTimeout(-1)},
		"negative delay":             {lockutils.WithDelay(-1)},
		"file mode: a directory":     {lockutils.WithFileMode(fs.ModeDir | 0o700)},
		"file mode: setuid":          {lockutils.WithFileMode(fs.ModeSetuid | 0o700)},
		"file mode: nothing":         {lockutils.WithFileMode(0)},
		"file mode: not readable":    {lockutils.WithFileMode(0o266)},
		"file mode: fair, read-only": {lockutils.WithFileMode(0o444), lockutils.Fair()},
		"fcntl, file mode read-only": {lockutils.WithFcntl(), lockutils.WithFileMode(0o444)},
	} {
		t.Run(name, func(t *testing.T) {
			for _, extra := range []lockutils.Option{{}, lockutils.External()} {
				opts := append(opts, extra)
				g, err := lockutils.Lock("x", opts...)
				if g != (lockutils.Guard{}) {
					t.Errorf("guard %v", g)
				}
				wantAcquireError(t, err, "x", "", lockutils.ErrOptions)
				_, err = lockutils.LockContext(t.Context(), "x", opts...)
				wantError(t, err, lockutils.ErrOptions)
				_, err = lockutils.TryLock("x", opts...)
				wantError(t, err, lockutils.ErrOptions)
				fn := func(context.Context) error { t.Error("fn has run"); return nil }
				err = lockutils.Do(t.Context(), "x", fn, opts...)
				wantError(t, err, lockutils.ErrOptions)
				wantError(t, lockutils.Synchronized("x", func() error { t.Error("fn has run"); return nil },
					opts...)(), lockutils.ErrOptions)
				_, err = lockutils.LockWithPrefix("", opts...)("x")
				wantError(t, err, lockutils.ErrOptions)
			}
		})
	}
	_, err := lockutils.TryLock("x", lockutils.WithTimeout(time.Second))
	wantError(t, err, lockutils.ErrOptions)
	wantFree(t, "x", lockutils.WithSemaphores(container))
	wantFree(t, "x")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("files %v, error %v after calls that could not mean anything", entries, err)
	}
}

func TestOfARepeatedOptionTheLastCounts(t *testing.T) {
	dir, other := lockDir(t), lockDir(t)
	container := new(lockutils.Semaphores)
	g := mustLock(t, "x", lockutils.External(), lockutils.External(),
		lockutils.WithPrefix("a"), lockutils.WithPrefix("b"),
		lockutils.WithLockPath(other), lockutils.WithLockPath(dir),
		lockutils.WithTimeout(-1), lockutils.WithTimeout(0),
		lockutils.WithDelay(-1), lockutils.WithDelay(time.Second),
		lockutils.WithFileMode(0), lockutils.WithFileMode(0o640),
		lockutils.WithSemaphores(container), lockutils.WithSemaphores(nil),
		lockutils.WithLogging(true), lockutils.WithLogging(false),
		lockutils.Shared(), lockutils.Shared(),
	)
	if g.Path() != filepath.Join(dir, "b-x") || container.Len() != 0 {
		t.Errorf("path %q, %d names in the container", g.Path(), container.Len())
	}
	mustUnlock(t, g)
}

// Each pair of options, in both orders, gives a lock that is all that both promise, or is refused.
func TestEachPairOfOptions(t *testing.T) {
	dir := setLockPath(t)
	container := lockutils.NewSemaphores(1)
	type choice struct {
		name string
		opt  lockutils.Option
	}
	choices := []choice{
		{"External", lockutils.External()},
		{"WithPrefix", lockutils.WithPrefix("p")},
		{"WithLockPath", lockutils.WithLockPath(filepath.Join(dir, "sub"))},
		{"Fair", lockutils.Fair()},
		{"Shared", lockutils.Shared()},
		{"NonBlocking", lockutils.NonBlocking()},
		{"WithTimeout", lockutils.WithTimeout(0)},
		{"WithDelay", lockutils.WithDelay(time.Millisecond)},
		{"WithSemaphores", lockutils.WithSemaphores(container)},
		{"WithLogging", lockutils.WithLogging(false)},
		{"WithFileMode", lockutils.WithFileMode(0o600)},
		{"WithFcntl", lockutils.WithFcntl()},
	}
	for _, first := range choices {
		for _, second := range choices {
			t.Run(first.name+","+second.name, func(t *testing.T) {
				opts := []lockutils.Option{first.opt, second.opt}
				has := func(name string) bool { return first.name == name || second.name == name }
				g, err := lockutils.Lock("x", opts...)
				switch {
				case has("Fair") && has("WithSemaphores"), has("NonBlocking") && has("WithTimeout"):
					wantError(t, err, lockutils.ErrOptions)
					return
				case has("External") && (has("Fair") || has("WithFcntl")) && unsupported(t, err):
					return
				case err != nil:
					t.Fatal(err)
				}
				path := ""
				if has("External") {
					path = filepath.Join(dir, "x")
					if has("WithPrefix") {
						path = filepath.Join(dir, "p-x")
					}
					if has("WithLockPath") {
						path = filepath.Join(dir, "sub", "x")
					}
					if has("WithPrefix") && has("WithLockPath") {
						path = filepath.Join(dir, "sub", "p-x")
					}
				}
				if g.Path() != path {
					t.Errorf("path %q, want %q", g.Path(), path)
				}

				again := opts
				if !has("NonBlocking") {
					again = append(opts, lockutils.WithTimeout(0))
				}
				more, err := lockutils.Lock("x", again...)
				switch {
				case has("Shared"):
					if err != nil {
						t.Fatal("a second shared holder:", err)
					}
					mustUnlock(t, more)
				case has("NonBlocking"):
					wantError(t, err, lockutils.ErrLocked)
				default:
					wantError(t, err, context.DeadlineExceeded)
				}
				var scope []lockutils.Option
				for _, o := range []choice{first, second} {
					if o.name == "WithPrefix" || o.name == "WithSemaphores" {
						scope = append(scope, o.opt)
					}
				}
				wantTaken(t, "x", scope...)
				if len(scope) > 0 {
					wantFree(t, "x")
				}
				mustUnlock(t, g)
				wantFree(t, "x", scope...)
				wantFree(t, "x", lockutils.External())
			})
		}
	}
}

func TestAScopeIsContainerPrefixAndName(t *testing.T) {
	a, b := new(lockutils.Semaphores), lockutils.NewSemaphores(1)
	scopes := [][]lockutils.Option{
		{},
		{lockutils.WithPrefix("p")},
		{lockutils.WithPrefix("p-q")},
		{lockutils.WithSemaphores(a)},
		{lockutils.WithSemaphores(b)},
		{lockutils.WithSemaphores(a), lockutils.WithPrefix("p")},
	}
	names := []string{"x", "p-x", "q-x", "px"}
	for _, opts := range scopes {
		for _, name := range names {
			mustLock(t, name, append(opts, lockutils.NonBlocking())...)
		}
	}
	for _, opts := range scopes {
		for _, name := range names {
			wantTaken(t, name, opts...)
		}
	}
	wantTaken(t, "x", lockutils.WithPrefix("p-"))
	wantTaken(t, "x", lockutils.WithPrefix("p-q-"))
	wantTaken(t, "x", lockutils.WithSemaphores(a), lockutils.WithPrefix("p-"))
}

// One file is one lock, whatever the containers and whatever the names that lead to it.
func TestOneLockFileIsOneLock(t *testing.T) {
	dir := setLockPath(t)
	g := mustLock(t, "p/x", lockutils.External())
	same := []struct {
		name string
		opts []lockutils.Option
	}{
		{"p_x", nil},
		{"p/x", []lockutils.Option{lockutils.WithSemaphores(new(lockutils.Semaphores))}},
		{"p/x", []lockutils.Option{lockutils.WithLockPath(filepath.Join(dir, "sub", ".."))}},
		{"p/x", []lockutils.Option{lockutils.WithLockPath(dir + string(filepath.Separator))}},
	}
	for _, other := range same {
		wantTaken(t, other.name, append(other.opts, lockutils.External())...)
	}
	mustUnlock(t, g)
	for _, other := range same {
		wantFree(t, other.name, append(other.opts, lockutils.External())...)
	}

	g = mustLock(t, "x", lockutils.External(), lockutils.WithPrefix("p"))
	wantTaken(t, "p-x", lockutils.External())
	wantFree(t, "p-x")
	mustUnlock(t, g)
}

func TestFileModeIsThatOfTheFileMade(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("files have no such mode here")
		return
	}
	dir := setLockPath(t)
	for name, test := range map[string]struct {
		opts []lockutils.Option
		mode fs.FileMode
	}{
		"default":  {nil, 0o600},
		"readable": {[]lockutils.Option{lockutils.WithFileMode(0o644)}, 0o644},
		"private":  {[]lockutils.Option{lockutils.WithFileMode(0o400)}, 0o400},
	} {
		g := mustLock(t, name, append(test.opts, lockutils.External())...)
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != test.mode {
			t.Errorf("%s: mode %v, error %v, want %v", name, info.Mode(), err, test.mode)
		}
		mustUnlock(t, g)
		g = mustLock(t, name, lockutils.External(), lockutils.WithFileMode(0o666))
		info, _ = os.Stat(filepath.Join(dir, name))
		if info.Mode() != test.mode {
			t.Errorf("%s: the mode of a file that was there has become %v", name, info.Mode())
		}
		mustUnlock(t, g)
	}
}

func TestUnsupportedOptionsSaySo(t *testing.T) {
	setLockPath(t)
	for _, opt := range []lockutils.Option{lockutils.WithFcntl(), lockutils.Fair()} {
		g, err := lockutils.Lock("x", lockutils.External(), opt)
		if err == nil {
			mustUnlock(t, g)
		} else if !unsupported(t, err) {
			t.Error(err)
		}
		wantFree(t, "x", opt) // for a lock without a file the options cost nothing
		wantFree(t, "x", lockutils.External())
	}
	if runtime.GOOS == "linux" && os.Getenv(filelock.EngineVariable) == "" {
		wantFree(t, "x", lockutils.External(), lockutils.Fair(), lockutils.WithFcntl())
	}
}
