package lockutils_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/lockutils/lockutils"
)

func TestHoldersAreTheProcessesThatHoldTheFile(t *testing.T) {
	dir := setLockPath(t)
	want := func(opts []lockutils.Option, mode lockutils.Mode, pids ...int) {
		t.Helper()
		holders, err := lockutils.Holders("a/b", opts...)
		if err != nil {
			t.Fatal(err)
		}
		got := []int{}
		for _, h := range holders {
			got = append(got, h.PID)
			if h.Mode != mode || !strings.Contains(h.Command, filepath.Base(os.Args[0])) {
				t.Errorf("holder %+v, want mode %v and the command of a test", h, mode)
			}
		}
		slices.Sort(got)
		slices.Sort(pids)
		if !slices.Equal(got, pids) {
			t.Errorf("held by %v, want %v", got, pids)
		}
	}
	prefixed := []lockutils.Option{lockutils.WithPrefix("p")}
	me, other := os.Getpid(), startPeer(t)
	want(nil, lockutils.ModeNone)
	for _, opts := range [][]lockutils.Option{
		{lockutils.External()},
		{lockutils.External(), lockutils.Fair()},
		{lockutils.External(), lockutils.WithFcntl()},
	} {
		g, err := lockutils.Lock("a/b", opts...)
		if err != nil && unsupported(t, err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		want(nil, lockutils.ModeWriter, me)
		want(prefixed, lockutils.ModeNone)
		mustUnlock(t, g)
		want(nil, lockutils.ModeNone)
	}
	mustLock(t, "a/b", lockutils.External(), lockutils.Shared())
	g := mustLock(t, "a/b", lockutils.External(), lockutils.Shared())
	other.must("lock", "a/b", dir, "external", "shared")
	want(nil, lockutils.ModeReader, me, other.cmd.Process.Pid)
	mustUnlock(t, g)
	want(nil, lockutils.ModeReader, me, other.cmd.Process.Pid)
	other.kill()
	want(nil, lockutils.ModeReader, me)
	if _, err := lockutils.Holders("a/b", lockutils.WithDelay(-1)); !errors.Is(err, lockutils.ErrOptions) {
		t.Error(err)
	}
}

// smallDisk returns a directory on a file system with room for very few files.
func smallDisk(t testing.TB) string {
	t.Helper()
	dir := lockDir(t)
	if err := syscall.Mount("lockutils-test", dir, "tmpfs", 0, "size=64k,nr_inodes=4"); err != nil {
		skip(t, "disk", "cannot mount a file system: "+err.Error())
	}
	t.Cleanup(func() {
		noDescriptorLeft(t, dir)
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFullDiskIsAnError(t *testing.T) {
	dir := smallDisk(t)
	full := func() {
		for i := 0; ; i++ {
			err := os.WriteFile(filepath.Join(dir, fmt.Sprint("filler", i)), nil, 0o600)
			if errors.Is(err, syscall.ENOSPC) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	external, path := lockutils.External(), lockutils.WithLockPath(dir)
	full()
	for _, opts := range [][]lockutils.Option{nil, {lockutils.Shared()}, {lockutils.NonBlocking()},
		{lockutils.WithTimeout(0)}} {
		_, err := lockutils.Lock("x", append(opts, external, path)...)
		wantAcquireError(t, err, "x", filepath.Join(dir, "x"), syscall.ENOSPC)
		var inFile *fs.PathError
		if !errors.As(err, &inFile) {
			t.Errorf("error %v", err)
		}
		wantFree(t, "x")
	}
	sub := filepath.Join(dir, "sub")
	_, err := lockutils.Lock("x", external, lockutils.WithLockPath(sub))
	wantAcquireError(t, err, "x", filepath.Join(sub, "x"), syscall.ENOSPC)
	if err := os.Remove(filepath.Join(dir, "filler0")); err != nil {
		t.Fatal(err)
	}
	wantFree(t, "x", external, path)

	// The disk is full again, which matters neither to what exists nor to removal.
	full()
	wantFree(t, "x", external, path)
	if err := lockutils.RemoveExternalLockFile("x", path); err != nil {
		t.Error(err)
	}
	g := mustLock(t, "x", external, path)
	wantTaken(t, "x", external, path)
	mustUnlock(t, g)

	// There is room for the lock's file, but none for its queue.
	_, err = lockutils.Lock("x", external, path, lockutils.Fair())
	if !errors.Is(err, errors.ErrUnsupported) {
		wantAcquireError(t, err, "x", filepath.Join(dir, "x"), syscall.ENOSPC)
	}
	wantFree(t, "x", external, path)
}
