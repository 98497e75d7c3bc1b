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

	"github.com/gdamore/tcell/v2"
	"github.com/rivo/tview"
	"github.com/spf13/cobra"
)

func newTop(s streams) *cobra.Command {
	var o lookOptions
	var interval time.Duration
	var out output
	cmd := &cobra.Command{
		Use:   "top [options]",
		Short: "Show the locks live, on a page of the terminal",
		Long: "Top shows what ls shows, and refreshes it. Keys: q quits, s changes the order, / filters\n" +
			"by name, r refreshes at once, the arrows scroll. With -o json it prints a line for each\n" +
			"refresh.",
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if interval < 100*time.Millisecond {
				return usageError("--interval: want at least 100ms")
			}
			if err := out.check("page", "json"); err != nil {
				return err
			}
			if out.format == "page" && !isTerminal(s.out) {
				return usageError("top needs a terminal: use ls, or -o json, for a pipe or a file")
			}
			src, err := o.open()
			if err != nil {
				return err
			}
			defer src.close()
			look := func() ([]Lock, error) { return o.order(src.read()) }
			if out.format == "json" {
				return writeLines(s.out, look, interval)
			}
			return newMonitor(look, interval).run()
		},
	}
	o.register(cmd.Flags())
	out.register(cmd.Flags(), "page", "json")
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "refresh every `TIME`")
	return cmd
}

// writeLines prints a line of JSON for each refresh, until the reader or a signal ends it.
func writeLines(w io.Writer, look func() ([]Lock, error), interval time.Duration) error {
	for encoder := json.NewEncoder(w); ; time.Sleep(interval) {
		locks, err := look()
		if err != nil {
			return err
		}
		if err := encoder.Encode(orEmpty(locks)); err != nil {
			return err
		}
	}
}

// orders are the ways to sort the page, the first one at the start.
var orders = []struct {
	name    string
	compare func(a, b Lock) int
}{
	{"waiters", func(a, b Lock) int {
		if d := len(b.Waiters) - len(a.Waiters); d != 0 {
			return d
		}
		return compareLocks(a, b)
	}},
	{"name", func(a, b Lock) int { return strings.Compare(a.fullName(), b.fullName()) }},
	{"last used", func(a, b Lock) int { return b.LastUsed.Compare(a.LastUsed) }},
}

// A monitor is the page of top. All but look runs in the application's goroutine.
type monitor struct {
	look     func() ([]Lock, error)
	interval time.Duration

	app    *tview.Application
	table  *tview.Table
	status *tview.TextView
	filter *tview.InputField
	pages  *tview.Flex

	locks []Lock
	err   error
	order int
	now   chan struct{} // asks for a refresh
}

func newMonitor(look func() ([]Lock, error), interval time.Duration) *monitor {
	m := &monitor{
		look: look, interval: interval, app: tview.NewApplication(),
		table:  tview.NewTable().SetFixed(1, 0).SetSelectable(true, false),
		status: tview.NewTextView(),
		filter: tview.NewInputField().SetLabel("filter: "),
		now:    make(chan struct{}, 1),
	}
	m.filter.SetChangedFunc(func(string) { m.draw() })
	m.filter.SetDoneFunc(func(key tcell.Key) {
		if key == tcell.KeyEscape {
			m.filter.SetText("")
		}
		m.pages.ResizeItem(m.filter, 0, 0)
		m.app.SetFocus(m.table)
	})
	m.table.SetInputCapture(m.key)
	m.pages = tview.NewFlex().SetDirection(tview.FlexRow).
		AddItem(m.status, 1, 0, false).
		AddItem(m.filter, 0, 0, false).
		AddItem(m.table, 0, 1, true)
	m.app.SetRoot(m.pages, true)
	return m
}

// run shows the page until the user quits.
func (m *monitor) run() error {
	quit := make(chan struct{})
	defer close(quit)
	go m.refresh(quit)
	return m.app.Run()
}

// refresh looks at the locks again and again.
func (m *monitor) refresh(quit <-chan struct{}) {
	ticker := time.NewTicker(m.interval)
	defer ticker.Stop()
	for {
		locks, err := m.look()
		m.app.QueueUpdateDraw(func() {
			m.locks, m.err = locks, err
			m.draw()
		})
		select {
		case <-ticker.C:
		case <-m.now:
		case <-quit:
			return
		}
	}
}

func (m *monitor) key(event *tcell.EventKey) *tcell.EventKey {
	switch event.Rune() {
	case 'q':
		m.app.Stop()
	case 's':
		m.order = (m.order + 1) % len(orders)
		m.draw()
	case '/':
		m.pages.ResizeItem(m.filter, 1, 0)
		m.app.SetFocus(m.filter)
	case 'r':
		select {
		case m.now <- struct{}{}:
		default: // one is asked for already
		}
	default:
		return event
	}
	return nil
}

// draw shows what was found last.
func (m *monitor) draw() {
	shown := slices.DeleteFunc(slices.Clone(m.locks), func(l Lock) bool {
		return !strings.Contains(l.fullName(), m.filter.GetText())
	})
	slices.SortStableFunc(shown, orders[m.order].compare)
	m.table.Clear()
	for i, heading := range []string{"LOCK", "MODE", "WAITERS", "LAST USED", "HOLDERS"} {
		m.table.SetCell(0, i, tview.NewTableCell(heading).SetSelectable(false).SetAttributes(tcell.AttrBold))
	}
	now := time.Now()
	for i, l := range shown {
		cells := []string{
			visible(l.fullName()), l.Mode, strconv.Itoa(len(l.Waiters)), since(l.LastUsed, now), describe(l.Holders),
		}
		for j, text := range cells {
			cell := tview.NewTableCell(tview.Escape(text)).SetMaxWidth(40)
			if j == len(cells)-1 {
				cell.SetExpansion(1).SetMaxWidth(0)
			}
			if len(l.Waiters) > 0 && os.Getenv("NO_COLOR") == "" {
				cell.SetTextColor(tcell.ColorYellow)
			}
			m.table.SetCell(i+1, j, cell)
		}
	}
	m.status.SetText(m.summary(len(shown), now))
}

func (m *monitor) summary(shown int, now time.Time) string {
	if m.err != nil {
		return m.err.Error()
	}
	held := 0
	for _, l := range m.locks {
		if l.Mode != "none" {
			held++
		}
	}
	text := fmt.Sprintf("%s  %d locks, %d held, by %s", now.Format(time.TimeOnly), len(m.locks), held,
		orders[m.order].name)
	if shown < len(m.locks) {
		text += fmt.Sprintf(", %d match", shown)
	}
	return text + "   (q quit, s sort, / filter, r refresh)"
}
