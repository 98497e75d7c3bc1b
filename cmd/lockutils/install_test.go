//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lockutils/lockutils/drivers/redislock/redistest"
)

var temporary string // for the installation

func TestMain(m *testing.M) {
	var err error
	if temporary, err = os.MkdirTemp("", "lockutils-install"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Unsetenv("OSLO_LOCK_PATH")
	status := m.Run()
	os.RemoveAll(temporary)
	os.Exit(status)
}

// portableInstall is an install(1) that has no options but those of BSD systems.
const portableInstall = `#!/bin/sh
for argument; do
	case $argument in -D|-t|-T|--*) echo "install: no such option: $argument" >&2; exit 64 ;; esac
done
exec %s "$@"
`

// makeInstall runs "make install", and returns the directory in which it has put everything.
var makeInstall = sync.OnceValues(func() (string, error) {
	real, err := exec.LookPath("install")
	if err != nil {
		return "", err
	}
	tools, root := filepath.Join(temporary, "tools"), filepath.Join(temporary, "root")
	if err := os.Mkdir(tools, 0o755); err != nil {
		return "", err
	}
	script := fmt.Sprintf(portableInstall, real)
	if err := os.WriteFile(filepath.Join(tools, "install"), []byte(script), 0o755); err != nil {
		return "", err
	}
	cmd := exec.Command("make", "-C", "../..", "install", "DESTDIR="+root, "PREFIX=/usr")
	cmd.Env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make install: %w\n%s", err, out)
	}
	return root, nil
})

// installed returns the directory of an installation.
func installed(t testing.TB) string {
	t.Helper()
	root, err := makeInstall()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// program returns the path of the installed program.
func program(t testing.TB) string {
	t.Helper()
	return filepath.Join(installed(t), "usr/bin/lockutils")
}

// finish runs the installed program to its end.
func finish(t testing.TB, args ...string) (status int, out string) {
	t.Helper()
	text, err := exec.Command(program(t), args...).CombinedOutput()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode(), string(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, string(text)
}

func TestInstallPutsEachFileInItsPlace(t *testing.T) {
	root := installed(t)
	sources := map[string]string{ // by the installed path
		"usr/share/bash-completion/completions/lockutils":    "completions/lockutils.bash",
		"usr/share/zsh/site-functions/_lockutils":            "completions/_lockutils",
		"usr/share/fish/vendor_completions.d/lockutils.fish": "completions/lockutils.fish",
	}
	pages, err := filepath.Glob("man/*.1")
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	for _, page := range pages {
		sources[filepath.Join("usr/share/man/man1", filepath.Base(page))] = page
	}
	err = fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o644)
		if d.IsDir() || path == "usr/bin/lockutils" {
			want = 0o755
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has the mode %v, want %v", path, info.Mode(), want)
		}
		if d.IsDir() || path == "usr/bin/lockutils" {
			return nil
		}
		source, known := sources[path]
		delete(sources, path)
		if !known {
			t.Errorf("%s is installed", path)
			return nil
		}
		return same(filepath.Join(root, path), source)
	})
	if err != nil {
		t.Error(err)
	}
	for path := range sources {
		t.Errorf("%s is not installed", path)
	}
	if _, err := os.Stat("internal/command/whole.bin"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the installation leaves a program among the sources: %v", err)
	}
}

func same(path, source string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	want, err := os.ReadFile(source)
	if err == nil && string(text) != string(want) {
		err = fmt.Errorf("%s is not %s", path, source)
	}
	return err
}

func TestTheInstalledProgramDoesAllThatTheCommandDoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	for _, c := range []struct {
		args []string
		want int
		says string
	}{
		{[]string{"run", path, "sh", "-c", "exit 7"}, 7, ""},
		{[]string{"run", path, "no-such-command"}, 127, "no-such-command"},
		{[]string{"run", path, "-c", "kill -TERM $$"}, 128 + 15, ""},
		{[]string{"run", path, os.Args[0] + ".none"}, 127, ".none"},
		{[]string{"run", path}, 64, "no command is given"},
		{[]string{"run", "--nonsense"}, 64, "usage:"},
		{[]string{"run", "--help"}, 0, "--no-wait"},
		{[]string{"run", "--on", "carrier-pigeon://x", "x", "true"}, 64, "unknown scheme"},
		{[]string{"run", path, program(t), "run", "-n", path, "true"}, 75, ""},
		{[]string{"run", path, program(t), "who", path}, 0, "holder"},
		{[]string{"ls", "--path", filepath.Dir(path)}, 0, "LOCK"},
		{[]string{"sweep", "--older", "0s", "--path", filepath.Dir(path)}, 0, "removed " + path},
		{[]string{"--version"}, 0, "lockutils version"},
		{[]string{"--help"}, 0, "sweep"},
		{nil, 64, "no subcommand"},
	} {
		if status, out := finish(t, c.args...); status != c.want || !strings.Contains(out, c.says) {
			t.Errorf("%q: status %d, want %d; %q, want %q in it", c.args, status, c.want, out, c.says)
		}
	}
}

// The small program leaves wrong command lines to the whole one. It must not take these for such.
func TestTheInstalledProgramRunsACommandOnceWhateverItsStatus(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if status, out := finish(t, "run", path, "sh", "-c", "echo ran; exit 64"); status != 64 || out != "ran\n" {
		t.Errorf("a command that exits with 64: status %d, %q", status, out)
	}
	status, out := finish(t, "run", path, program(t), "run", "-E", "64", "-w", "0.01", path, "true")
	if status != 64 || strings.Count(out, "\n") != 1 || !strings.Contains(out, "within 10ms") {
		t.Errorf("a lock that is taken, with -E 64: status %d, %q", status, out)
	}
}

// The whole program replaces the small one: it is the same process, with the same streams.
func TestTheInstalledProgramKeepsLocksAtAService(t *testing.T) {
	server := "redis://" + redistest.Start(t).Addr
	cmd := exec.Command(program(t), "run", "--on", server, "x", "--",
		"sh", "-c", `trap 'exit 9' TERM; echo "$PPID" "$LOCKUTILS_TOKEN"; while read line; do echo "$line"; done`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	out := bufio.NewReader(pipe)
	var parent int
	var token uint64
	if _, err := fmt.Fscanln(out, &parent, &token); err != nil || parent != cmd.Process.Pid || token == 0 {
		t.Errorf("parent %d, want %d; token %d; %v", parent, cmd.Process.Pid, token, err)
	}
	if status, text := finish(t, "run", "--on="+server, "-n", "x", "--", "true"); status != 75 {
		t.Errorf("another run gives %d, want 75; %s", status, text)
	}
	io.WriteString(in, "said\n")
	if line, err := out.ReadString('\n'); line != "said\n" {
		t.Errorf("the command reads %q, %v", line, err)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("%v, want the command's status, 9", cmd.ProcessState)
	}
	if status, text := finish(t, "run", "--on", server, "-n", "x", "--", "true"); status != 0 {
		t.Errorf("a run after it gives %d; %s", status, text)
	}
}

// BenchmarkStart compares a start of the installed program with one of flock(1), in turn.
func BenchmarkStart(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x")
	commands := [2][]string{
		{"flock", "-n", path, "true"},
		{program(b), "run", "-n", path, "--", "true"},
	}
	var took [2][]time.Duration
	for b.Loop() {
		for i, args := range commands {
			began := time.Now()
			if err := exec.Command(args[0], args[1:]...).Run(); err != nil {
				b.Fatal(err)
			}
			took[i] = append(took[i], time.Since(began))
		}
	}
	median := func(all []time.Duration) time.Duration {
		slices.Sort(all)
		return all[len(all)/2]
	}
	flock, own := median(took[0]), median(took[1])
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(flock.Seconds()*1e3, "flock-ms")
	b.ReportMetric(own.Seconds()*1e3, "lockutils-ms")
	b.ReportMetric(float64(own)/float64(flock), "x-flock")
}
