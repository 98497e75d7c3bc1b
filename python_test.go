package lockutils_test

import (
	"os/exec"
	"testing"
)

// python is the interpreter that sees the distribution's packages.
const python = "/usr/bin/python3"

// needPython skips the test unless the interpreter has these modules.
func needPython(t testing.TB, suite string, modules ...string) {
	t.Helper()
	for _, module := range modules {
		if exec.Command(python, "-c", "import "+module).Run() != nil {
			skip(t, suite, python+" has no module "+module)
		}
	}
}
