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

// The table of a run goes between these lines of the document.
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

// showProgress says on standard error every few seconds what is being tried.
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
		efforts.mu.Lock()
		if n := len(efforts.list); n > 0 {
			e := efforts.list[n-1]
			fmt.Fprintf(os.Stderr, "%v of about %v: %s: %s: %v\n",
				time.Since(began).Round(time.Second), *timeFlag, e.family, e.trial, e)
		}
		efforts.mu.Unlock()
	}
}

// writeTable replaces the table in the document by that of this run, if anything was tried.
func writeTable(document string) error {
	if len(efforts.list) == 0 {
		return errors.New("no trial has run: the table stays as it is")
	}
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(text, []byte(tableBegins+"\n"))
	_, after, ok2 := bytes.Cut(rest, []byte(tableEnds+"\n"))
	if !ok || !ok2 {
		return errors.New(document + " has no place for a table")
	}
	table := tableBegins + "\n" + table() + tableEnds + "\n"
	return os.WriteFile(document, slices.Concat(before, []byte(table), after), 0o644)
}

// table says what was tried, how often, and what was found.
func table() string {
	efforts.mu.Lock()
	defer efforts.mu.Unlock()
	var tried, broken []*effort
	var total time.Duration
	for _, e := range efforts.list {
		if e.family == brokenTitle {
			broken = append(broken, e)
			continue
		}
		tried = append(tried, e)
		total += e.took
	}
	slices.SortStableFunc(tried, func(a, b *effort) int { return cmp.Compare(a.family, b.family) })

	var b strings.Builder
	fmt.Fprintf(&b, "\nThis run took %v with %s on %s/%s and %d processors.\n\n",
		total.Round(time.Second), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	findings := []string{violations, overlaps, lost, hangs, leftovers}
	fmt.Fprintf(&b, "| tried | with | for | done | %s |\n", strings.Join(findings, " | "))
	fmt.Fprintf(&b, "| --- | --- | ---: | --- |%s\n", strings.Repeat(" ---: |", len(findings)))
	for _, e := range tried {
		done := cmp.Or(e.String(), "skipped")
		fmt.Fprintf(&b, "| %s | %s | %v | %s |", e.family, e.trial, e.took.Round(time.Second), done)
		for _, f := range findings {
			fmt.Fprintf(&b, " %d |", e.finding(f))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n| broken variant | caught after | having done |\n| --- | ---: | --- |\n")
	for _, e := range broken {
		caught := "not caught, as it should be"
		if e.caught() {
			caught = e.took.Round(time.Millisecond).String()
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", e.trial, caught, cmp.Or(e.String(), "one try"))
	}
	b.WriteString("\n")
	return b.String()
}

// caught reports whether anything was found.
func (e *effort) caught() bool {
	return e.finding(violations)+e.finding(overlaps)+e.finding(hangs)+e.finding(leftovers) > 0
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

// testNames returns what a line of the document names as tests: packages and functions in backquotes, as in
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

// findTest returns an error unless there is a test of that name.
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
	return fmt.Errorf("there is no test %s in package %s", name, dir)
}
