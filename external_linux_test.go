package lockutils_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
