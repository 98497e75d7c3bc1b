package lockutils_test

import (
	"os"
	"syscall"
	"testing"
)

// bindMount mounts dir at other as well, if this process may do that.
func bindMount(t *testing.T, dir, other string) {
	err := os.Mkdir(other, 0o755)
	if err == nil {
		err = syscall.Mount(dir, other, "", syscall.MS_BIND, "")
	}
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(other, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
