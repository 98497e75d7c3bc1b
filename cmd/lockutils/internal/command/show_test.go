package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/lockutils/lockutils"
)

func TestColumnsFitTheWidth(t *testing.T) {
	rows := [][]string{
		{"short", "writer", "1 " + strings.Repeat("argument ", 20)},
		{strings.Repeat("long", 20), "none", ""},
		{"名前の長いロック", "reader", "2 echo 日本語"},
	}
	for width := 30; width < 300; width += 7 {
		var text strings.Builder
		table := newTable("LOCK", "MODE", "HOLDERS")
		for _, r := range rows {
			table.row(r...)
		}
		columns := table.columns(width)
		for _, r := range table.rows {
			text.WriteString(format(r, columns) + "\n")
		}
		for line := range strings.Lines(text.String()) {
			if got := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); got > width {
				t.Errorf("a line has %d columns, want at most %d: %s", got, width, line)
			}
		}
		if !strings.Contains(text.String(), "short") || !strings.Contains(text.String(), "writer") {
			t.Errorf("with %d columns short cells are cut:\n%s", width, text.String())
		}
	}
}

func TestAListFitsFortyColumns(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, strings.Repeat("long", 20))
	hold(t, path)
	for _, args := range [][]string{{"ls", "--path", dir}, {"who", path}} {
		cmd := program(args...)
		cmd.Env = append(cmd.Env, "COLUMNS=40")
		got := finish(t, cmd)
		for line := range strings.Lines(got.out) {
			if n := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); n > 40 {
				t.Errorf("%s has a line of %d columns: %s", args[0], n, line)
			}
		}
		if !strings.Contains(got.out, "writer") {
			t.Errorf("%s shows no holder:\n%s", args[0], got.out)
		}
	}
}

func TestListsAreAsWideAsColumnsSays(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("x", 200)
	if err := os.WriteFile(filepath.Join(dir, long), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for columns, want := range map[string]bool{"": true, "60": false, "-1": true, "many": true} {
		cmd := program("ls", "--path", dir)
		cmd.Env = append(cmd.Env, "COLUMNS="+columns)
		got := finish(t, cmd)
		if strings.Contains(got.out, long) != want {
			t.Errorf("COLUMNS=%s: the whole name: %t, want %t:\n%s", columns, !want, want, got.out)
		}
	}
}

func TestAListThatIsNoTerminalHasNoColours(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"ls", "--path", dir}, {"who", "--path", dir, "x"}, {"graph", "--path", dir},
		{"sweep", "--path", dir, "--older", "0s"}, {"--help"},
	} {
		if got := finish(t, program(args...)); got.status != 0 || strings.Contains(got.out+got.stderr, "\x1b") {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

func TestTimesAreAsExactAsIsOfUse(t *testing.T) {
	now := time.Date(2026, time.November, 28, 15, 0, 0, 0, time.UTC)
	for ago, want := range map[time.Duration]string{
		1400 * time.Millisecond: "1s", 59*time.Minute + 3*time.Second: "59m3s", 61 * time.Minute: "1h01m",
		47*time.Hour + 59*time.Minute: "47h59m", 49 * time.Hour: "2d", 400 * 24 * time.Hour: "400d",
	} {
		if got := since(now.Add(-ago), now); got != want {
			t.Errorf("%v ago is shown as %s, want %s", ago, got, want)
		}
	}
	if got := since(time.Time{}, now); got != "-" {
		t.Errorf("an unknown time is shown as %s", got)
	}
}

// A script that sends a signal to each PID of the JSON must not reach its own process group.
func TestAHolderThatCannotBeToldHasNoPIDInTheJSON(t *testing.T) {
	unknown := lockutils.Holder{PID: lockutils.UnknownPID, Mode: lockutils.ModeWriter}
	shown, err := json.Marshal(processParty(unknown, time.Time{}))
	if want := `{"command":"","mode":"writer"}`; err != nil || string(shown) != want {
		t.Errorf("%s, %v, want %s", shown, err, want)
	}
}
