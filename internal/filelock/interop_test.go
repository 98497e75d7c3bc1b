package filelock

import (
	"os/exec"
	"testing"
)

// pythonPath is the interpreter that sees the packages of the distribution.
const pythonPath = "/usr/bin/python3"

// python skips the test unless the Python programs that share lock files with this package are installed.
func python(t testing.TB) {
	t.Helper()
	if err := exec.Command(pythonPath, "-c", "import oslo_concurrency, fasteners, filelock").Run(); err != nil {
		t.Skip("python3-oslo.concurrency, python3-fasteners and python3-filelock are not installed")
	}
}
