package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
)

// page is the document that has the tables, in the directory of documents.
const page = "across-hosts.md"

// The table of an engine is between these lines of the page.
const (
	tableBegins = "<!-- the table of %s: written by make bench-hosts -->\n"
	tableEnds   = "<!-- the end of the table -->\n"
)

// writePage replaces the table of an engine.
func writePage(file, engine, table string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begins := fmt.Sprintf(tableBegins, engine)
	before, rest, found := strings.Cut(string(text), begins)
	_, after, ended := strings.Cut(rest, tableEnds)
	if !found || !ended {
		return fmt.Errorf("%s has no place for the table of %s", file, engine)
	}
	return os.WriteFile(file, []byte(before+begins+"\n"+table+"\n"+tableEnds+after), 0o644)
}

func writeHead(out io.Writer, e engine) {
	fmt.Fprint(out, "| |")
	for _, c := range e.contenders {
		fmt.Fprintf(out, " %s |", c.name)
	}
	fmt.Fprint(out, "\n| --- |", strings.Repeat(" ---: |", len(e.contenders)), "\n")
}

// write writes a row for each figure.
func (r result) write(out io.Writer, x scenario) {
	for i, f := range x.figures {
		fmt.Fprintf(out, "| %s |", f.name)
		for _, values := range r.of(i) {
			fmt.Fprintf(out, " %s |", f.cell(values))
		}
		fmt.Fprintln(out)
	}
}

// cell returns the text for the values of the rounds.
func (f figure) cell(values []float64) string {
	if len(values) == 0 {
		return "failed"
	}
	v := median(values)
	switch {
	case math.IsNaN(v):
		return f.none
	case math.IsInf(v, 1):
		return fmt.Sprintf("not within %.0f", grantTime.Seconds())
	case v < 0: // two had the lock
		return "**" + format(v) + "**"
	}
	return format(v)
}
