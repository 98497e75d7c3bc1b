package prove

import (
	"cmp"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Locks at services are tried by the suite of drivers, drivertest, in the module of each driver:
// histories of clients, and a ledger behind a fence while the connections of its keepers are cut,
// frozen and delayed. Modules of drivers import this one, so their tests run as programs.

var servicesFlag = flag.Bool("prove.services", false, "run the trials of lock services too")

var lockServices = trials("processes at a lock service, cut off and frozen",
	driverTrial("etcd", "etcdlock"),
	driverTrial("PostgreSQL", "pglock"),
	driverTrial("Redis", "redislock"),
)

func init() { lockServices.only = servicesFlag }

// Without the flag there is nothing to do: the tests of the modules run the suite too.
func TestLockServicesBearDisturbances(t *testing.T) {
	if lockServices.runs() {
		lockServices.run(t)
	}
}

func driverTrial(service, module string) trial {
	return trial{service, 8, func(t *testing.T, st *stats) { suiteUntilEnd(t, st, module) }}
}

// suiteUntilEnd runs the suite of a driver and counts what it reports.
func suiteUntilEnd(t *testing.T, st *stats, module string) {
	directory, err := filepath.Abs(filepath.Join("..", "..", "drivers", module))
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), module+".test")
	build := exec.Command(cmp.Or(os.Getenv("GO"), "go"), "test", "-c", "-o", program, ".")
	build.Dir = directory
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Until(st.end)+10*time.Minute)
	defer cancel()
	suite := exec.CommandContext(ctx, program, "-test.v", "-test.run", "^TestSuite$/^(History|Ledger)$",
		"-drivertest.seed", strconv.FormatUint(st.seed, 10),
		"-drivertest.time", max(time.Until(st.end), time.Second).String())
	suite.Dir = directory
	out, err := suite.CombinedOutput()
	text := string(out)
	for what, n := range suiteCounts(text) {
		st.count(what, n)
	}
	switch {
	case err != nil:
		st.found(t, suiteFinding(text), 1, "%v: %v\n%s", suite, err, text)
	case strings.Contains(text, "--- SKIP"):
		t.Skip(text)
	}
}

var suiteCount = regexp.MustCompile(`(\d+) (` +
	strings.Join([]string{histories, operations, cuts, updates, refused}, "|") + `)\b`)

// suiteCounts returns what the suite says that it has done.
func suiteCounts(text string) map[string]int {
	counts := map[string]int{}
	for _, m := range suiteCount.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		counts[m[2]] += n
	}
	return counts
}

// suiteFinding returns the name of what the suite has found.
func suiteFinding(text string) string {
	for _, f := range []struct{ says, finding string }{
		{"is granted the lock beside", overlaps},
		{"updates were undone", lost},
		{"found unexpected goroutines", leftovers},
		{"context deadline exceeded", hangs},
	} {
		if strings.Contains(text, f.says) {
			return f.finding
		}
	}
	return violations
}

func TestReportOfTheSuiteIsRead(t *testing.T) {
	counts := suiteCounts("a.go:1: 12 histories, 345 operations\nb.go:2: 7 disturbances, 88 updates, " +
		"9 late updates refused\n")
	for what, want := range map[string]int{histories: 12, operations: 345, cuts: 7, updates: 88, refused: 9} {
		if counts[what] != want {
			t.Errorf("%d %s, want %d", counts[what], what, want)
		}
	}
	for text, want := range map[string]string{
		"process 1 is granted the lock beside process 2": overlaps,
		"2 updates were undone by later writes":          lost,
		"no lock has this history":                       violations,
	} {
		if got := suiteFinding(text); got != want {
			t.Errorf("%q is counted among %s, want %s", text, got, want)
		}
	}
}
