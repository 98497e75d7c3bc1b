package lockprom_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/metrics/lockprom"
)

var classes atomic.Int64

// newClass returns a prefix whose figures are zero, however often the test runs.
func newClass(name string) string { return fmt.Sprintf("%s-%d", name, classes.Add(1)) }

// contend has a reader and n writers wait for a lock, and one writer give up.
func contend(t *testing.T, prefix string, n int) {
	t.Helper()
	g, err := lockutils.Lock("x", lockutils.WithPrefix(prefix))
	if err != nil {
		t.Fatal(err)
	}
	before := waiting(prefix)
	var waits sync.WaitGroup
	lock := func(opts ...lockutils.Option) {
		waits.Go(func() {
			g, err := lockutils.Lock("x", append(opts, lockutils.WithPrefix(prefix))...)
			if err != nil {
				t.Error(err)
				return
			}
			g.Unlock()
		})
	}
	lock(lockutils.Shared())
	for range n {
		lock()
	}
	deadline := time.Now().Add(time.Minute)
	for ; waiting(prefix) < before+int64(n)+1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d wait, want %d", waiting(prefix)-before, n+1)
		}
	}
	_, err = lockutils.Lock("x", lockutils.WithPrefix(prefix), lockutils.WithTimeout(time.Millisecond))
	if err == nil {
		t.Error("the lock is free")
	}
	g.Unlock()
	waits.Wait()
}

func waiting(class string) (n int64) {
	var stats lockutils.Stats
	lockutils.ReadStats(&stats)
	for _, s := range stats.Locks {
		if s.Class == class {
			n += s.Waiting
		}
	}
	return n
}

func TestWaitsAreCounted(t *testing.T) {
	counted := newClass("counted")
	contend(t, counted, 2)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(lockprom.NewCollector())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			labels := make(map[string]string)
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["class"] != counted {
				continue
			}
			key := fmt.Sprintf("%s %s %s", f.GetName(), labels["mode"], labels["layer"])
			switch {
			case m.Counter != nil:
				got[key] = m.Counter.GetValue()
			case m.Gauge != nil:
				got[key] = m.Gauge.GetValue()
			case m.Histogram != nil:
				got[key] = float64(m.Histogram.GetSampleCount())
				if m.Histogram.GetSampleCount() > 0 && m.Histogram.GetSampleSum() <= 0 {
					t.Errorf("%s has the sum %v", key, m.Histogram.GetSampleSum())
				}
			}
		}
	}
	for key, want := range map[string]float64{
		"lockutils_contentions_total writer process":   3,
		"lockutils_contentions_total reader process":   1,
		"lockutils_timeouts_total writer process":      1,
		"lockutils_cancellations_total writer process": 0,
		"lockutils_deadlocks_total writer process":     0,
		"lockutils_lost_total writer process":          0,
		"lockutils_waiting writer process":             0,
		"lockutils_wait_seconds writer process":        3,
		"lockutils_wait_seconds reader process":        1,
	} {
		if value, ok := got[key]; !ok || value != want {
			t.Errorf("%s is %v (%v), want %v", key, value, ok, want)
		}
	}
}

func TestTheMetricsFollowTheConventions(t *testing.T) {
	contend(t, "linted", 1)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(lockprom.NewCollector())
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if err := registry.Register(lockprom.NewCollector()); err == nil {
		t.Error("a second collector does not collide")
	}
}

// serve serves the metrics.
func serve(t *testing.T) *httptest.Server {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(lockprom.NewCollector())
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	t.Cleanup(server.Close)
	return server
}

func TestPromtoolAcceptsTheMetrics(t *testing.T) {
	need(t, "promtool")
	contend(t, "checked", 1)
	checkMetrics(t, serve(t).URL)
}

// checkMetrics fails the test unless promtool accepts the metrics.
func checkMetrics(t *testing.T, at string) {
	t.Helper()
	reply, err := http.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = reply.Body
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestPrometheusScrapesTheMetrics(t *testing.T) {
	need(t, "prometheus")
	scraped := newClass("scraped")
	contend(t, scraped, 1)
	awaitScraped(t, serve(t).URL, fmt.Sprintf(
		`lockutils_contentions_total{class=%q,mode="writer",layer="process"} == 2`, scraped))
}

func TestPrometheusScrapesTheExample(t *testing.T) {
	need(t, "prometheus")
	need(t, "promtool")
	at := startExample(t)
	checkMetrics(t, at)
	const contended = `{class="nova",mode="writer",layer="process"} > 0`
	for _, name := range []string{
		"lockutils_contentions_total", "lockutils_wait_seconds_count", "lockutils_contended_hold_seconds_count",
	} {
		awaitScraped(t, at, name+contended)
	}
}

// startExample starts the program in the directory example and returns the address of its metrics. It
// ends with the test.
func startExample(t *testing.T) (at string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "example")
	if out, err := exec.Command("go", "build", "-o", program, "./example").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ctx, cancel := context.WithCancel(context.Background())
	example := exec.CommandContext(ctx, program)
	example.Cancel = func() error { return example.Process.Signal(os.Interrupt) }
	example.WaitDelay = time.Minute
	output, err := example.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := example.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := example.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	if at, err = bufio.NewReader(output).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(at)
}

// awaitScraped waits until a Prometheus server that scrapes a target has a result for an expression.
func awaitScraped(t *testing.T, target, expression string) {
	t.Helper()
	at, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s}\n"+
		"scrape_configs: [{job_name: locks, metrics_path: '/%s', static_configs: [{targets: ['%s']}]}]\n",
		strings.TrimPrefix(at.Path, "/"), at.Host)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := startPrometheus(t, config, filepath.Join(dir, "data"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := query(ctx, address, expression)
		if err == nil {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s: %v", expression, err)
		}
	}
}

// query returns nil if Prometheus has a result for an expression.
func query(ctx context.Context, address, expression string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/api/v1/query", nil)
	if err != nil {
		return err
	}
	request.URL.RawQuery = url.Values{"query": {expression}}.Encode()
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	var answer struct {
		Data struct{ Result []any }
	}
	text, err := io.ReadAll(reply.Body)
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err == nil && len(answer.Data.Result) == 0 {
		err = fmt.Errorf("no result: %s", text)
	}
	return err
}

func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(err)
	}
}

// startPrometheus starts a server at a free port, which it chooses itself, and returns its
// address. The server ends with the test.
func startPrometheus(t *testing.T, config, data string) (address string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	server := exec.CommandContext(ctx, "prometheus", "--config.file="+config, "--storage.tsdb.path="+data,
		"--web.listen-address=127.0.0.1:0")
	server.Cancel = func() error { return server.Process.Signal(os.Interrupt) }
	server.WaitDelay = time.Minute // then it is killed
	messages, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	addresses := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(addresses)
		for lines := bufio.NewScanner(messages); lines.Scan(); {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				addresses <- m[1]
			}
			fmt.Fprintln(t.Output(), lines.Text())
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-read
		server.Wait()
	})
	address, ok := <-addresses
	if !ok {
		t.Fatal("Prometheus ended at once")
	}
	return address
}

// listening is what Prometheus logs when it listens.
var listening = regexp.MustCompile(`msg="Listening on" address=(\S+)`)
