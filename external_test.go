package lockutils_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/lockutils/lockutils"
)

func TestNoLockPathIsAnError(t *testing.T) {
	_, err := lockutils.Lock("x", lockutils.External())
	wantAcquireError(t, err, "x", "", lockutils.ErrLockPath)
	_, err = lockutils.ExternalLock("x")
	wantAcquireError(t, err, "x", "", lockutils.ErrLockPath)
	_, err = lockutils.TryLock("x", lockutils.External(), lockutils.WithLockPath(""))
	wantAcquireError(t, err, "x", "", lockutils.ErrLockPath)
	wantError(t, lockutils.RemoveExternalLockFile("x"), lockutils.ErrLockPath)
	_, err = lockutils.RemoveExternalLockFiles(0)
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

func TestRelativeLockPathStartsAtTheWorkingDirectory(t *testing.T) {
	dir := lockDir(t)
	t.Chdir(dir)
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if path := pathOf(t, "x", lockutils.WithLockPath("a/../b")); path != filepath.Join(wd, "b", "x") {
		t.Errorf("path %q", path)
	}
	if path := lockutils.NewInterProcessLock("c").Path(); path != filepath.Join(wd, "c") {
		t.Errorf("path %q", path)
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
			if removed, err := lockutils.RemoveExternalLockFiles(0, lockutils.WithPrefix("x")); removed != 0 || err != nil {
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
		_, err = lockutils.RemoveExternalLockFiles(0, opts...)
		if !errors.As(err, &inFile) {
			t.Errorf("sweep: %v", err)
		}
		if err := lockutils.RemoveExternalLockFile("x", append(opts, lockutils.WithLogging(false))...); !errors.As(err, &inFile) {
			t.Errorf("remove: %v", err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	wantFree(t, "x", lockutils.External(), lockutils.WithLockPath(file))
}
