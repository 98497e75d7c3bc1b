//go:build unix && !linux

package filelock

import (
	"os"
	"testing"
)

func smallDisk(t *testing.T) string {
	t.Skip("no way to mount a small disk")
	return ""
}

func unprivileged(t *testing.T, f func()) {
	if os.Getuid() == 0 {
		t.Skip("nothing is forbidden to the superuser")
	}
	f()
}
