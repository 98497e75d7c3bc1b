package main

import (
	"os"
	"strings"
	"testing"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/examples/project/internal/locks"
)

func TestRun(t *testing.T) {
	t.Cleanup(func() { lockutils.SetDefaults("") })
	var out strings.Builder
	if err := run(&out, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	const want = `the firewall was changed 20 times, 0 times concurrently
vol-1 is held by both projects: project-vol-1 and other-vol-1
its lock file cannot be removed while it is held
before cleaning up: other-vol-1, project-firewall, project-vol-1
after cleaning up:  other-vol-1, project-firewall
`
	if out.String() != want {
		t.Errorf("printed\n%swant\n%s", &out, want)
	}
}

// Locks without External create no file.
func TestLocksWithinTheProcess(t *testing.T) {
	dir := t.TempDir()
	lockutils.SetDefaults(dir)
	t.Cleanup(func() { lockutils.SetDefaults("") })
	guard, err := locks.Lock("name")
	if err != nil {
		t.Fatal(err)
	}
	if err := guard.Unlock(); err != nil {
		t.Fatal(err)
	}
	ran := false
	if err := locks.Synchronized("name", func() error { ran = true; return nil })(); err != nil || !ran {
		t.Errorf("ran %v, error %v", ran, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("files %v, error %v", left, err)
	}
}
