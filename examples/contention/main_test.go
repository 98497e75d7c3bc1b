package main

import (
	"context"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var picture = flag.String("picture", "", "file to write a picture of the page to, with Chromium")

func TestThePageShowsTheLocks(t *testing.T) {
	awaitPage(t, start(t), "instance-4711")
}

// start runs the program until the test ends, and returns the address of its page.
func start(t *testing.T) (url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	urls := make(chan string, 1)
	done := make(chan error, 1)
	go func() { done <- run(ctx, "127.0.0.1:0", func(url string) { urls <- url }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case url := <-urls:
		return url
	case err := <-done:
		done <- err
		t.FailNow()
	}
	return ""
}

// awaitPage returns the page as soon as it has the text.
func awaitPage(t *testing.T, url, text string) string {
	t.Helper()
	for {
		reply, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(reply.Body)
		reply.Body.Close()
		if err != nil || reply.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v", reply.Status, err)
		}
		if strings.Contains(string(page), text) {
			return string(page)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// TestPicture draws the page, as for the README, with one queue unfolded:
//
//	go test ./examples/contention -run Picture -picture="$PWD/docs/charts/debug-page.png"
func TestPicture(t *testing.T) {
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Skip(err)
	}
	file, err := filepath.Abs(*picture)
	if err != nil {
		t.Fatal(err)
	}
	if *picture == "" {
		file = filepath.Join(t.TempDir(), "page.png")
	}
	page := awaitPage(t, start(t), "Deadlocks found")
	page = strings.Replace(page, ` nova instance-4711">`, ` nova instance-4711" open>`, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, page)
	}))
	defer server.Close()
	browser := exec.CommandContext(t.Context(), "chromium", "--headless", "--no-sandbox",
		"--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir="+t.TempDir(), "--hide-scrollbars", "--window-size=1120,720",
		"--screenshot="+file, server.URL)
	if out, err := browser.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if drawn, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(drawn), "\x89PNG") {
		t.Errorf("no picture is drawn: %v", err)
	}
}
