package lockdebug

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"ago":      ago,
	"bars":     bars,
	"css":      func() template.CSS { return template.CSS(style) },
	"js":       func() template.JS { return template.JS(script) },
	"limits":   func() any { return limits },
	"message":  message,
	"min":      func(a, b int) int { return min(a, b) },
	"more":     more,
	"percent":  percentile,
	"seconds":  seconds,
	"visible":  visible,
	"waitedBy": waitedBy,
}).Parse(pageText))

func writePage(w io.Writer, r *Report) error { return page.Execute(w, r) }

// limits bound the page and the text, however much there is to show. They bound the characters of a
// name or a message, and the elements of one list.
var limits = struct{ Name, Message, Locks, Holders, Waiters, Holds, Members, Files, Processes int }{
	Name: 300, Message: 3000,
	Locks: 100, Holders: 20, Waiters: 20, Holds: 20, Members: 20, Files: 100, Processes: 20,
}

// more says how many elements of a list exceed a limit, or "" if there are none.
func more(n, limit int) string {
	if n <= limit {
		return ""
	}
	return fmt.Sprintf("and %d more", n-limit)
}

// visible returns a name as it is if it can be read, or else quoted. Names come from users: they
// may hold control characters, or such as turn the direction of writing. A long one is cut.
func visible(name string) string { return readable(name, limits.Name) }

func message(text string) string { return readable(text, limits.Message) }

func readable(text string, limit int) string {
	cut := ""
	if len(text) > limit {
		for !utf8.RuneStart(text[limit]) && limit > 0 {
			limit--
		}
		text, cut = text[:limit], fmt.Sprintf("… (%d bytes)", len(text))
	}
	if text == "" || strings.ContainsFunc(text, func(r rune) bool {
		return !strconv.IsPrint(r) || r == '\uFFFD'
	}) {
		return strconv.Quote(text) + cut
	}
	return text + cut
}

// seconds returns a duration with three significant digits.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d <= 0 {
		return "0"
	}
	unit := math.Pow10(max(0, int(math.Log10(float64(d)))-2))
	return time.Duration(math.Round(float64(d)/unit) * unit).String()
}

// ago returns how long before now something was, or "" if that is not known.
func ago(now, then time.Time) string {
	if then.IsZero() {
		return ""
	}
	return seconds(now.Sub(then).Seconds()) + " ago"
}

// waitedBy returns the number of waiters in words.
func waitedBy(n int) string {
	if n == 1 {
		return "1 waiter"
	}
	return fmt.Sprintf("%d waiters", n)
}

// A bar is one column of the picture of a histogram, in a box that is 20 high.
type bar struct {
	X, Y, Height int
	Label        string
}

const barsHeight, barWidth = 20, 6

// bars draws a histogram. Heights grow with the logarithm of the counts, so that one slow wait
// beside a million quick ones is seen.
func bars(h Histogram) []bar {
	var highest float64
	for _, n := range h.Counts {
		highest = max(highest, math.Log1p(float64(n)))
	}
	if highest == 0 {
		return nil
	}
	found := make([]bar, 0, len(h.Counts))
	for i, n := range h.Counts {
		height := int(math.Ceil(barsHeight * math.Log1p(float64(n)) / highest))
		found = append(found, bar{
			X: i * barWidth, Y: barsHeight - height, Height: height,
			Label: fmt.Sprintf("%s: %d", bucket(h, i), n),
		})
	}
	return found
}

// bucket names the durations that Counts[i] counts.
func bucket(h Histogram, i int) string {
	switch {
	case i < len(h.Bounds):
		return "up to " + seconds(h.Bounds[i])
	case i > 0 && i <= len(h.Bounds):
		return "over " + seconds(h.Bounds[i-1])
	}
	return "all"
}

// percentile returns the bucket in which the given part of all durations ends, or "" for none.
func percentile(h Histogram, part float64) string {
	var total, seen uint64
	for _, n := range h.Counts {
		total += n
	}
	if total == 0 {
		return ""
	}
	rank := uint64(math.Ceil(part * float64(total)))
	for i, n := range h.Counts {
		if seen += n; seen >= rank {
			return bucket(h, i)
		}
	}
	return ""
}
