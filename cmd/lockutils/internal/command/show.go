//go:build !lockutils_split

package command

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
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
type table struct{ rows [][]string }

func newTable(heading ...string) *table { return &table{[][]string{heading}} }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

const bold, plain = "\x1b[1m", "\x1b[0m"

func (t *table) print(w io.Writer) error {
	width, terminal := terminalWidth(w)
	colours := terminal && !noColour()
	columns := t.columns(width)
	for i, row := range t.rows {
		line := format(row, columns)
		if i == 0 && colours {
			line = bold + line + plain
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// gap separates columns, and narrowest is the width below which none is cut.
const gap, narrowest = 2, 4

// columns returns the widths of the columns. If they do not fit, the widest ones become narrower.
func (t *table) columns(width int) []int {
	columns := make([]int, len(t.rows[0]))
	total := gap * (len(columns) - 1)
	for i := range columns {
		for _, row := range t.rows {
			columns[i] = max(columns[i], runewidth.StringWidth(row[i]))
		}
		total += columns[i]
	}
	for ; width > 0 && total > width; total-- {
		widest := slices.Index(columns, slices.Max(columns))
		if columns[widest] <= narrowest {
			break
		}
		columns[widest]--
	}
	return columns
}

// format returns the line of a row, with each cell as wide as its column.
func format(row []string, columns []int) string {
	var line strings.Builder
	for i, cell := range row {
		cell = runewidth.Truncate(cell, columns[i], "…")
		if i < len(row)-1 {
			cell = runewidth.FillRight(cell, columns[i]+gap)
		}
		line.WriteString(cell)
	}
	return strings.TrimRight(line.String(), " ")
}

// noColour reports whether the user wants no colours, as https://no-color.org has it.
func noColour() bool { return os.Getenv("NO_COLOR") != "" }

// terminalWidth returns the number of columns of a terminal, or 0 for all else. As with ps(1), the
// environment variable COLUMNS goes before both.
func terminalWidth(w io.Writer) (width int, terminal bool) {
	if f, ok := w.(*os.File); ok {
		n, _, err := term.GetSize(int(f.Fd()))
		width, terminal = n, err == nil
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		width = n
	}
	return width, terminal
}

func isTerminal(w io.Writer) bool {
	_, terminal := terminalWidth(w)
	return terminal
}

// since says how long ago t was, as exactly as that is of use.
func since(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "-"
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
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
