//go:build !lockutils_split

package command

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/rivo/tview"
	"github.com/spf13/cobra"

	"github.com/lockutils/lockutils/internal/child"
)

func newTop(s streams) *cobra.Command {
	var o lookOptions
	var interval time.Duration
	var out output
	cmd := &cobra.Command{
		Use:   "top [options]",
		Short: "Show the locks live, on a page of the terminal",
		Long: "Top shows what ls shows, and refreshes it. Keys: q quits, s changes the order, / filters\n" +
			"by name, r refreshes at once, the arrows scroll, Ctrl-Z suspends. With -o json it prints a\n" +
			"line for each refresh.",
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
	page   *tview.Flex

	locks []Lock
	err   error
	order int
	now   chan struct{} // asks for a refresh
}

func newMonitor(look func() ([]Lock, error), interval time.Duration) *monitor {
	tview.Styles = tview.Theme{} // the terminal's own colours
	m := &monitor{
		look: look, interval: interval, app: tview.NewApplication(),
		table:  tview.NewTable().SetFixed(1, 0),
		status: tview.NewTextView().SetWrap(false),
		filter: tview.NewInputField().SetLabel("filter: "),
		now:    make(chan struct{}, 1),
	}
	m.filter.SetChangedFunc(func(string) { m.drawFromTop() })
	m.filter.SetDoneFunc(func(key tcell.Key) {
		if key == tcell.KeyEscape {
			m.filter.SetText("")
		}
		m.page.ResizeItem(m.filter, 0, 0)
		m.app.SetFocus(m.table)
	})
	m.table.SetInputCapture(m.key)
	m.app.SetInputCapture(func(event *tcell.EventKey) *tcell.EventKey {
		if event.Key() != tcell.KeyCtrlZ {
			return event
		}
		m.app.Suspend(stopJob)
		return nil
	})
	keys := tview.NewTextView().SetWrap(false).SetText("q quit  s sort  / filter  r refresh")
	m.page = tview.NewFlex().SetDirection(tview.FlexRow).
		AddItem(m.status, 1, 0, false).
		AddItem(m.filter, 0, 0, false).
		AddItem(m.table, 0, 1, true).
		AddItem(keys, 1, 0, false)
	m.app.SetRoot(m.page, true)
	return m
}

// run shows the page until the user quits or a signal ends it. It leaves the terminal as it was.
func (m *monitor) run() error {
	quit := make(chan struct{})
	defer close(quit)
	go m.refresh(quit)
	signals := make(chan os.Signal, 1)
	for _, s := range child.Endings() {
		signal.Notify(signals, s)
	}
	status := 0
	go func() {
		s := <-signals
		m.app.QueueUpdate(func() {
			if n, ok := s.(syscall.Signal); ok {
				status = 128 + int(n)
			}
			m.app.Stop()
		})
	}()
	if err := m.app.Run(); err != nil {
		return usageError("top cannot use this terminal: set TERM (now %q), or use ls: %w",
			os.Getenv("TERM"), err)
	}
	return exit(status, nil)
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
		m.drawFromTop()
	case '/':
		m.page.ResizeItem(m.filter, 1, 0)
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

// drawFromTop is draw for another choice or order of locks.
func (m *monitor) drawFromTop() {
	m.table.ScrollToBeginning()
	m.draw()
}

// draw shows what was found last.
func (m *monitor) draw() {
	shown := slices.DeleteFunc(slices.Clone(m.locks), func(l Lock) bool {
		return !strings.Contains(l.fullName(), m.filter.GetText())
	})
	slices.SortStableFunc(shown, orders[m.order].compare)
	m.table.Clear()
	for i, heading := range []string{"LOCK", "MODE", "WAITERS", "USED", "HOLDERS"} {
		m.table.SetCell(0, i, tview.NewTableCell(heading).SetAttributes(tcell.AttrBold))
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
			if len(l.Waiters) > 0 && !noColour() {
				cell.SetTextColor(tcell.ColorYellow)
			}
			m.table.SetCell(i+1, j, cell)
		}
	}
	// A table that has once been shorter than the page would show its end from then on.
	m.table.SetOffset(m.table.GetOffset())
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
		text += fmt.Sprintf(", %d match %q", shown, m.filter.GetText())
	}
	return text
}
