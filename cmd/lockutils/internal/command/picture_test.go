//go:build unix

package command

import (
	"errors"
	"flag"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var picture = flag.String("picture", "", "file to write a picture of top to, as SVG")

// TestPicture draws the page of top for docs/command.md, in cmd/lockutils:
//
//	go test ./internal/command -run Picture -picture="$PWD/../../docs/charts/top.svg"
func TestPicture(t *testing.T) {
	dir := t.TempDir()
	locks := filepath.Join(dir, "locks")
	if err := os.Mkdir(locks, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 96 {
		path := filepath.Join(locks, fmt.Sprintf("nova-instance-%d", 4700+i))
		used := time.Now().Add(-time.Duration(i*i) * time.Minute)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, used, used)); err != nil {
			t.Fatal(err)
		}
	}
	x := openTerminal(t, 80, 24, "OSLO_LOCK_PATH="+locks)
	for _, args := range []string{
		"backup -- backup-all", "backup -- backup-db", "backup -- prune-cache",
		"deploy -- deploy.sh v2.1", "deploy -- deploy.sh v2.2",
		"-s image-cache -- read-image 17", "-s image-cache -- read-image 20",
		"nova-instance-4711 -- resize 4711", "nova-instance-4729 -- migrate 4729", "report -- report --daily",
	} {
		words := strings.Fields("run " + args)
		program := filepath.Join(dir, words[len(words)-1])
		for i, word := range words {
			if word == "--" {
				program = filepath.Join(dir, words[i+1])
			}
		}
		if err := os.WriteFile(program, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		startNamed(t, dir, locks, words)
	}
	x.enter("lockutils top")
	x.await("all holders and waiters", func(screen []string) bool {
		text := strings.Join(screen, "\n")
		return strings.Contains(text, "100 locks, 6 held") &&
			regexp.MustCompile(`(?m)^backup +writer 2 `).MatchString(text) &&
			regexp.MustCompile(`(?m)^deploy +writer 1 `).MatchString(text)
	})
	file := *picture
	if file == "" {
		file = filepath.Join(dir, "top.svg")
	}
	drawn := svg(x.tmux("capture-pane", "-p", "-e"), 80, 24)
	if err := os.WriteFile(file, []byte(drawn), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"100 locks", "deploy", "q quit", yellow} {
		if !strings.Contains(strings.ReplaceAll(drawn, "&#160;", " "), want) {
			t.Errorf("no %q in the picture:\n%s", want, drawn)
		}
	}
}

// startNamed starts the command under its own name, once the one before has its lock or waits for it.
func startNamed(t *testing.T, dir, locks string, args []string) {
	t.Helper()
	cmd := program(args...)
	cmd.Args[0] = "lockutils"
	cmd.Env = append(cmd.Env, "OSLO_LOCK_PATH="+locks, "PATH="+dir+":"+os.Getenv("PATH"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 6000 {
		got := finish(t, program("ls", "--path", locks, "-o", "json"))
		if strings.Contains(got.out, fmt.Sprintf(`"pid": %d,`, cmd.Process.Pid)) {
			return
		}
	}
	t.Fatalf("%q neither holds its lock nor waits", args)
}

const (
	yellow                 = "#e5c07b"
	characterW, characterH = 8.0, 18.0
	margin                 = 10.0
	background, foreground = "#1e222a", "#d7dae0"
)

// escape matches what tmux writes before text of another look.
var escape = regexp.MustCompile("\x1b\\[([0-9;]*)m")

// svg draws a screen as tmux captures it: bold text, and yellow for all colours.
func svg(screen string, columns, rows int) string {
	var b strings.Builder
	width, height := 2*margin+characterW*float64(columns), 2*margin+characterH*float64(rows)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g"`+
		` font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="13">`+"\n"+
		`<rect width="100%%" height="100%%" rx="6" fill="%s"/>`+"\n", width, height, width, height, background)
	bold, colour := false, foreground
	for row, line := range strings.Split(screen, "\n") {
		column := 0
		text := func(s string) {
			if trimmed := strings.TrimRight(s, " "); trimmed != "" {
				weight := ""
				if bold {
					weight = ` font-weight="bold"`
				}
				fmt.Fprintf(&b, `<text x="%g" y="%g" textLength="%g" fill="%s"%s>%s</text>`+"\n",
					margin+characterW*float64(column), margin+characterH*(float64(row)+0.75),
					characterW*float64(utf8.RuneCountInString(trimmed)), colour, weight,
					strings.ReplaceAll(html.EscapeString(trimmed), " ", "&#160;"))
			}
			column += utf8.RuneCountInString(s)
		}
		last := 0
		for _, m := range escape.FindAllStringSubmatchIndex(line, -1) {
			text(line[last:m[0]])
			last = m[1]
			for code := range strings.SplitSeq(line[m[2]:m[3]], ";") {
				switch code {
				case "", "0":
					bold, colour = false, foreground
				case "1":
					bold = true
				case "39":
					colour = foreground
				case "33", "93":
					colour = yellow
				}
			}
		}
		text(line[last:])
	}
	b.WriteString("</svg>\n")
	return b.String()
}
