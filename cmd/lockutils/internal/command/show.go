package command

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// An output is the value of the option -o.
type output struct{ format string }

func (o *output) register(f *pflag.FlagSet, formats ...string) {
	o.format = formats[0]
	f.StringVarP(&o.format, "output", "o", formats[0], "print `FORMAT`: "+strings.Join(formats, ", "))
}

// check returns an error unless the format is one of those given.
func (o *output) check(formats ...string) error {
	for _, f := range formats {
		if o.format == f {
			return nil
		}
	}
	return usageError("--output: unknown format %q: want one of %s", o.format, strings.Join(formats, ", "))
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// A table prints columns that fit the terminal, with its heading in bold if there is one.
type table struct {
	text strings.Builder
	rows *tabwriter.Writer
}

func newTable(heading ...string) *table {
	t := new(table)
	t.rows = tabwriter.NewWriter(&t.text, 0, 0, 2, ' ', 0)
	t.row(heading...)
	return t
}

func (t *table) row(cells ...string) { fmt.Fprintln(t.rows, strings.Join(cells, "\t")) }

const bold, plain = "\x1b[1m", "\x1b[0m"

func (t *table) print(w io.Writer) error {
	t.rows.Flush()
	width, terminal := terminalWidth(w)
	colours := terminal && os.Getenv("NO_COLOR") == ""
	for i, line := range strings.Split(strings.TrimSuffix(t.text.String(), "\n"), "\n") {
		line = cut(strings.TrimRight(line, " "), width)
		if i == 0 && colours {
			line = bold + line + plain
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// terminalWidth returns the number of columns of a terminal, or 0 for all else.
func terminalWidth(w io.Writer) (width int, terminal bool) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	return width, err == nil
}

// cut shortens a line to the width, unless that is 0.
func cut(line string, width int) string {
	if runes := []rune(line); width > 1 && len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return line
}

// visible returns a name as it is if it can be read in a terminal, or else quoted.
func visible(name string) string {
	if name == "" {
		return name
	}
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

func since(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return now.Sub(t).Round(time.Second).String()
}

func pid(p Party) string {
	if p.PID == 0 {
		return "-"
	}
	return strconv.Itoa(p.PID)
}

// fullName is the name with its scope.
func (l Lock) fullName() string {
	if l.Scope == "" {
		return l.Name
	}
	return l.Scope + "-" + l.Name
}
