package prove

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// roleVariable makes the test binary act as another process of a trial. Its value names an entry of
// roles.
const roleVariable = "LOCKUTILS_PROVE_ROLE"

// roles maps names to what another process does. It serves requests from its standard input.
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
