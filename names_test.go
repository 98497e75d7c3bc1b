package lockutils_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
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
		"x", "instance-4711", "a/b", "/a", "a/", "//", "a//b", "..x", "x..", "../x", "...", ".x", "~root", " ", "a b", "a\tb", "a\nb",
		"ü", "日本", "a\\b", "a:b", "*", "?", "'", "\"", "$HOME", "%s", "{0}", "-", "--", "-x", "x-", "_", "CON", "A", "a",
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
print(json.dumps([lockutils._get_lock_path(p["Name"], p["Prefix"], sys.argv[1]) for p in json.load(sys.stdin)]))
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
	if holders, err := lockutils.Holders(name, lockutils.WithLockPath(root)); len(holders) > 0 || err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a missing file has the holders %v, error %v", holders, err)
	}
	err := lockutils.RemoveExternalLockFile("..", lockutils.WithLockPath(root))
	if err == nil || !errors.Is(err, lockutils.ErrName) {
		t.Errorf("error %v", err)
	}
	err = lockutils.RemoveExternalLockFile("proc", lockutils.WithLockPath(root))
	if _, missing := os.Stat(root + "proc"); missing == nil && (err == nil || !strings.Contains(err.Error(), strconv.Quote(root+"proc"))) {
		t.Errorf("the error names another file: %v", err)
	}
}
