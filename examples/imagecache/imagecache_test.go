package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// stuckVariable makes a worker process hang in its first build, with a line on standard error.
const stuckVariable = "IMAGECACHE_TEST_STUCK"

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) == "" {
		// The race detector would make each worker sleep for a second before it exits.
		os.Setenv("GORACE", "atexit_sleep_ms=0")
		os.Exit(m.Run())
	}
	build := pack
	if os.Getenv(stuckVariable) != "" {
		build = func(w io.Writer, img image) error {
			fmt.Fprintln(w, "half an archive")
			fmt.Fprintln(os.Stderr, "stuck")
			time.Sleep(time.Hour) // until it is killed
			return errors.New("woken")
		}
	}
	exitOn(work(context.Background(), os.Stdin, os.Stdout, build))
}

// source creates a directory with the given files.
func source(t *testing.T, files ...string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "source")
	for _, name := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Repeat(name+"\n", 10_000)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// newJob returns a job for the input of a directory, with a cache in a directory of the test.
func newJob(t *testing.T, directory string, goroutines int) job {
	t.Helper()
	in, err := readInput(t.Context(), directory, 100)
	if err != nil {
		t.Fatal(err)
	}
	return job{Images: in.Images, Directory: t.TempDir(), Goroutines: goroutines, Protection: locksOn}
}

// members lists the names in the archive and fails the test if it is incomplete.
func members(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for archive := tar.NewReader(zipped); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, archive); err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
}

func screen(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "screen"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestEachArchiveIsBuiltOnceWithLocks(t *testing.T) {
	directory := source(t, "top", "a/one", "a/two", "b/one", "b/c/one", "b/c/d/one")
	r, err := demonstrate(t.Context(), settings{
		directory: directory, archives: 100, workers: 3, goroutines: 4, protection: locksOn,
	}, screen(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.failure(); err != nil {
		t.Error(err)
	}
	var printed bytes.Buffer
	if err := r.print(&printed); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"built once = yes (5 archives, 5 lines in the build log)", "source/b/c/d ", "60 in",
	} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("%q is not in the report:\n%s", want, &printed)
		}
	}
}

// The damage without locks is random, but the work must end and the report must be true.
func TestWithoutLocksTheReportStillAddsUp(t *testing.T) {
	r, err := demonstrate(t.Context(), settings{
		directory: source(t, "a/one", "b/one"), archives: 100, workers: 3, goroutines: 2, protection: locksOff,
	}, screen(t))
	if err != nil {
		t.Fatal(err)
	}
	if asked := r.sum(func(entry row) int { return entry.asked }); asked != 12 {
		t.Errorf("%d requests, want 12", asked)
	}
	for _, entry := range r.rows {
		if entry.builds < 1 || entry.builds != len(entry.builders) || entry.longest > time.Minute {
			t.Errorf("%s: %d builds in the log, by %v", entry.name, entry.builds, entry.builders)
		}
	}
}

func TestReportOfThingsGoneWrong(t *testing.T) {
	j := job{
		Images:     []image{{Name: "good"}, {Name: "twice"}, {Name: "never"}},
		Directory:  t.TempDir(),
		Protection: locksOff,
	}
	log := make(map[string][]build)
	log[j.Images[0].key()] = []build{{Sum: "x"}}
	log[j.Images[1].key()] = []build{{Sum: "y"}, {Sum: "y"}}
	tally := newTally(3)
	for _, o := range []outcome{
		{Image: 0, Worker: 1, Visit: visit{Built: true, Sum: "x"}},
		{Image: 1, Worker: 2, Visit: visit{Built: true, Sum: "y"}},
		{Image: 1, Worker: 1, Visit: visit{Built: true, Sum: "half of y"}},
		{Image: 2, Worker: 1, Failed: "out of luck"},
	} {
		tally.add(o)
	}
	r := newReport(j, tally, log, []error{nil, errors.New("worker 2 was killed")}, time.Second)
	var printed bytes.Buffer
	if err := r.print(&printed); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"built once = no (1 archives were built more than once, 1 never)", "worker 2 was killed", "out of luck",
		"3 of 3 archives, 1 of them redundant", "read 1 times, of 1 archives",
	} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("%q is not in the report:\n%s", want, &printed)
		}
	}
	if r.failure() == nil || r.rows[0].name != "twice" {
		t.Errorf("failure %v, first row %q", r.failure(), r.rows[0].name)
	}
}

// The lock of a killed builder is free at once, and its unfinished archive is overwritten.
func TestKilledBuilderDoesNotStopTheOthers(t *testing.T) {
	j := newJob(t, source(t, "a/one", "b/one", "b/two", "c/one"), 3)

	// With one goroutine a worker asks for the archives in their order, and so hangs in the first.
	alone := j
	alone.Goroutines = 1
	stuck, err := workerCommand(t.Context(), alone)
	if err != nil {
		t.Fatal(err)
	}
	stuck.Env = append(stuck.Env, stuckVariable+"=1")
	stuck.Stderr = nil
	messages, err := stuck.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := stuck.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(messages).ReadString('\n'); line != "stuck\n" {
		t.Fatalf("worker said %q, error %v", line, err)
	}

	built := make([]int, len(j.Images))
	failures := runWorkers(t.Context(), j, 2, func(o outcome) {
		if o.Failed != "" {
			t.Errorf("%s: %s", j.Images[o.Image].Name, o.Failed)
		}
		if o.Image == 0 && stuck.ProcessState == nil {
			t.Error("read an unfinished archive")
		}
		if o.Visit.Built {
			built[o.Image]++
		}
		if built[1] == 1 && built[2] == 1 && stuck.ProcessState == nil {
			_ = stuck.Process.Kill()
			_ = stuck.Wait()
		}
	})
	for _, err := range failures {
		if err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(built, []int{1, 1, 1}) {
		t.Errorf("builds of the survivors: %v", built)
	}
	builds, err := readBuildLog(j.Directory)
	if err != nil {
		t.Fatal(err)
	}
	c := cache{directory: j.Directory}
	for i, want := range [][]string{{"one"}, {"one", "two"}, {"one"}} {
		if n := len(builds[j.Images[i].key()]); n != 1 {
			t.Errorf("%s was built %d times", j.Images[i].Name, n)
		}
		if got := members(t, c.path(j.Images[i])); !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", j.Images[i].Name, got, want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(j.Directory, "*.part")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestWorkerThatFailsIsReported(t *testing.T) {
	j := newJob(t, source(t, "a/one"), 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	failures := runWorkers(ctx, j, 2, func(o outcome) { t.Errorf("outcome %+v", o) })
	for i, err := range failures {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("worker %d: %v", i+1, err)
		}
	}
}

func TestInputThatIsRefused(t *testing.T) {
	root := source(t, "file")
	for _, c := range []struct {
		name, directory string
		want            error
	}{
		{"missing", filepath.Join(root, "missing"), fs.ErrNotExist},
		{"a file", filepath.Join(root, "file"), nil},
		{"empty", t.TempDir(), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readInput(t.Context(), c.directory, 100)
			if err == nil || (c.want != nil && !errors.Is(err, c.want)) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

func TestInputIsLimited(t *testing.T) {
	in, err := readInput(t.Context(), source(t, "a/one", "b/one", "c/one"), 2)
	if err != nil || len(in.Images) != 2 || !in.more || in.Images[1].Name != "source/b" {
		t.Errorf("input %v, error %v", in, err)
	}
}

func TestStandardLibraryIsTheDefaultInput(t *testing.T) {
	in, err := readInput(t.Context(), "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(in.Images, func(img image) bool { return img.Name == "net/http" }) || in.more {
		t.Errorf("no net/http in %v", in)
	}
}

func TestEqualInputGivesEqualArchives(t *testing.T) {
	j := newJob(t, source(t, "a/one", "a/two"), 1)
	var first, second bytes.Buffer
	if err := errors.Join(pack(&first, j.Images[0]), pack(&second, j.Images[0])); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two archives of the same files differ")
	}
}
