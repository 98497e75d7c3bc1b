package prove

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// The table of a run stands between these lines of the document.
const (
	tableBegins = "<!-- the table of a run: written by make prove -->"
	tableEnds   = "<!-- the end of the table -->"
)

// reporting is a test run that shows its progress and writes its table.
type reporting struct {
	*testing.M
	document string
}

func (r reporting) Run() int {
	stop := make(chan struct{})
	go showProgress(stop)
	code := r.M.Run()
	close(stop)
	if err := writeTable(r.document); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// showProgress writes the current trial to standard error every few seconds.
func showProgress(stop <-chan struct{}) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		allStats.mu.Lock()
		if n := len(allStats.list); n > 0 {
			st := allStats.list[n-1]
			fmt.Fprintf(os.Stderr, "%v of about %v: %s: %s: %v\n",
				time.Since(began).Round(time.Second), *timeFlag, st.family, st.trial, st)
		}
		allStats.mu.Unlock()
	}
}

// writeTable replaces the table in the document by that of this run. It fails if no trial ran.
func writeTable(document string) error {
	if len(allStats.list) == 0 {
		return errors.New("no trial has run: the table is unchanged")
	}
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(text, []byte(tableBegins+"\n"))
	_, after, ok2 := bytes.Cut(rest, []byte(tableEnds+"\n"))
	if !ok || !ok2 {
		return errors.New(document + " has no lines that mark the table")
	}
	table := tableBegins + "\n" + table() + tableEnds + "\n"
	return os.WriteFile(document, slices.Concat(before, []byte(table), after), 0o644)
}

// table returns the table: what was tried, how often, and what was found.
func table() string {
	allStats.mu.Lock()
	defer allStats.mu.Unlock()
	var tried, broken []*stats
	var total time.Duration
	for _, st := range allStats.list {
		if st.family == mutantTitle {
			broken = append(broken, st)
			continue
		}
		tried = append(tried, st)
		total += st.took
	}
	slices.SortStableFunc(tried, func(a, b *stats) int { return cmp.Compare(a.family, b.family) })

	var b strings.Builder
	fmt.Fprintf(&b, "\nThis run took %v with %s on %s/%s and %d processors.\n\n",
		total.Round(time.Second), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	findings := []string{violations, overlaps, lost, hangs, leftovers}
	fmt.Fprintf(&b, "| tried | with | for | done | %s |\n", strings.Join(findings, " | "))
	fmt.Fprintf(&b, "| --- | --- | ---: | --- |%s\n", strings.Repeat(" ---: |", len(findings)))
	for _, st := range tried {
		done := cmp.Or(st.String(), "skipped")
		fmt.Fprintf(&b, "| %s | %s | %v | %s |", st.family, st.trial, st.took.Round(time.Second), done)
		for _, f := range findings {
			fmt.Fprintf(&b, " %d |", st.finding(f))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n| mutant | caught after | having done |\n| --- | ---: | --- |\n")
	for _, st := range broken {
		caught := "not caught, as it should be"
		if st.caught() {
			caught = st.took.Round(time.Millisecond).String()
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", st.trial, caught, cmp.Or(st.String(), "one try"))
	}
	b.WriteString("\n")
	return b.String()
}

// caught reports whether anything was found.
func (st *stats) caught() bool {
	return st.finding(violations)+st.finding(overlaps)+st.finding(hangs)+st.finding(leftovers) > 0
}

// TestEachPromiseHasItsTest checks that the tests that the document names exist.
func TestEachPromiseHasItsTest(t *testing.T) {
	const root = "../.."
	text, err := os.ReadFile(filepath.Join(root, "docs", "reliability.md"))
	if err != nil {
		t.Fatal(err)
	}
	promises := 0
	for line := range strings.Lines(string(text)) {
		for _, name := range testNames(line) {
			promises++
			if err := findTest(root, name); err != nil {
				t.Error(err)
			}
		}
	}
	if promises == 0 {
		t.Error("the document names no tests")
	}
}

// testNames returns the tests that a line of the document names in backquotes, as in
// `internal/queue: TestSomething`.
func testNames(line string) (names []string) {
	for i, quoted := range strings.Split(line, "`") {
		_, name, ok := strings.Cut(quoted, ": ")
		if i%2 == 1 && ok && (strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz")) {
			names = append(names, quoted)
		}
	}
	return names
}

// findTest returns an error unless the test exists.
func findTest(root, quoted string) error {
	dir, name, _ := strings.Cut(quoted, ": ")
	files, err := filepath.Glob(filepath.Join(root, strings.TrimPrefix(dir, "lockutils"), "*_test.go"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if bytes.Contains(text, []byte("\nfunc "+name+"(")) {
			return nil
		}
	}
	return fmt.Errorf("no test %s in package %s", name, dir)
}
