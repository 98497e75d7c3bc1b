package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// A tally collects the reports of the workers.
type tally []demand

// A demand collects the reports about one image.
type demand struct {
	asked    int
	builders []int // numbers of the workers that built it or tried to
	longest  time.Duration
	sums     []string // of the archives that were read
	failures []string
}

func newTally(images int) tally {
	return make(tally, images)
}

func (t tally) add(o outcome) {
	d := &t[o.Image]
	d.asked++
	d.longest = max(d.longest, o.Visit.Waited)
	if o.Visit.Built {
		d.builders = append(d.builders, o.Worker)
	}
	if o.Failed != "" {
		d.failures = append(d.failures, o.Failed)
	} else {
		d.sums = append(d.sums, o.Visit.Sum)
	}
}

// A report is the outcome of the work, with the proof.
type report struct {
	protection protection
	rows       []row // the most remarkable first
	lost       []error
	took       time.Duration
}

// A row is about one image.
type row struct {
	demand
	name   string
	size   int64 // of the archive; 0 if there is none
	builds int   // according to the log
	torn   int   // reads that match no build
}

func newReport(
	j job, t tally, log map[string][]build, workerFailures []error, took time.Duration,
) report {
	r := report{protection: j.Protection, took: took}
	c := cache{directory: j.Directory}
	for i, img := range j.Images {
		builds := log[img.key()]
		entry := row{demand: t[i], name: img.Name, builds: len(builds)}
		if info, err := os.Stat(c.path(img)); err == nil {
			entry.size = info.Size()
		}
		for _, sum := range entry.sums {
			if !slices.ContainsFunc(builds, func(b build) bool { return b.Sum == sum }) {
				entry.torn++
			}
		}
		r.rows = append(r.rows, entry)
	}
	slices.SortStableFunc(r.rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(b.torn, a.torn), cmp.Compare(b.builds, a.builds),
			cmp.Compare(b.longest, a.longest))
	})
	for _, err := range workerFailures {
		if err != nil {
			r.lost = append(r.lost, err)
		}
	}
	return r
}

// sum adds up a figure of all rows.
func (r report) sum(figure func(row) int) int {
	total := 0
	for _, entry := range r.rows {
		total += figure(entry)
	}
	return total
}

// count returns the number of rows that meet the condition.
func (r report) count(condition func(row) bool) int {
	return r.sum(func(entry row) int {
		if condition(entry) {
			return 1
		}
		return 0
	})
}

func (r report) builtOnce() bool {
	return r.count(func(entry row) bool { return entry.builds == 1 }) == len(r.rows)
}

func (r report) torn() int {
	return r.sum(func(entry row) int { return entry.torn })
}

func (r report) failed() int {
	return r.sum(func(entry row) int { return len(entry.failures) })
}

// failure returns nil if every archive was built exactly once and every request read it whole.
func (r report) failure() error {
	switch {
	case !r.builtOnce():
		return errors.New("not every archive was built exactly once")
	case r.torn() > 0:
		return errors.New("torn archives were read")
	case r.failed() > 0:
		return errors.New("requests failed")
	}
	return nil
}

// shownRows is the number of archives in the table.
const shownRows = 15

// print writes the table, the totals and the proof.
func (r report) print(w io.Writer) error {
	out := &strings.Builder{}
	r.printTable(out)
	r.printTotals(out)
	_, err := io.WriteString(w, out.String())
	return err
}

func (r report) printTable(out io.Writer) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ARCHIVE\tSIZE\tBUILT BY WORKER\tREQUESTS\tBUILDS\tTORN READS\tLONGEST WAIT")
	for _, entry := range r.rows[:min(shownRows, len(r.rows))] {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\t%s\n", shorten(entry.name), size(entry.size),
			numbers(entry.builders), entry.asked, entry.builds, entry.torn,
			entry.longest.Round(100*time.Microsecond))
	}
	table.Flush()
	if more := len(r.rows) - shownRows; more > 0 {
		fmt.Fprintf(out, "... and %d more\n", more)
	}
	fmt.Fprintln(out)
}

func (r report) printTotals(out io.Writer) {
	builds := r.sum(func(entry row) int { return entry.builds })
	missing := r.count(func(entry row) bool { return entry.builds == 0 })
	repeated := r.count(func(entry row) bool { return entry.builds > 1 })
	needed := len(r.rows) - missing

	for _, err := range r.lost {
		fmt.Fprintf(out, "lost             %v\n", err)
	}
	fmt.Fprintf(out, "requests         %d in %s\n",
		r.sum(func(entry row) int { return entry.asked }), r.took.Round(time.Millisecond))
	fmt.Fprintf(out, "failed requests  %d\n", r.failed())
	if reason := r.exampleOfFailure(); reason != "" {
		fmt.Fprintf(out, "                 for example %s\n", reason)
	}
	fmt.Fprintf(out, "builds           %d of %d archives, %d of them redundant\n", builds,
		len(r.rows), builds-needed)
	fmt.Fprintf(out, "torn archives    read %d times, of %d archives\n", r.torn(),
		r.count(func(entry row) bool { return entry.torn > 0 }))
	if r.builtOnce() {
		fmt.Fprintf(out, "\nbuilt once = yes (%d archives, %d lines in the build log)\n", len(r.rows), builds)
		return
	}
	fmt.Fprintf(out, "\nbuilt once = no (%d archives were built more than once, %d never)\n",
		repeated, missing)
}

func (r report) exampleOfFailure() string {
	for _, entry := range r.rows {
		if len(entry.failures) > 0 {
			return entry.failures[0]
		}
	}
	return ""
}

// shorten keeps the end of a long name, which is more telling, and drops control characters.
func shorten(name string) string {
	const most = 40
	runes := []rune(name)
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = '?'
		}
	}
	if len(runes) > most {
		return "..." + string(runes[len(runes)-most+3:])
	}
	return string(runes)
}

func numbers(of []int) string {
	if len(of) == 0 {
		return "-"
	}
	return strings.Trim(fmt.Sprint(slices.Sorted(slices.Values(of))), "[]")
}

// size formats a number of bytes.
func size(bytes int64) string {
	switch {
	case bytes >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(bytes)/1e9)
	case bytes >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
	case bytes >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(bytes)/1e3)
	}
	return fmt.Sprintf("%d B", bytes)
}
