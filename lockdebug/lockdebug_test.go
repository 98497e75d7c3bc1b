package lockdebug

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

// get returns the page as it is served now.
func get(t *testing.T, query string) (*http.Response, string) {
	t.Helper()
	server := httptest.NewServer(http.DefaultServeMux)
	defer server.Close()
	reply, err := http.Get(server.URL + Path + query)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply, string(body)
}

func TestImportingThePackageRegistersThePage(t *testing.T) {
	for query, contentType := range map[string]string{
		"": "text/html; charset=utf-8", "?format=html": "text/html; charset=utf-8",
		"?format=json": "application/json", "?format=text": "text/plain; charset=utf-8",
	} {
		reply, body := get(t, query)
		if reply.StatusCode != http.StatusOK || reply.Header.Get("Content-Type") != contentType || body == "" {
			t.Errorf("%q: %s, %v", query, reply.Status, reply.Header)
		}
	}
}

func TestThePageForbidsFramingAndForeignScripts(t *testing.T) {
	reply, body := get(t, "")
	policy := reply.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "script-src 'sha256-"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy %q lacks %q", policy, want)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %q", policy)
	}
	for header, want := range map[string]string{
		"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
		"Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
	} {
		if got := reply.Header.Get(header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	for _, foreign := range []string{"http://", "https://", "src=", "@import", "url("} {
		if strings.Contains(strings.ReplaceAll(body, `href="?`, ""), foreign) {
			t.Errorf("the page has %q", foreign)
		}
	}
}

func TestOtherRequestsAreRefused(t *testing.T) {
	for method, want := range map[string]int{
		http.MethodHead: http.StatusOK, http.MethodPost: http.StatusMethodNotAllowed,
		http.MethodDelete: http.StatusMethodNotAllowed,
	} {
		w := httptest.NewRecorder()
		Handler().ServeHTTP(w, httptest.NewRequest(method, Path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", method, w.Code, want)
		}
	}
	if reply, body := get(t, "?format=xml"); reply.StatusCode != http.StatusBadRequest ||
		!strings.Contains(body, "json") {
		t.Errorf("an unknown format: %s, %s", reply.Status, body)
	}
}

// hostile are names that would do harm if they were not escaped.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img onerror=alert(1)>`, "\x1b[2J\x07", "a\nb\tc", "\u202egnp.exe",
	"\xff\xfe", "", "</title></style>", `{{.}}`, `javascript:alert(1)`,
}

// hostileReport has those names wherever a name can be.
func hostileReport() *Report {
	now := time.Now()
	r := &Report{Time: now, Program: hostile[0], FileError: hostile[1]}
	for _, name := range hostile {
		stack := []Frame{{Function: name, File: name, Line: 1}}
		r.Locks = append(r.Locks, Lock{
			Scope: name, Name: name, Path: name, Service: name, Mode: "writer", Waited: 1,
			Holders: []Holder{{Since: now, By: name, Stack: stack}},
			Waiters: []Waiter{{Mode: "reader", Since: now, Holds: []string{name, name}, By: name, Stack: stack}},
		})
		r.Stats = append(r.Stats, Stats{Class: name, Wait: Histogram{
			Bounds: []float64{1}, Counts: []uint64{1, 2}, Sum: 3,
		}})
		r.Files = append(r.Files, File{
			Path: name, LastUsed: now, Holders: []Process{{PID: 1, Command: name, Mode: "writer"}},
		})
		r.Deadlocks = append(r.Deadlocks, Deadlock{
			Time: now, Message: name, Cycle: []Wait{{Name: name, Path: name, Holds: []string{name}, Stack: stack}},
		})
	}
	return r
}

func TestNamesDoNoHarmOnThePage(t *testing.T) {
	var page strings.Builder
	if err := writePage(&page, hostileReport()); err != nil {
		t.Fatal(err)
	}
	text := page.String()
	for _, harm := range []string{"<script>alert", "<img", "\x1b", "\x07", "\u202e", "</title></style>"} {
		if strings.Contains(text, harm) {
			t.Errorf("the page has %q", harm)
		}
	}
	if n := strings.Count(text, "<script>"); n != 1 {
		t.Errorf("the page has %d scripts", n)
	}
	if strings.Contains(text, "ZgotmplZ") {
		t.Error("a name stands where it cannot be escaped")
	}
}

func TestNamesDoNoHarmInATerminal(t *testing.T) {
	var text strings.Builder
	if err := writeText(&text, hostileReport()); err != nil {
		t.Fatal(err)
	}
	for _, r := range text.String() {
		if r != '\n' && (r < ' ' || r == '\u202e' || r == '\uFFFD') {
			t.Fatalf("the text has the character %q:\n%s", r, text.String())
		}
	}
}

func TestTheShapeOfTheJSONIsStable(t *testing.T) {
	var page strings.Builder
	r := &Report{Locks: []Lock{}, Stats: []Stats{}, Files: []File{}, Deadlocks: []Deadlock{}}
	if err := writeJSON(&page, r); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(page.String(), "null") {
		t.Errorf("there is a null:\n%s", page.String())
	}
	want := map[reflect.Type]string{
		reflect.TypeFor[Report]():    "time program pid locks stats files fileError deadlocks",
		reflect.TypeFor[Lock]():      "scope name path service mode readers waited holders waiters",
		reflect.TypeFor[Holder]():    "since held by stack",
		reflect.TypeFor[Waiter]():    "mode fair since waited holds by stack",
		reflect.TypeFor[Frame]():     "function file line",
		reflect.TypeFor[Histogram](): "bounds counts sum",
		reflect.TypeFor[File]():      "path holders waiters lastUsed",
		reflect.TypeFor[Process]():   "pid command mode",
		reflect.TypeFor[Deadlock]():  "time message cycle",
		reflect.TypeFor[Wait]():      "name path mode holds since stack",
		reflect.TypeFor[Stats](): "class mode layer contentions timeouts cancellations deadlocks lost waiting " +
			"wait contendedHold",
	}
	for typ, names := range want {
		var got []string
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			got = append(got, name)
		}
		if strings.Join(got, " ") != names {
			t.Errorf("%s has %q, want %q", typ.Name(), strings.Join(got, " "), names)
		}
	}
	_, body := get(t, "?format=json")
	var back Report
	d := json.NewDecoder(strings.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&back); err != nil || back.PID == 0 || back.Locks == nil || back.Files == nil {
		t.Errorf("%v: %s", err, body)
	}
}

// A script that sends a signal to each PID of the JSON must not reach its own process group.
func TestAHolderThatCannotBeToldHasNoPIDInTheJSON(t *testing.T) {
	unknown := lockutils.Holder{PID: lockutils.UnknownPID, Mode: lockutils.ModeWriter}
	shown, err := json.Marshal(processOf(unknown))
	if want := `{"command":"","mode":"writer"}`; err != nil || string(shown) != want {
		t.Errorf("%s, %v, want %s", shown, err, want)
	}
}

func TestAHistogramIsDrawnByItsCounts(t *testing.T) {
	h := Histogram{Bounds: []float64{0.001, 0.01, 0.1}, Counts: []uint64{100, 0, 1, 0}, Sum: 0.2}
	b := bars(h)
	if len(b) != 4 || b[0].Height != barsHeight || b[1].Height != 0 || b[2].Height == 0 || b[3].Height != 0 {
		t.Errorf("bars: %+v", b)
	}
	if b[2].Label != "up to 100ms: 1" {
		t.Errorf("label: %q", b[2].Label)
	}
	if p50, p99 := percentile(h, 0.5), percentile(h, 0.999); p50 != "up to 1ms" || p99 != "up to 100ms" {
		t.Errorf("half %q, nearly all %q", p50, p99)
	}
	empty := Histogram{Bounds: []float64{1}, Counts: []uint64{0, 0}}
	if bars(empty) != nil || percentile(empty, 0.5) != "" {
		t.Error("an empty histogram is drawn")
	}
}

func TestDurationsAreRounded(t *testing.T) {
	for s, want := range map[float64]string{
		0: "0", 0.000001234: "1.23µs", 0.0123456: "12.3ms", 1.23456: "1.23s", 83.456: "1m23.5s", 4000: "1h6m40s",
	} {
		if got := seconds(s); got != want {
			t.Errorf("%v is %q, want %q", s, got, want)
		}
	}
}
