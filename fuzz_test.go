package lockutils_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

// filesIn returns the names of everything below dir, directories included.
func filesIn(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if path != dir {
			names = append(names, strings.TrimPrefix(path, dir+string(os.PathSeparator)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// refusedBySystem reports whether a name is refused that other systems take: there are many such
// on Windows.
func refusedBySystem(err error) bool {
	var path *fs.PathError
	return runtime.GOOS == "windows" && errors.As(err, &path)
}

// mapped is the documented mapping of a prefix and a name to a file name, before anything is cut.
func mapped(prefix, name string) string {
	name = strings.ReplaceAll(strings.ReplaceAll(name, string(os.PathSeparator), "_"), "/", "_")
	if prefix == "" {
		return name
	}
	return strings.TrimSuffix(prefix, "-") + "-" + name
}

func FuzzNamesStayInTheLockPath(f *testing.F) {
	long := strings.Repeat("ü", 200)
	for _, prefix := range []string{"", "nova", "nova-", "-", "--", ".", "..", "../", "a/b", "/",
		"\x00", "con", "C:", long} {
		for _, name := range []string{
			"", "x", "a/b", ".", "..", "../x", "/etc/passwd", "a\x00b", `..\x`, "nul", "\xff\xfe", long,
		} {
			f.Add(prefix, name)
		}
	}
	f.Fuzz(func(t *testing.T, prefix, name string) {
		around := t.TempDir()
		dir := filepath.Join(around, "locks")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		opts := []lockutils.Option{lockutils.External(), lockutils.WithLockPath(dir), lockutils.WithPrefix(prefix)}
		g, err := lockutils.TryLock(name, opts...)
		if err != nil {
			if !errors.Is(err, lockutils.ErrName) && !refusedBySystem(err) {
				t.Error(err)
			}
			if rest := filesIn(t, around); !slices.Equal(rest, []string{"locks"}) {
				t.Errorf("a refused name has made %q", rest)
			}
			return
		}
		file := filepath.Base(g.Path())
		if rest := filesIn(t, around); !slices.Equal(rest, []string{"locks", filepath.Join("locks", file)}) {
			t.Errorf("the lock has made %q", rest)
		}
		if g.Path() != filepath.Join(dir, file) || len(file) > 255 {
			t.Errorf("the lock file is %q", g.Path())
		}
		if want := mapped(prefix, name); len(want) <= 255 && file != want {
			t.Errorf("the lock file is %q, want %q", file, want)
		}
		if _, err := lockutils.TryLock(name, opts...); !errors.Is(err, lockutils.ErrLocked) {
			t.Errorf("the same name once more: %v", err)
		}
		if err := g.Unlock(); err != nil {
			t.Error(err)
		}
		if err := lockutils.RemoveExternalLockFile(name, opts...); err != nil {
			t.Error(err)
		}
		if rest := filesIn(t, around); !slices.Equal(rest, []string{"locks"}) {
			t.Errorf("the removal has left %q", rest)
		}
	})
}

func FuzzFilesAreEqualIfTheirMappedNamesAre(f *testing.F) {
	long := strings.Repeat("x", 300)
	for _, pair := range [][4]string{
		{"", "a", "", "b"}, {"", "a/b", "", "a_b"}, {"p", "a", "p-", "a"}, {"p", "a", "", "p-a"}, {"p--",
			"a", "p-", "a"},
		{"", long + "a", "", long + "b"}, {"", long, "", long}, {long, "a", "", long + "-a"}, {"", "A", "", "a"},
	} {
		f.Add(pair[0], pair[1], pair[2], pair[3])
	}
	f.Fuzz(func(t *testing.T, prefix1, name1, prefix2, name2 string) {
		dir := t.TempDir()
		path := func(prefix, name string) string {
			g, err := lockutils.ExternalLock(name, lockutils.WithLockPath(dir), lockutils.WithPrefix(prefix))
			if errors.Is(err, lockutils.ErrName) || refusedBySystem(err) {
				t.Skip("no file name")
			}
			if err != nil {
				t.Fatal(err)
			}
			defer g.Unlock()
			return g.Path()
		}
		path1, path2 := path(prefix1, name1), path(prefix2, name2)
		if want := mapped(prefix1, name1) == mapped(prefix2, name2); (path1 == path2) != want {
			t.Errorf("equal: %v, want %v\n%q\n%q", !want, want, path1, path2)
		}
		if again := path(prefix1, name1); again != path1 {
			t.Errorf("the same prefix and name lead to %q, then to %q", path1, again)
		}
	})
}

func FuzzPathsOfInterProcessLocks(f *testing.F) {
	for _, path := range []string{
		"x", "a/b", "a/../b", "./x", "a//b", "link", "link/", "dir", "dir/x", "x/", " ", "ü", "\xff", "a\x00",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, relative string) {
		if !filepath.IsLocal(relative) || strings.HasPrefix(filepath.Clean(relative),
			"link"+string(os.PathSeparator)) {
			t.Skip("it is the caller's choice to leave the directory")
		}
		around := t.TempDir()
		base := filepath.Join(around, "base")
		if err := os.MkdirAll(filepath.Join(base, "dir"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(around, "outside"), filepath.Join(base, "link")); err != nil {
			t.Skip(err)
		}
		before := filesIn(t, around)
		l := lockutils.NewInterProcessLock(base + string(os.PathSeparator) + relative)
		want := filepath.Join(base, relative)
		if l.Path() != want {
			t.Errorf("Path() = %q, want %q", l.Path(), want)
		}
		held, err := l.TryLock()
		if err == nil && !held {
			t.Error("a new lock is taken")
		}
		var failure *lockutils.AcquireError
		if err != nil && !errors.As(err, &failure) {
			t.Errorf("%T: %v", err, err)
		}
		for _, name := range filesIn(t, around) {
			path := filepath.Join(around, name)
			if !slices.Contains(before, name) && path != want && !strings.HasPrefix(want,
				path+string(os.PathSeparator)) {
				t.Errorf("the lock has made %q", path)
			}
		}
		if err != nil {
			return
		}
		if info, err := os.Lstat(want); err != nil || !info.Mode().IsRegular() {
			t.Errorf("the lock is held without a file: %v, %v", info, err)
		}
		if err := l.Unlock(); err != nil {
			t.Error(err)
		}
	})
}

// A choice is options as a list of numbers chooses them, and what the documentation says of them.
type choice struct {
	opts        []lockutils.Option
	external    bool
	fair        bool
	shared      bool
	nonBlocking bool
	timed       bool
	timeout     time.Duration
	delay       time.Duration
	semaphores  bool
	badMode     bool
	path        bool
	fcntl       bool
	prefix      string
}

// choose adds the option that the two numbers stand for.
func (c *choice) choose(option, argument byte, dir string, semaphores *lockutils.Semaphores) {
	duration := time.Duration(int8(argument)) * time.Second
	var o lockutils.Option
	switch option % 12 {
	case 0:
		o, c.external = lockutils.External(), true
	case 1:
		c.prefix = []string{"", "p", "p-", "q"}[argument%4]
		o = lockutils.WithPrefix(c.prefix)
	case 2:
		c.path = argument%4 > 0
		o = lockutils.WithLockPath(map[bool]string{true: dir}[c.path])
	case 3:
		o, c.fair = lockutils.Fair(), true
	case 4:
		o, c.shared = lockutils.Shared(), true
	case 5:
		o, c.nonBlocking = lockutils.NonBlocking(), true
	case 6:
		o, c.timed, c.timeout = lockutils.WithTimeout(duration), true, duration
	case 7:
		o, c.delay = lockutils.WithDelay(duration), duration
	case 8:
		c.semaphores = argument%4 > 0
		o = lockutils.WithSemaphores(map[bool]*lockutils.Semaphores{true: semaphores}[c.semaphores])
	case 9:
		o = lockutils.WithLogging(argument%2 == 0)
	case 10:
		mode := []fs.FileMode{0o600, 0o644, 0o666, 0, 0o200, fs.ModeSetuid | 0o600, fs.ModeDir | 0o700}[argument%7]
		o, c.badMode = lockutils.WithFileMode(mode), argument%7 > 2
	case 11:
		o, c.fcntl = lockutils.WithFcntl(), true
	}
	c.opts = append(c.opts, o)
}

// contradicts reports whether the options contradict themselves, or what the call is for.
func (c choice) contradicts(call byte) bool {
	switch call {
	case callTry:
		c.nonBlocking = true
	case callInternalFair:
		c.fair = true
	}
	return c.fair && c.semaphores || c.nonBlocking && c.timed || c.timeout < 0 || c.delay < 0 || c.badMode ||
		(call == callInternal || call == callInternalFair) && c.external || call == callExternal && c.semaphores
}

// The calls that take a lock.
const (
	callLock = iota
	callContext
	callTry
	callInternal
	callInternalFair
	callExternal
	calls
)

func take(call byte, name string, opts []lockutils.Option) (lockutils.Guard, error) {
	switch call {
	case callLock:
		return lockutils.Lock(name, opts...)
	case callContext:
		return lockutils.LockContext(context.Background(), name, opts...)
	case callTry:
		return lockutils.TryLock(name, opts...)
	case callInternal:
		return lockutils.InternalLock(name, opts...)
	case callInternalFair:
		return lockutils.InternalFairLock(name, opts...)
	}
	return lockutils.ExternalLock(name, opts...)
}

func FuzzOptionsDoWhatTheySayOrAreRefused(f *testing.F) {
	for call := range byte(calls) {
		f.Add(call, []byte{})
		for first := range byte(12) {
			for second := first; second < 12; second++ {
				f.Add(call, []byte{2, 1, first, 1, second, 3})
				f.Add(call, []byte{0, 0, first, 255, second, 5})
			}
		}
	}
	f.Fuzz(func(t *testing.T, call byte, numbers []byte) {
		call %= calls
		dir, semaphores := t.TempDir(), new(lockutils.Semaphores)
		const name = "fuzzed options"
		var c choice
		for ; len(numbers) >= 2; numbers = numbers[2:] {
			c.choose(numbers[0], numbers[1], dir, semaphores)
		}
		withFile := c.external || call == callExternal
		g, err := take(call, name, c.opts)
		switch {
		case c.contradicts(call):
			if !errors.Is(err, lockutils.ErrOptions) {
				t.Fatalf("%+v: a contradiction gives %v", c, err)
			}
		case withFile && !c.path:
			if !errors.Is(err, lockutils.ErrLockPath) {
				t.Fatalf("%+v: without a lock path: %v", c, err)
			}
		case withFile && (c.fair || c.fcntl) && errors.Is(err, errors.ErrUnsupported):
			if !errors.Is(err, lockutils.ErrOptions) {
				t.Fatalf("%+v: %v", c, err)
			}
		case err != nil:
			t.Fatalf("%+v: %v", c, err)
		}
		if err != nil {
			var failure *lockutils.AcquireError
			if !errors.As(err, &failure) || failure.Name != name {
				t.Errorf("%T: %v", err, err)
			}
			if rest := filesIn(t, dir); len(rest) > 0 {
				t.Errorf("%+v: a refused lock has made %q", c, rest)
			}
			return
		}
		want := ""
		if withFile {
			want = filepath.Join(dir, mapped(c.prefix, name))
		}
		if g.Path() != want || g.Name() != name {
			t.Errorf("%+v: the guard is of %q at %q, want %q", c, g.Name(), g.Path(), want)
		}
		c.expectExclusion(t, call, name)
		if err := g.Unlock(); err != nil {
			t.Error(err)
		}
		if err := g.Unlock(); !errors.Is(err, lockutils.ErrNotHeld) {
			t.Errorf("the second Unlock returns %v", err)
		}
		g, err = take(call, name, c.opts)
		if err != nil {
			t.Fatalf("%+v: once more: %v", c, err)
		}
		if err := g.Unlock(); err != nil {
			t.Error(err)
		}
	})
}

// expectExclusion checks whom the lock that has been taken excludes.
func (c choice) expectExclusion(t *testing.T, call byte, name string) {
	t.Helper()
	if c.timed {
		return // a try with a timeout is a contradiction
	}
	for _, other := range []struct {
		opts    []lockutils.Option
		granted bool
	}{
		{nil, false},
		{[]lockutils.Option{lockutils.Shared()}, c.shared},
	} {
		opts := slices.Concat(c.opts, other.opts, []lockutils.Option{lockutils.NonBlocking()})
		if c.shared && other.opts == nil {
			continue // there is no option to take Shared back
		}
		g, err := take(call, name, opts)
		if other.granted {
			if err != nil {
				t.Errorf("%+v: another reader gets %v", c, err)
			}
			_ = g.Unlock()
		} else if !errors.Is(err, lockutils.ErrLocked) {
			t.Errorf("%+v: another holder gets %v", c, err)
		}
	}
}
