package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lockutils/lockutils/bench/internal/chart"
)

// A report is the content of docs/benchmarks.md.
type report struct {
	results []result
	budget  budget
	elapsed time.Duration
	machine []fact
}

// A fact is one line about the machine or the versions.
type fact struct{ what, value string }

// writeReport writes benchmarks.md and its charts into dir.
func writeReport(dir string, r report) error {
	charts := filepath.Join(dir, "charts")
	if err := os.MkdirAll(charts, 0o755); err != nil {
		return err
	}
	for _, result := range r.results {
		file := filepath.Join(charts, result.key+".svg")
		if err := chart.Write(file, []chart.Panel{newPanel(result, nil)}); err != nil {
			return err
		}
	}
	if panels := overview(r.results); len(panels) > 0 {
		if err := chart.Write(filepath.Join(charts, overviewName+".svg"), panels); err != nil {
			return err
		}
	}
	var text strings.Builder
	r.write(&text)
	return os.WriteFile(filepath.Join(dir, "benchmarks.md"), []byte(text.String()), 0o644)
}

const opening = `# Benchmarks

This library compared with its peers: the same work, in one run on one machine. The program in
[bench](../bench) measured and wrote this page; %s runs it.

A scenario compares several locks in one respect. In each of the %d rounds each lock has one turn. Each
round begins with another lock, so that a disturbance of the machine affects all alike. The tables
give the median of the rounds, their range, and medians of the ratios within each round: to the
scenario's yardstick and to this library, whose rows are in bold. Rates have "a second" in the
heading; for them, more is better. An operation is one acquisition and its release. It goes through
one indirect call, whose cost the row "nothing" shows. Absolute figures depend on the machine;
ratios depend on it less.

`

// write writes the document.
func (r report) write(out io.Writer) {
	fmt.Fprintf(out, opening, "`make bench`", r.budget.rounds)
	if len(overview(r.results)) > 0 {
		fmt.Fprintf(out, "![This library and its peers](charts/%s.svg)\n\n", overviewName)
	}

	fmt.Fprint(out, "## Machine and versions\n\n| | |\n| --- | --- |\n")
	for _, f := range r.machine {
		fmt.Fprintf(out, "| %s | %s |\n", f.what, f.value)
	}
	fmt.Fprintf(out, "| the run | %d rounds, %v in all |\n\n", r.budget.rounds, r.elapsed.Round(time.Second))
	fmt.Fprintln(out, absentPeers)

	fmt.Fprint(
		out,
		"\n## Goals\n\nThe goals of this library. Ratios are medians of the ratios within each round.\n\n"+
			"| goal | target | measured | met |\n| --- | --- | --- | --- |\n",
	)
	for _, g := range goals() {
		i := slices.IndexFunc(r.results, func(r result) bool { return r.key == g.key })
		if i < 0 {
			continue
		}
		if v, ok := g.judge(r.results[i]); ok {
			fmt.Fprintf(out, "| %s | %s | %s | %s |\n", v.what, v.target, v.measured, v.met)
		}
	}
	for _, result := range r.results {
		fmt.Fprintf(out, "\n## %s\n\n%s\n\n![%s](charts/%s.svg)\n\n", capital(result.title),
			result.about, capital(result.title), result.key)
		result.writeTable(out)
	}
}

const absentPeers = "Not measured, because the Go module proxy has no release of it: `MutexMap` and " +
	"`RWMutexMap` of moby/locker (its second version, whose design the rows \"counted map\" follow) " +
	"and im7mortal/kmutex (containerd's `kmutex` has the same design)."

// capital returns text with its first letter in upper case.
func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// writeTables writes the tables alone, for a terminal.
func writeTables(out io.Writer, results []result) error {
	for _, r := range results {
		var table strings.Builder
		r.writeTable(&table)
		if _, err := fmt.Fprintf(out, "\n%s\n\n%s", capital(r.title), table.String()); err != nil {
			return err
		}
	}
	return nil
}

// writeTable writes the rows, best first.
func (r result) writeTable(out io.Writer) {
	yardstick, measured := r.row(r.yardstick)
	measured = measured && yardstick.err == nil
	ours, _ := r.row(r.ours)

	first := r.metrics[0]
	heads := []string{"lock", first.heading(), "range"}
	if measured {
		heads = append(heads, "to "+r.yardstick)
	}
	related := first.unit != bytesKept // no ratio of two values near zero means anything
	if related {
		heads = append(heads, "to "+r.ours)
	}
	for _, m := range r.metrics[1:] {
		heads = append(heads, m.heading())
	}
	heads = append(heads, "note")
	lines := [][]string{heads}
	for _, row := range r.ranking() {
		name := row.name
		if row.mine {
			name = "**" + name + "**"
		}
		if row.err != nil {
			lines = append(
				lines,
				append([]string{name}, append(slices.Repeat([]string{"–"}, len(heads)-2), reason(row.err))...),
			)
			continue
		}
		values := row.values(0)
		line := []string{
			name,
			first.unit.format(median(values)),
			first.unit.format(slices.Min(values)) + " … " + first.unit.format(slices.Max(values)),
		}
		if measured {
			line = append(line, row.formatRatio(yardstick))
		}
		if related {
			line = append(line, row.formatRatio(ours))
		}
		for i, m := range r.metrics[1:] {
			line = append(line, m.unit.format(median(row.values(i+1))))
		}
		lines = append(lines, append(line, row.note))
	}
	writeMarkdown(out, lines)
}

// formatRatio formats the ratio of the first metric to that of another row.
func (r row) formatRatio(other row) string {
	ratio, ok := r.ratio(other, 0)
	if !ok {
		return "–"
	}
	return formatRatio(ratio)
}

// heading returns the column heading of the metric.
func (m metric) heading() string {
	if m.unit == perSecond {
		return m.name + " a second"
	}
	return m.name
}

// ranking returns the rows, best first and those without values last.
func (r result) ranking() []row {
	more := r.metrics[0].unit.moreIsBetter()
	rows := slices.Clone(r.rows)
	slices.SortStableFunc(rows, func(a, b row) int {
		switch {
		case a.err != nil || b.err != nil:
			return cmp.Compare(asNumber(a.err != nil), asNumber(b.err != nil))
		case more:
			return cmp.Compare(median(b.values(0)), median(a.values(0)))
		}
		return cmp.Compare(median(a.values(0)), median(b.values(0)))
	})
	return rows
}

func asNumber(b bool) int {
	if b {
		return 1
	}
	return 0
}

// reason says why a row has no values.
func reason(err error) string {
	if errors.Is(err, errAbsent) {
		return strings.TrimPrefix(err.Error(), errAbsent.Error()+": ")
	}
	return "failed: " + err.Error()
}

// writeMarkdown writes a table whose first line is the heading. All columns but the outer ones are
// right-aligned.
func writeMarkdown(out io.Writer, lines [][]string) {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for n, line := range lines {
		for i, cell := range line {
			space := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i == 0 || i == len(line)-1 {
				fmt.Fprintf(out, "| %s%s ", cell, space)
			} else {
				fmt.Fprintf(out, "| %s%s ", space, cell)
			}
		}
		fmt.Fprintln(out, "|")
		if n == 0 {
			for i, width := range widths {
				end := ":"
				if i == 0 || i == len(widths)-1 {
					end = "-"
				}
				fmt.Fprintf(out, "| %s%s ", strings.Repeat("-", max(2, width-1)), end)
			}
			fmt.Fprintln(out, "|")
		}
	}
}
