package prove

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// roleVariable makes the test binary another process of a trial: its value names an entry of roles.
const roleVariable = "LOCKUTILS_PROVE_ROLE"

// roles are what another process can be. It serves its standard input.
var roles = map[string]func() error{}

func TestMain(m *testing.M) {
	if name := os.Getenv(roleVariable); name != "" {
		if err := roles[name](); err != nil {
			fmt.Fprintln(os.Stderr, name+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	var run goleak.TestingM = m
	if *reportFlag != "" {
		run = reporting{m, *reportFlag}
	}
	goleak.VerifyTestMain(run)
}
