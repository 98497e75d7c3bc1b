package lockutils_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/internal/filelock"
)

// pathOf returns the lock file of a name.
func pathOf(t testing.TB, name string, opts ...lockutils.Option) string {
	t.Helper()
	g, err := lockutils.ExternalLock(name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer mustUnlock(t, g)
	return g.Path()
}

func TestLockFileIsNamedByPrefixAndName(t *testing.T) {
	dir := setLockPath(t)
	for _, test := range []struct{ prefix, name, file string }{
		{"", "x", "x"},
		{"", "a/b", "a_b"},
		{"", "/a//b/", "_a__b_"},
		{"", "../x", ".._x"},
		{"", "...", "..."},
		{"", ".hidden", ".hidden"},
		{"", "~", "~"},
		{"", " ", " "},
		{"", "ü.lock", "ü.lock"},
		{"", "-", "-"},
		{"nova", "x", "nova-x"},
		{"nova-", "x", "nova-x"},
		{"nova--", "x", "nova--x"},
		{"nova", "-x", "nova--x"},
		{"nova", "a/b", "nova-a_b"},
		{"nova", ".", "nova-."},
		{"nova", "..", "nova-.."},
	} {
		if runtime.GOOS == "windows" && strings.TrimRight(test.file, ". ") != test.file {
			continue // no file there can be called so
		}
		want := filepath.Join(dir, test.file)
		if path := pathOf(t, test.name, lockutils.WithPrefix(test.prefix)); path != want {
			t.Errorf("prefix %q, name %q: file %q, want %q", test.prefix, test.name, path, want)
		}
		if _, err := os.Stat(want); err != nil {
			t.Error(err)
		}
	}
}

func TestNamesThatAreNoFileNamesAreRefused(t *testing.T) {
	dir := setLockPath(t)
	for _, test := range []struct{ prefix, name string }{
		{"", ""},
		{"p", ""},
		{"", "."},
		{"", ".."},
		{"", "a\x00b"},
		{"p\x00", "x"},
		{"../p", "x"},
		{"/p", "x"},
		{"p/", "x"},
		{"a/b", "x"},
	} {
		opts := []lockutils.Option{lockutils.WithPrefix(test.prefix), lockutils.External()}
		_, err := lockutils.Lock(test.name, opts...)
		wantAcquireError(t, err, test.name, "", lockutils.ErrName)
		_, err = lockutils.ExternalLock(test.name, opts...)
		wantError(t, err, lockutils.ErrName)
		wantError(t, lockutils.RemoveExternalLockFile(test.name, opts...), lockutils.ErrName)
		_, err = lockutils.Holders(test.name, opts...)
		wantError(t, err, lockutils.ErrName)
		wantFree(t, test.name, opts[0]) // without a file any name is good
	}
	for _, prefix := range []string{"a/b", "/p", "p/"} {
		_, err := lockutils.Lock("x", lockutils.WithPrefix(prefix), lockutils.External())
		if want := strconv.Quote(prefix) + " contains a path separator"; !strings.Contains(err.Error(), want) {
			t.Errorf("error %q, want one with %q", err, want)
		}
	}
	if err := lockutils.NewInterProcessLock("").Lock(); err == nil {
		t.Error("the empty path has been locked")
	} else {
		wantAcquireError(t, err, "", "", lockutils.ErrName)
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("files left: %v", entries)
	}
	if entries, _ := os.ReadDir(filepath.Dir(dir)); len(entries) != 1 {
		t.Errorf("files beside the lock path: %v", entries)
	}
}

func TestLongNameIsCutAndCompletedWithAHash(t *testing.T) {
	dir := setLockPath(t)
	longest := strings.Repeat("n", 255)
	if path := pathOf(t, longest); path != filepath.Join(dir, longest) {
		t.Errorf("a name of 255 bytes has become %q", path)
	}
	seen := map[string]string{}
	for _, name := range []string{
		longest + "n", longest + "m", longest + "nn",
		strings.Repeat("ü", 128), strings.Repeat("ü", 129), "a" + strings.Repeat("ü", 129),
		strings.Repeat("日", 300), strings.Repeat("\xff", 300),
		strings.Repeat("a/", 3000),
	} {
		file := filepath.Base(pathOf(t, name))
		if len(file) > 255 || utf8.ValidString(name) && !utf8.ValidString(file) {
			t.Errorf("file %q", file)
		}
		if again := filepath.Base(pathOf(t, name)); again != file {
			t.Errorf("one name, two files: %q, %q", file, again)
		}
		if other, ok := seen[file]; ok {
			t.Errorf("one file for %q and %q", name, other)
		}
		seen[file] = name
		if !strings.HasPrefix(file, strings.ReplaceAll(name, "/", "_")[:200]) {
			t.Errorf("the file of %.20q... begins otherwise: %q", name, file)
		}
	}
	// The longest name has a queue, too.
	g, err := lockutils.Lock(longest, lockutils.External(), lockutils.Fair())
	if err == nil {
		mustUnlock(t, g)
	} else if !unsupported(t, err) {
		t.Error(err)
	}
	// The prefix counts with the name, and stays in front, where the sweeper looks for it.
	file := filepath.Base(pathOf(t, longest, lockutils.WithPrefix("nova")))
	if len(file) > 255 || !strings.HasPrefix(file, "nova-nnn") {
		t.Errorf("file %q", file)
	}
	if other := filepath.Base(pathOf(t, longest, lockutils.WithPrefix("nova-n"))); other == file {
		t.Errorf("one file for two prefixes: %q", file)
	}
}

func TestNoLockFileIsCalledAsTheQueueOfAnother(t *testing.T) {
	setLockPath(t)
	g, err := lockutils.Lock("x", lockutils.External(), lockutils.Fair())
	if err != nil && unsupported(t, err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer mustUnlock(t, g)
	entries, err := os.ReadDir(filepath.Dir(g.Path()))
	if err != nil || len(entries) != 2 {
		t.Fatalf("files %v, error %v; want the lock and its queue", entries, err)
	}
	for _, e := range entries {
		if !filelock.IsQueueFile(e.Name()) {
			continue
		}
		_, err := lockutils.TryLock(e.Name(), lockutils.External())
		wantAcquireError(t, err, e.Name(), "", lockutils.ErrName)
	}
}

// The names that oslo.concurrency and this package can both have must lead to the same files.
func TestFileNamesAreThoseOfOsloConcurrency(t *testing.T) {
	needPython(t, "names", "oslo_concurrency")
	dir := setLockPath(t)
	type pair struct{ Name, Prefix string }
	pairs := []pair{}
	names := []string{
		"x", "instance-4711", "a/b", "/a", "a/", "//", "a//b", "..x", "x..", "../x", "...", ".x",
		"~root", " ", "a b", "a\tb", "a\nb",
		"ü", "日本", "a\\b", "a:b", "*", "?", "'", "\"", "$HOME", "%s", "{0}",
		"-", "--", "-x", "x-", "_", "CON", "A", "a",
		strings.Repeat("n", 200),
	}
	for _, prefix := range []string{"", "nova", "nova-", "nova--", "n", "-", "--", "ü", "a b", "a.b"} {
		for _, name := range names {
			pairs = append(pairs, pair{name, prefix})
		}
	}
	input, err := json.Marshal(pairs)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", `
import json, sys
from oslo_concurrency import lockutils
print(json.dumps([lockutils._get_lock_path(p["Name"], p["Prefix"], sys.argv[1])
                  for p in json.load(sys.stdin)]))
`, dir)
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(input)), os.Stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var theirs []string
	if err := json.Unmarshal(output, &theirs); err != nil || len(theirs) != len(pairs) {
		t.Fatal(len(theirs), err)
	}
	for i, p := range pairs {
		if ours := pathOf(t, p.Name, lockutils.WithPrefix(p.Prefix)); ours != theirs[i] {
			t.Errorf("prefix %q, name %q: file %q, oslo.concurrency has %q", p.Prefix, p.Name, ours, theirs[i])
		}
	}
	t.Log(fmt.Sprint(len(pairs), " names compared"))
}

func TestLockPathMayBeTheRoot(t *testing.T) {
	root := filepath.VolumeName(lockDir(t)) + string(os.PathSeparator)
	name := fmt.Sprint("lockutils-test-", os.Getpid())
	if holders, err := lockutils.Holders(name, lockutils.WithLockPath(root)); len(holders) > 0 ||
		err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a missing file has the holders %v, error %v", holders, err)
	}
	err := lockutils.RemoveExternalLockFile("..", lockutils.WithLockPath(root))
	if err == nil || !errors.Is(err, lockutils.ErrName) {
		t.Errorf("error %v", err)
	}
	err = lockutils.RemoveExternalLockFile("proc", lockutils.WithLockPath(root))
	if _, missing := os.Stat(root + "proc"); missing == nil &&
		(err == nil || !strings.Contains(err.Error(), strconv.Quote(root+"proc"))) {
		t.Errorf("the error names another file: %v", err)
	}
}

func TestNoLockPathIsAnError(t *testing.T) {
	_, err := lockutils.Lock("x", lockutils.External())
	wantAcquireError(t, err, "x", "", lockutils.ErrLockPath)
	_, err = lockutils.ExternalLock("x")
	wantAcquireError(t, err, "x", "", lockutils.ErrLockPath)
	_, err = lockutils.TryLock("x", lockutils.External(), lockutils.WithLockPath(""))
	wantAcquireError(t, err, "x", "", lockutils.ErrLockPath)
	wantError(t, lockutils.RemoveExternalLockFile("x"), lockutils.ErrLockPath)
	_, err = sweep(0)
	wantError(t, err, lockutils.ErrLockPath)
	_, err = lockutils.Holders("x")
	wantError(t, err, lockutils.ErrLockPath)
	wantFree(t, "x")
}

func TestLockPathIsThatOfTheCallElseTheDefaultElseTheEnvironments(t *testing.T) {
	call, def, env := lockDir(t), lockDir(t), lockDir(t)
	t.Cleanup(func() { lockutils.SetDefaults("") })
	want := func(dir string, opts ...lockutils.Option) {
		t.Helper()
		if path := pathOf(t, "x", opts...); path != filepath.Join(dir, "x") {
			t.Errorf("path %q, want directory %q", path, dir)
		}
	}
	t.Setenv("OSLO_LOCK_PATH", env)
	if lockutils.LockPath() != env {
		t.Errorf("LockPath %q", lockutils.LockPath())
	}
	want(env)
	lockutils.SetDefaults(def)
	if lockutils.LockPath() != def {
		t.Errorf("LockPath %q", lockutils.LockPath())
	}
	want(def)
	want(call, lockutils.WithLockPath(call))
	want(def, lockutils.WithLockPath(""))
	lockutils.SetDefaults("")
	want(env)
	t.Setenv("OSLO_LOCK_PATH", "")
	if lockutils.LockPath() != "" {
		t.Errorf("LockPath %q", lockutils.LockPath())
	}
}

func TestMissingDirectoryIsMade(t *testing.T) {
	dir := filepath.Join(lockDir(t), "a", "b")
	wantFree(t, "x", lockutils.External(), lockutils.WithLockPath(dir))
	if info, err := os.Stat(filepath.Join(dir, "x")); err != nil || !info.Mode().IsRegular() {
		t.Error(info, err)
	}
	if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	wantFree(t, "x", lockutils.External(), lockutils.WithLockPath(dir))
}

func TestLockFileIsNeverWrittenTo(t *testing.T) {
	dir := setLockPath(t)
	path := filepath.Join(dir, "x")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, opts := range [][]lockutils.Option{
		{lockutils.External()},
		{lockutils.External(), lockutils.Shared()},
		{lockutils.External(), lockutils.Fair()},
		{lockutils.External(), lockutils.WithFcntl()},
	} {
		g, err := lockutils.Lock("x", opts...)
		if err != nil && unsupported(t, err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		mustUnlock(t, g)
		if data, err := os.ReadFile(path); string(data) != "content" {
			t.Errorf("content %q, error %v", data, err)
		}
	}
}

// specialFiles create what may stand in the place of a lock file on this system only.
var specialFiles = map[string]func(path string) error{}

// A lock file can be in no other place than where it belongs, and be nothing else than a file.
func TestWhatIsNoLockFileIsRefused(t *testing.T) {
	dir := setLockPath(t)
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inPlace := map[string]func(path string) error{
		"a directory":      func(path string) error { return os.Mkdir(path, 0o700) },
		"a link to a file": func(path string) error { return os.Symlink(target, path) },
		"a link to itself": func(path string) error { return os.Symlink(path, path) },
		"a dangling link":  func(path string) error { return os.Symlink(filepath.Join(dir, "nowhere"), path) },
	}
	for name, make := range specialFiles {
		inPlace[name] = make
	}
	for name, make := range inPlace {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, "x")
			if err := make(path); err != nil {
				skip(t, "files", "no such thing here: "+err.Error())
			}
			refused := func(opts ...lockutils.Option) {
				t.Helper()
				_, err := lockutils.Lock("x", append(opts, lockutils.External())...)
				if err != nil && errors.Is(err, errors.ErrUnsupported) {
					return
				}
				var inFile *fs.PathError
				if !errors.As(err, &inFile) {
					t.Fatalf("error %v, want an *fs.PathError in it", err)
				}
				wantAcquireError(t, err, "x", path, inFile.Err)
			}
			refused()
			refused(lockutils.Shared())
			refused(lockutils.NonBlocking())
			refused(lockutils.Fair())
			refused(lockutils.WithFcntl())
			if ok, err := lockutils.NewInterProcessLock(path).TryLock(); ok || err == nil {
				t.Errorf("TryLock: %v, %v", ok, err)
			}
			if err := lockutils.RemoveExternalLockFile("x", lockutils.WithLogging(false)); err == nil {
				t.Error("it has been removed as if it were a lock file")
			}
			if _, err := os.Lstat(path); err != nil {
				t.Error(err)
			}
			if removed, err := sweep(0, lockutils.WithPrefix("x")); removed != 0 || err != nil {
				t.Errorf("sweep: %d, %v", removed, err)
			}
			wantFree(t, "x") // nothing stays held of the internal layer
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			wantFree(t, "x", lockutils.External())
			if err := lockutils.RemoveExternalLockFile("x"); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := os.Lstat(filepath.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a file has been made behind a link:", err)
	}
}

func TestLockPathThatIsAFileIsAnError(t *testing.T) {
	dir := lockDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "sub")} {
		opts := []lockutils.Option{lockutils.External(), lockutils.WithLockPath(path)}
		_, err := lockutils.Lock("x", opts...)
		var inFile *fs.PathError
		if !errors.As(err, &inFile) {
			t.Fatalf("error %v", err)
		}
		wantAcquireError(t, err, "x", filepath.Join(path, "x"), inFile.Err)
		wantFree(t, "x")
		_, err = sweep(0, opts...)
		if !errors.As(err, &inFile) {
			t.Errorf("sweep: %v", err)
		}
		err = lockutils.RemoveExternalLockFile("x", append(opts, lockutils.WithLogging(false))...)
		if !errors.As(err, &inFile) {
			t.Errorf("remove: %v", err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	wantFree(t, "x", lockutils.External(), lockutils.WithLockPath(file))
}

func TestInterProcessLockExcludesOtherProcesses(t *testing.T) {
	dir := lockDir(t)
	l := lockutils.NewInterProcessLock(filepath.Join(dir, "x"))
	if l.Path() != filepath.Join(dir, "x") || l.Exists() {
		t.Errorf("path %q, exists %v", l.Path(), l.Exists())
	}
	other := startPeer(t)
	refused := func(options ...string) bool {
		return other.do("try", "x", dir,
			append(options, "external")...).Locked
	}
	if err := l.Lock(); err != nil {
		t.Fatal(err)
	}
	if !l.Exists() || !refused() || !refused("shared") {
		t.Error("the lock is not in force")
	}
	mustUnlock(t, l)
	if err := l.RLock(); err != nil {
		t.Fatal(err)
	}
	if !refused() || refused("shared") {
		t.Error("a reader excludes writers, not readers")
	}
	if err := l.RUnlock(); err != nil {
		t.Fatal(err)
	}
	other.must("lock", "x", dir, "external", "shared")
	if got, err := l.TryLock(); got || err != nil {
		t.Errorf("TryLock: %v, %v", got, err)
	}
	if got, err := l.TryRLock(); !got || err != nil {
		t.Errorf("TryRLock: %v, %v", got, err)
	}
	if err := l.RUnlock(); err != nil {
		t.Fatal(err)
	}
	other.must("unlock", "x", dir)
	other.must("lock", "x", dir, "external")
	for name, try := range map[string]func() (bool, error){"TryLock": l.TryLock, "TryRLock": l.TryRLock} {
		if got, err := try(); got || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	other.kill()
	if err := l.Lock(); err != nil { // the dead hold nothing
		t.Fatal(err)
	}
	mustUnlock(t, l)
}

func TestInterProcessLockWithinTheProcess(t *testing.T) {
	dir := setLockPath(t)
	path := filepath.Join(dir, "x")
	a, b := lockutils.NewInterProcessLock(path), lockutils.NewInterProcessLock(dir+"/./x")
	if err := a.Lock(); err != nil {
		t.Fatal(err)
	}
	if got, err := b.TryLock(); got || err != nil {
		t.Errorf("TryLock of the same file: %v, %v", got, err)
	}
	wantTaken(t, "x", lockutils.External())
	wantFree(t, "x")
	wantError(t, b.Unlock(), lockutils.ErrNotHeld)
	wantError(t, a.RUnlock(), lockutils.ErrNotHeld)
	mustUnlock(t, a)
	wantError(t, a.Unlock(), lockutils.ErrNotHeld)

	g := mustLock(t, "x", lockutils.External())
	if got, err := a.TryRLock(); got || err != nil {
		t.Errorf("TryRLock of what Lock holds: %v, %v", got, err)
	}
	mustUnlock(t, g)

	for range 3 {
		if err := a.RLock(); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := b.TryRLock(); !got || err != nil {
		t.Errorf("TryRLock beside readers: %v, %v", got, err)
	}
	wantError(t, a.Unlock(), lockutils.ErrNotHeld)
	if err := b.RUnlock(); err != nil {
		t.Error(err)
	}
	for range 3 {
		wantTaken(t, "x", lockutils.External())
		if err := a.RUnlock(); err != nil {
			t.Error(err)
		}
	}
	wantError(t, a.RUnlock(), lockutils.ErrNotHeld)
	wantFree(t, "x", lockutils.External())
}

func TestInterProcessLockUnderStress(t *testing.T) {
	l := lockutils.NewInterProcessLock(filepath.Join(lockDir(t), "x"))
	value := 0
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			for range 100 {
				lock, unlock := l.Lock, l.Unlock
				if i%2 == 0 {
					lock, unlock = l.RLock, l.RUnlock
				}
				if err := lock(); err != nil {
					t.Error(err)
					return
				}
				if i%2 == 1 {
					value++
				}
				if err := unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if value != 300 {
		t.Errorf("%d of 300 counted", value)
	}
}

func TestInterProcessLockWaitEnds(t *testing.T) {
	path := filepath.Join(lockDir(t), "x")
	holder := lockutils.NewInterProcessLock(path)
	if err := holder.Lock(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		l := lockutils.NewInterProcessLock(path, lockutils.WithTimeout(time.Minute))
		start := time.Now()
		wantAcquireError(t, l.Lock(), "", path, context.DeadlineExceeded)
		wantAcquireError(t, l.RLock(), "", path, context.DeadlineExceeded)
		if took := time.Since(start); took != 2*time.Minute {
			t.Errorf("two timeouts of a minute took %v", took)
		}
		if got, err := l.TryLock(); got || err != nil {
			t.Errorf("TryLock: %v, %v", got, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantAcquireError(t, l.LockContext(ctx), "", path, context.DeadlineExceeded)
	})
	mustUnlock(t, holder)
}

func TestInterProcessLockStaysAtTheFileItWasMadeFor(t *testing.T) {
	dir := lockDir(t)
	t.Chdir(dir)
	l := lockutils.NewInterProcessLock("a/../b")
	t.Chdir(lockDir(t))
	if want := filepath.Join(dir, "b"); l.Path() != want {
		t.Errorf("path %q, want %q", l.Path(), want)
	}
	if err := l.Lock(); err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, l)
	if got := files(t, dir); !slices.Equal(got, []string{"b"}) {
		t.Errorf("files %q", got)
	}
}

func TestInterProcessLockOptions(t *testing.T) {
	path := filepath.Join(lockDir(t), "x")
	for name, opt := range map[string]lockutils.Option{
		"Shared":           lockutils.Shared(),
		"NonBlocking":      lockutils.NonBlocking(),
		"WithSemaphores":   lockutils.WithSemaphores(new(lockutils.Semaphores)),
		"WithPrefix":       lockutils.WithPrefix("p"),
		"WithLockPath":     lockutils.WithLockPath("p"),
		"negative timeout": lockutils.WithTimeout(-1),
		"negative delay":   lockutils.WithDelay(-1),
		"file mode":        lockutils.WithFileMode(0),
	} {
		l := lockutils.NewInterProcessLock(path, opt)
		for _, lock := range []func() error{
			l.Lock, l.RLock,
			func() error { _, err := l.TryLock(); return err },
			func() error { _, err := l.TryRLock(); return err },
		} {
			if err := lock(); err == nil {
				t.Errorf("%s is accepted", name)
			} else {
				wantAcquireError(t, err, "", path, lockutils.ErrOptions)
			}
		}
		if l.Exists() {
			t.Fatalf("%s: a file has been made", name)
		}
	}
	for _, opt := range []lockutils.Option{{}, lockutils.Fair(), lockutils.WithFcntl(),
		lockutils.WithDelay(1), lockutils.WithTimeout(0), lockutils.External()} {
		l := lockutils.NewInterProcessLock(path, opt)
		err := l.Lock()
		if err != nil && unsupported(t, err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		mustUnlock(t, l)
		if err := l.RLock(); err != nil {
			t.Fatal(err)
		}
		if err := l.RUnlock(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l := lockutils.NewInterProcessLock(path, lockutils.WithFileMode(0o640))
	if err := l.Lock(); err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, l)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 == 0 && os.PathSeparator == '/' {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestInterProcessLockRefusesTheQueueOfAnother(t *testing.T) {
	path := filepath.Join(lockDir(t), "x.lockutils-queue")
	l := lockutils.NewInterProcessLock(path)
	wantAcquireError(t, l.Lock(), "", path, lockutils.ErrName)
	if l.Exists() {
		t.Error("a file has been made")
	}
}

func TestInterProcessLockKnowsWhatItHolds(t *testing.T) {
	path := filepath.Join(lockDir(t), "x")
	l, other := lockutils.NewInterProcessLock(path), lockutils.NewInterProcessLock(path)
	want := func(locked, rlocked bool) {
		t.Helper()
		if l.Locked() != locked || l.RLocked() != rlocked {
			t.Errorf("Locked %v, RLocked %v, want %v, %v", l.Locked(), l.RLocked(), locked, rlocked)
		}
		if other.Locked() || other.RLocked() {
			t.Error("another object of the file claims the hold")
		}
	}
	want(false, false)
	if err := l.Lock(); err != nil {
		t.Fatal(err)
	}
	want(true, false)
	mustUnlock(t, l)
	want(false, false)
	for range 2 {
		if got, err := l.TryRLock(); !got || err != nil {
			t.Fatal(got, err)
		}
	}
	want(false, true)
	if err := l.RUnlock(); err != nil {
		t.Fatal(err)
	}
	want(false, true)
	if err := l.RUnlock(); err != nil {
		t.Fatal(err)
	}
	want(false, false)
}

func TestInterProcessLockGuards(t *testing.T) {
	dir := lockDir(t)
	path := filepath.Join(dir, "x")
	l := lockutils.NewInterProcessLock(path)
	g, err := l.LockGuard(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := g.Context(t.Context())
	if held := lockutils.HeldLocks(ctx); !slices.Equal(held, []string{l.Path()}) {
		t.Errorf("HeldLocks: %q", held)
	}
	cancel()
	if g.Path() != path || g.Name() != "" || l.Locked() {
		t.Errorf("path %q, name %q, Locked %v", g.Path(), g.Name(), l.Locked())
	}
	wantError(t, l.Unlock(), lockutils.ErrNotHeld)
	if got, err := l.TryRLock(); got || err != nil {
		t.Errorf("TryRLock beside a guard: %v, %v", got, err)
	}
	mustUnlock(t, g)
	wantError(t, g.Unlock(), lockutils.ErrNotHeld)
	var shares [2]lockutils.Guard
	for i := range shares {
		if shares[i], err = l.RLockGuard(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := l.TryLock(); got || err != nil {
		t.Errorf("TryLock beside readers: %v, %v", got, err)
	}
	for _, g := range shares {
		mustUnlock(t, g)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = l.LockGuard(ended)
	wantAcquireError(t, err, "", path, context.Canceled)
}

func TestInterProcessLockIsRemovedWhenNobodyHoldsIt(t *testing.T) {
	path := filepath.Join(lockDir(t), "x")
	l := lockutils.NewInterProcessLock(path)
	if err := l.Remove(); err != nil {
		t.Error("a missing file:", err)
	}
	if err := l.Lock(); err != nil {
		t.Fatal(err)
	}
	err := l.Remove()
	wantError(t, err, lockutils.ErrLocked)
	if !strings.HasPrefix(err.Error(), "lockutils: ") || !strings.Contains(err.Error(), path) {
		t.Errorf("message %q", err)
	}
	mustUnlock(t, l)
	if err := l.Remove(); err != nil || l.Exists() {
		t.Errorf("error %v, exists %v", err, l.Exists())
	}
	if err := l.Lock(); err != nil {
		t.Fatal("after Remove:", err)
	}
	mustUnlock(t, l)

	wantError(t, new(lockutils.InterProcessLock).Remove(), lockutils.ErrName)
	wantError(t, lockutils.NewInterProcessLock("").Remove(), lockutils.ErrName)
	wantError(t, lockutils.NewInterProcessLock(path, lockutils.Shared()).Remove(), lockutils.ErrOptions)
}

func TestInterProcessLockTellsItsHolders(t *testing.T) {
	path := filepath.Join(lockDir(t), "x")
	l := lockutils.NewInterProcessLock(path)
	if err := l.RLock(); err != nil {
		t.Fatal(err)
	}
	holders, err := l.Holders()
	switch {
	case errors.Is(err, errors.ErrUnsupported):
	case err != nil:
		t.Error(err)
	case len(holders) != 1 || holders[0].PID != os.Getpid() || holders[0].Mode != lockutils.ModeReader:
		t.Errorf("holders %+v, want this process as a reader", holders)
	}
	if err := l.RUnlock(); err != nil {
		t.Fatal(err)
	}
	_, err = new(lockutils.InterProcessLock).Holders()
	wantError(t, err, lockutils.ErrName)
}

func TestInterProcessLockLogsAsLockDoes(t *testing.T) {
	path := filepath.Join(lockDir(t), "x")
	r := record(t, slog.LevelDebug)
	l := lockutils.NewInterProcessLock(path)
	silent := lockutils.NewInterProcessLock(path, lockutils.WithLogging(false))
	if err := l.Lock(); err != nil {
		t.Fatal(err)
	}
	if got, err := silent.TryLock(); got || err != nil {
		t.Error(got, err)
	}
	mustUnlock(t, l)
	for _, m := range r.want(t, "Acquiring lock: path", "Acquired lock: path waited",
		"Released lock: held path") {
		if got := m.attrs["path"].String(); got != path {
			t.Errorf("path %q", got)
		}
	}
}

// files returns the names of the files in a directory.
func files(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// makeFiles makes lock files that were last used so long ago.
func makeFiles(t testing.TB, dir string, age time.Duration, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		used := time.Now().Add(-age)
		if err := os.Chtimes(path, used, used); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRemoveExternalLockFileRemovesTheFileOfAName(t *testing.T) {
	dir, other := setLockPath(t), lockDir(t)
	makeFiles(t, dir, 0, "x", "p-x", "a_b", "y")
	makeFiles(t, other, 0, "x")
	for _, test := range []struct {
		name string
		opts []lockutils.Option
		left []string
	}{
		{"p", nil, []string{"a_b", "p-x", "x", "y"}},
		{"x", nil, []string{"a_b", "p-x", "y"}},
		{"x", nil, []string{"a_b", "p-x", "y"}}, // a missing file is no error
		{"x", []lockutils.Option{lockutils.WithPrefix("p-")}, []string{"a_b", "y"}},
		{"a/b", []lockutils.Option{lockutils.Shared(), lockutils.External()}, []string{"y"}},
		{"x", []lockutils.Option{lockutils.WithLockPath(other)}, []string{"y"}},
		{"y", []lockutils.Option{lockutils.WithLockPath(filepath.Join(dir, "missing"))}, []string{"y"}},
	} {
		if err := lockutils.RemoveExternalLockFile(test.name, test.opts...); err != nil {
			t.Errorf("%q: %v", test.name, err)
		}
		if left := files(t, dir); !slices.Equal(left, test.left) {
			t.Fatalf("%q: left %q, want %q", test.name, left, test.left)
		}
	}
	if left := files(t, other); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	if _, err := os.Stat(filepath.Join(dir, "missing")); err == nil {
		t.Error("removing has made a directory")
	}
	wantError(t, lockutils.RemoveExternalLockFile("y", lockutils.WithDelay(-1)), lockutils.ErrOptions)
}

func TestFileInUseIsNotRemoved(t *testing.T) {
	dir := setLockPath(t)
	other := startPeer(t)
	stays := func() {
		t.Helper()
		wantError(t, lockutils.RemoveExternalLockFile("x"), lockutils.ErrLocked)
		if removed, err := sweep(0); removed != 0 || err != nil {
			t.Errorf("sweep: %d, %v", removed, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "x")); err != nil {
			t.Error(err)
		}
	}
	for _, opts := range [][]lockutils.Option{
		{lockutils.External()},
		{lockutils.External(), lockutils.Shared()},
		{lockutils.External(), lockutils.Fair()},
		{lockutils.External(), lockutils.WithFcntl()},
	} {
		g, err := lockutils.Lock("x", opts...)
		if err != nil && unsupported(t, err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		stays()
		if reply := other.do("remove", "x", dir); !reply.Locked {
			t.Errorf("another process: %+v", reply)
		}
		mustUnlock(t, g)
	}
	for _, mode := range []string{"external", "shared"} {
		other.must("lock", "x", dir, "external", mode)
		stays()
		other.must("unlock", "x", dir)
	}
	if err := lockutils.RemoveExternalLockFile("x"); err != nil {
		t.Error(err)
	}
}

// The queue file beside the file of a fair lock goes with it.
func TestRemovalLeavesNothingOfAFairLock(t *testing.T) {
	dir := setLockPath(t)
	opts := []lockutils.Option{lockutils.External(), lockutils.Fair()}
	g, err := lockutils.Lock("x", opts...)
	if err != nil && unsupported(t, err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, g)
	if err := lockutils.RemoveExternalLockFile("x"); err != nil || len(files(t, dir)) > 0 {
		t.Errorf("error %v, left %q", err, files(t, dir))
	}
	mustUnlock(t, mustLock(t, "x", opts...))
	if removed, err := sweep(0); removed != 1 || err != nil || len(files(t, dir)) > 0 {
		t.Errorf("%d removed, error %v, left %q", removed, err, files(t, dir))
	}
}

// Goroutines and another process take locks while files are removed and swept: there is never
// more than one holder.
func TestRemovalIsSafeWhileOthersRun(t *testing.T) {
	dir := setLockPath(t)
	count := newCounter(t, dir)
	other := startPeer(t)
	const rounds = 25
	var inside, overlaps atomic.Int32
	var removed atomic.Int64
	var workers, removers sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		workers.Go(func() {
			for range rounds {
				g, err := lockutils.Lock("x", lockutils.External())
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) > 1 {
					overlaps.Add(1)
				}
				if err := work(filepath.Join(dir, "work")); err != nil {
					t.Error(err)
				}
				inside.Add(-1)
				if err := g.Unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Go(func() {
		for range rounds {
			other.send("work", "x", dir, "external")
			if reply := other.receive(); reply.Error != "" {
				t.Error(reply.Error)
				return
			}
		}
	})
	for i := range 2 {
		removers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if i == 0 {
					if err := lockutils.RemoveExternalLockFile("x"); err != nil && !errors.Is(err, lockutils.ErrLocked) {
						t.Error(err)
					}
				} else if n, err := sweep(0); err != nil {
					t.Error(err)
				} else {
					removed.Add(int64(n))
				}
				time.Sleep(50 * time.Microsecond)
			}
		})
	}
	workers.Wait()
	close(stop)
	removers.Wait()
	if overlaps.Load() > 0 || count() != fmt.Sprint(4*rounds) {
		t.Errorf("%d overlaps, %s of %d counted", overlaps.Load(), count(), 4*rounds)
	}
	t.Logf("swept %d times", removed.Load())
}

// The holder is another process, so that the first of the waiters here waits in the kernel.
func TestCancellingAnyExternalWaiterLosesNoWakeUp(t *testing.T) {
	dir := setLockPath(t)
	other := startPeer(t)
	rounds := 40
	if testing.Short() {
		rounds = 5
	}
	served := 0 // guarded by the lock
	cancelled := atomic.Int32{}
	for round := range rounds {
		other.must("lock", "x", dir, "external")
		var all sync.WaitGroup
		for i := range 20 {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if i%2 == 0 {
				ctx, cancel = context.WithCancel(ctx)
				time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, cancel)
			}
			opts := []lockutils.Option{lockutils.External()}
			if round%2 == 1 && i%4 < 2 {
				opts = append(opts, lockutils.Shared())
			}
			all.Go(func() {
				defer cancel()
				g, err := lockutils.LockContext(ctx, "x", opts...)
				if err != nil {
					if !errors.Is(err, context.Canceled) || ctx.Err() == nil {
						t.Error(err)
					}
					cancelled.Add(1)
					return
				}
				if len(opts) == 1 {
					served++
				}
				if err := g.Unlock(); err != nil {
					t.Error(err)
				}
			})
		}
		other.must("unlock", "x", dir)
		finish(t, &all)
		wantFree(t, "x")
	}
	mustUnlock(t, mustLock(t, "x", lockutils.External()))
	t.Logf("%d cancelled, %d served alone", cancelled.Load(), served)
}

// A lock that the kernel grants to an abandoned wait is nobody's: a request that does not wait
// must not be refused for it.
func TestAbandonedWaitRefusesNobody(t *testing.T) {
	if runtime.GOOS != "linux" || os.Getenv(filelock.EngineVariable) != "" {
		return // where waits poll, one that has just been abandoned may be taking its last look
	}
	dir := setLockPath(t)
	other := startPeer(t)
	modes := [][]lockutils.Option{
		{lockutils.External()},
		{lockutils.External(), lockutils.Shared()},
	}
	for range 50 {
		for _, abandoned := range modes {
			for _, next := range modes {
				other.must("lock", "x", dir, "external")
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				_, err := lockutils.LockContext(ctx, "x", abandoned...)
				cancel()
				wantError(t, err, context.DeadlineExceeded)
				other.must("unlock", "x", dir)
				wantFree(t, "x", next...)
			}
		}
	}
}

// The refusal says which option it is about, and what to do.
func TestOptionThatTheEngineCannotServeIsNamed(t *testing.T) {
	dir := lockDir(t)
	p := startPeer(t, func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, filelock.EngineVariable+"=portable")
	})
	for option, want := range map[string]string{
		"fcntl": "WithFcntl is not supported on this system",
		"fair":  "Fair with a lock file is not supported on this system",
	} {
		a := p.do("lock", "x", dir, "external", option)
		if !a.Unsupported || !strings.Contains(a.Error, want) ||
			!strings.Contains(a.Error, "leave the option out") {
			t.Errorf("%s: %+v", option, a)
		}
	}
}
