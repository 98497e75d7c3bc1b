package lockdebug

import (
	"bytes"
	"context"
	"html"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

// browse opens a page in Chromium and returns its elements after the time has passed, as the
// scripts of the page see it. It skips the test without Chromium.
func browse(t *testing.T, url string, after time.Duration) string {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := []string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir=" + t.TempDir(), "--dump-dom",
		"--virtual-time-budget=" + strconv.FormatInt(after.Milliseconds(), 10), url,
	}
	browser := exec.CommandContext(ctx, chromium, args...)
	browser.WaitDelay = 10 * time.Second
	var page, problems bytes.Buffer
	browser.Stdout, browser.Stderr = &page, &problems
	if err := browser.Run(); err != nil {
		t.Fatalf("%v\n%s", err, problems.String())
	}
	return page.String()
}

// requests keeps the paths that a browser requests, and lets the test change the answers.
type requests struct {
	t      *testing.T
	change func(n int, w http.ResponseWriter, page string) string // may be nil

	mu    sync.Mutex
	paths []string
}

// ServeHTTP serves the page at all paths that begin with /ops.
func (r *requests) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	r.paths = append(r.paths, q.URL.Path)
	n := len(r.paths)
	r.mu.Unlock()
	if !strings.HasPrefix(q.URL.Path, "/ops") {
		http.NotFound(w, q)
		return
	}
	answer := httptest.NewRecorder()
	Handler().ServeHTTP(answer, q)
	for key, values := range answer.Header() {
		w.Header()[key] = values
	}
	page := answer.Body.String()
	if r.change != nil {
		page = r.change(n, w, page)
	}
	if _, err := w.Write([]byte(page)); err != nil {
		r.t.Log(err)
	}
}

func (r *requests) serve(t *testing.T) (url string) {
	t.Helper()
	r.t = t
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	return server.URL
}

func TestABrowserShowsAPlantedHold(t *testing.T) {
	plant(t, "instance-4715")
	var r requests
	page := browse(t, r.serve(t)+"/ops", time.Second)
	inOrder(t, page, `nova</span> instance-4715</td>`, `<td>this process</td>`, `<td>by a writer</td>`,
		`3 waiters, 1 known holder<`, `\.holdPlanted</code>, for `, `planted_test.go:\d+`,
		`<li>writer, <code>\S+\.waitPlanted</code>, for `, `planted_test.go:\d+`,
		`<li>reader, <code>\S+\.waitPlanted</code>, for \S+, holds volume`, `planted_test.go:\d+`,
		`<li>writer, fair, <code>\S+\.waitPlanted</code>, for `, `planted_test.go:\d+`)
}

func TestThePageRefreshesItselfWhereverItIsMounted(t *testing.T) {
	plant(t, "instance-4716")
	var later lockutils.Guard
	r := requests{change: func(n int, _ http.ResponseWriter, page string) string {
		switch n {
		case 1: // as if a person opened all that can be opened
			later = holdPlanted(t, "taken-later")
			return strings.ReplaceAll(page, "<details", "<details open")
		default:
			return page
		}
	}}
	page := browse(t, r.serve(t)+"/ops/locks/", 5*time.Second)
	if later.Unlock() != nil {
		t.Error("the page was not requested")
	}
	if !strings.Contains(page, "taken-later") {
		t.Errorf("the page shows what it did at first:\n%s", page)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	paths := slices.Compact(slices.Clone(r.paths))
	if len(r.paths) < 3 || !slices.Equal(paths, []string{"/ops/locks/"}) {
		t.Errorf("requested: %q", r.paths)
	}
	_, row, _ := strings.Cut(page, "instance-4716</td>")
	row, _, _ = strings.Cut(row, "</tr>")
	// The lock's queue, and the stacks of the holder and the three waiters.
	if n := strings.Count(row, `open=""`); n != 5 || strings.Count(row, "<details") != 5 {
		t.Errorf("%d are open in\n%s", n, row)
	}
	for _, link := range []string{`href=""`, `href="?format=json"`, `href="?format=text"`} {
		if !strings.Contains(page, link) {
			t.Errorf("no %s, which works wherever the page is", link)
		}
	}
}

func TestThePageWorksWithoutScripts(t *testing.T) {
	plant(t, "instance-4717")
	r := requests{change: func(_ int, w http.ResponseWriter, page string) string {
		w.Header().Add("Content-Security-Policy", "sandbox") // which allows no scripts
		return page
	}}
	page := browse(t, r.serve(t)+"/ops", 5*time.Second)
	inOrder(t, page, `<a href="">reload</a>`, `instance-4717`, `<summary>3 waiters`,
		`Waiters, the next one first`)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.paths) != 1 {
		t.Errorf("requested: %q", r.paths)
	}
}

// Names of locks come from users. Escaping alone has to stop them, also without the policy.
func TestNamesDoNoHarmInABrowser(t *testing.T) {
	names := []string{
		`<script>document.title = "harm"</script>`, `<img src="/harm" onerror="document.title = 'harm'">`,
		`"><svg onload="document.title = 'harm'">`, `'onmouseover='document.title="harm"`,
		"</title></style></script><b id=harm>",
		"\x00\x1b[2J\x07\r\n", "\u202egnp.exe", "\xff\xfe<b id=harm>", `{{.}}`, "a\u2028b",
	}
	for _, name := range names {
		g := holdPlanted(t, name)
		defer g.Unlock()
	}
	lockutils.SetTracking(1)
	defer lockutils.SetTracking(0)
	opened := func(_ int, _ http.ResponseWriter, page string) string {
		return strings.ReplaceAll(page, "<details", "<details open")
	}
	for name, change := range map[string]func(int, http.ResponseWriter, string) string{
		"with the policy": opened,
		"without the policy": func(n int, w http.ResponseWriter, page string) string {
			w.Header().Del("Content-Security-Policy")
			return opened(n, w, page)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := requests{change: change}
			page := browse(t, r.serve(t)+"/ops", 5*time.Second)
			if title, _, _ := strings.Cut(page, "</title>"); strings.Contains(title, "harm") {
				t.Errorf("a script of a name ran: %s", title)
			}
			for element, want := range map[string]int{"<script": 1, "<img": 0, "<b ": 0, "<svg onload": 0} {
				if n := strings.Count(page, element); n != want {
					t.Errorf("%d of %s, want %d", n, element, want)
				}
			}
			for _, name := range names {
				if !strings.Contains(html.UnescapeString(page), visible(name)) {
					t.Errorf("the page does not show %q", name)
				}
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(r.paths) < 3 || slices.Contains(r.paths, "/harm") {
				t.Errorf("requested: %q", r.paths)
			}
		})
	}
}
