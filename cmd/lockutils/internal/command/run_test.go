package command

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

// run runs "lockutils run" in a lock path to its end.
func runIn(t testing.TB, dir string, args ...string) result {
	t.Helper()
	return finish(t, program(append([]string{"run", "--path", dir}, args...)...))
}

func TestTheStatusIsTheCommandsOwn(t *testing.T) {
	dir := t.TempDir()
	notExecutable := filepath.Join(dir, "text")
	if err := os.WriteFile(notExecutable, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"x", "--", "true"}, 0},
		{[]string{"x", "true"}, 0},
		{[]string{"x", "--", "sh", "-c", "exit 7"}, 7},
		{[]string{"x", "sh", "-c", "exit 7"}, 7},
		{[]string{"x", "-c", "exit 8"}, 8},
		{[]string{"-c", "exit 9", "x"}, 9},
		{[]string{"x", "sh", "-c", "kill -TERM $$"}, 128 + 15},
		{[]string{"x", "--", "no-such-command"}, 127},
		{[]string{"x", "--", notExecutable}, 126},
		{[]string{"x", "y", filepath.Join(dir, "a", "b"), "--", "true"}, 0},
	} {
		if got := runIn(t, dir, c.args...); got.status != c.want {
			t.Errorf("%q: status %d, want %d; %s", c.args, got.status, c.want, got.stderr)
		}
	}
}

func TestBadCommandLinesSayWhatToDo(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("none", link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want int
		says string
	}{
		{nil, 64, "no subcommand"},
		{[]string{"nonsense"}, 64, "unknown command"},
		{[]string{"run"}, 64, "no lock is named"},
		{[]string{"run", "--", "true"}, 64, "no lock is named"},
		{[]string{"run", "x"}, 64, "no command is given"},
		{[]string{"run", "x", "--"}, 64, "no command is given"},
		{[]string{"run", "", "true"}, 64, "empty"},
		{[]string{"run", "--nonsense", "x", "true"}, 64, "unknown flag"},
		{[]string{"run", "-x1", "--", "true"}, 64, `a name that begins with a hyphen goes between two "--"`},
		{[]string{"run", "--", "-x1"}, 64, "no command is given"},
		{[]string{"run", "--", "true", "--", "x"}, 64, "no lock is named"},
		{[]string{"run", "--wait", "soon", "x", "true"}, 64, "duration"},
		{[]string{"run", "--wait", "-1s", "x", "true"}, 64, "duration"},
		{[]string{"run", "--shared=some", "x", "true"}, 64, "--shared"},
		{[]string{"run", "-n", "-w", "1", "x", "true"}, 64, "both"},
		{[]string{"run", "-c", "true", "x", "true"}, 64, "both"},
		{[]string{"run", "-E", "256", "x", "true"}, 64, "0 to 255"},
		{[]string{"run", "--grace", "-1s", "x", "true"}, 64, "--grace"},
		{[]string{"run", "-F", "-o", "--path", dir, "x", "true"}, 64, "both --no-fork and --close"},
		{[]string{"run", "x", "true"}, 78, "--path"},
		{[]string{"run", "--path", file, "x", "true"}, 69, file},
		{[]string{"run", dir + "/", "true"}, 69, "is a directory: lock a file in it"},
		{[]string{"run", "/", "true"}, 69, "cannot lock /: it is a directory"},
		{[]string{"run", link, "true"}, 69, "leads to no file"},
		{[]string{"run", "-n", "9"}, 64, "the file descriptor 9 cannot be locked"},
		{[]string{"run", "--path", dir, "..", "true"}, 64, "out of the lock path"},
		{[]string{"run", "--path", dir, "x", "--", "no\x1b-such"}, 127, `"no\x1b-such" was not found`},
		{[]string{"run", "--path", dir, "x", "--", ""}, 127, "was not found"},
		{[]string{"run", "--path", dir, "-F", "x", "--", "no-such"}, 127, "was not found"},
		{[]string{"run", "--path", dir, "x", "--", file}, 126, "permission denied"},
		{[]string{"run", "--path", "/proc/none", "x", "true"}, 69, "/proc/none"},
		{[]string{"run", "--path", dir, "--prefix", "a/b", "x", "true"}, 64, "a/b"},
		{[]string{"run", "--on", "carrier-pigeon://x", "x", "true"}, 64, "unknown scheme"},
		{[]string{"run", "--on", ":", "x", "true"}, 64, "URL"},
		{[]string{"run", "--on", "etcd://x", "--inherit", "x", "true"}, 64, "--inherit"},
		{[]string{"run", "--on", "etcd://127.0.0.1:1?ttl=soon", "x", "true"}, 64, "ttl"},
		{[]string{"run", "--on", "etcd://127.0.0.1:1?ttl=-1s", "x", "true"}, 64, "ttl"},
		{[]string{"run", "--on", "etcd://127.0.0.1:1?tll=9s", "x", "true"}, 64, "tll"},
		{[]string{"run", "--on", "redis://127.0.0.1:1?namspace=a", "x", "true"}, 64, "namspace"},
		{[]string{"run", "--on", "etcd://", "x", "true"}, 64, "no server"},
		{[]string{"run", "--on", "etcd://127.0.0.1:1", "-w", "0.2", "x", "true"}, 69, "127.0.0.1:1"},
		{[]string{"who"}, 64, "name of one lock"},
		{[]string{"who", "x"}, 78, "--path"},
		{[]string{"who", dir + "/"}, 69, "is a directory"},
		{[]string{"ls", "x"}, 64, "unexpected argument"},
		{[]string{"ls", "-o", "xml", "--path", dir}, 64, "unknown format"},
		{[]string{"ls", "--url", "http://127.0.0.1:1/"}, 69, "no debug page"},
		{[]string{"ls", "--url", "localhost:6060"}, 69, "want for example http://"},
		{[]string{"ls", "--path", file}, 69, file},
		{[]string{"sweep", "--older", "1h", "--path", dir + "/none"}, 0, "no directory " + dir + "/none"},
		{[]string{"ls", "--url", "\x1b[31m"}, 69, "no debug page"},
		{[]string{"top", "--path", dir}, 64, "terminal"},
		{[]string{"top", "--interval", "1ms", "--path", dir}, 64, "--interval"},
		{[]string{"sweep", "--path", dir}, 64, "--older"},
		{[]string{"graph", "-o", "gif", "--path", dir}, 64, "unknown format"},
	} {
		got := finish(t, program(c.args...))
		if got.status != c.want || !strings.Contains(got.stderr, c.says) || got.out != "" {
			t.Errorf("%q: status %d, want %d; it says %q, want %q in it; output %q",
				c.args, got.status, c.want, got.stderr, c.says, got.out)
		}
		if strings.Contains(got.stderr, "\x1b") {
			t.Errorf("%q: it sends control characters to the terminal", c.args)
		}
		if c.want == 64 && !strings.Contains(got.stderr, "usage:") {
			t.Errorf("%q: no usage in %q", c.args, got.stderr)
		}
	}
}

func TestANameMayBeginWithAHyphen(t *testing.T) {
	dir := t.TempDir()
	hold(t, filepath.Join(dir, "-x"), "--")
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"-n", "--", "-x", "--", "true"}, 75},
		{[]string{"-n", "--", "-x", "true"}, 75},
		{[]string{"-n", "--", "-x", "-c", "true"}, 75},
		{[]string{"-n", "--", "-y", "x", "-x", "--", "true"}, 75},
		{[]string{"-n", "--", "-y", "x", "--", "sh", "-c", "exit 3"}, 3},
		{[]string{"-n", "-", "x", "--", "sh", "-c", "exit 4"}, 4},
	} {
		if got := runIn(t, dir, c.args...); got.status != c.want {
			t.Errorf("%q: %+v, want status %d", c.args, got, c.want)
		}
	}
	if got := finish(t, program("who", "--path", dir, "--", "-x")); !strings.Contains(got.out, "holder") {
		t.Errorf("who: %+v", got)
	}
}

// hold holds the file of a lock by flock(1) until the end of the test, or until release is called.
func hold(t *testing.T, path string, options ...string) (release func()) {
	t.Helper()
	return holdWith(t, exec.Command("flock", append(options, path, "sh", "-c", "echo held; read line")...))
}

// holdWith starts a command that says "held" and holds a lock until its standard input ends.
func holdWith(t *testing.T, cmd *exec.Cmd) (release func()) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		in.Close()
		cmd.Wait()
	})
	t.Cleanup(release)
	return release
}

func TestRunAndFlockExcludeEachOther(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "nova-x")
	release := hold(t, path)
	for _, args := range [][]string{
		{"-n", "--prefix", "nova", "x", "--", "true"}, {"-n", path, "true"}, {"-n", "-s", path, "true"},
		{"-w", "0.05", path, "true"}, {"--wait", "50ms", path, "true"}, {"-w", "0", path, "true"},
		{"-n", "other", path, "--", "true"},
	} {
		if got := runIn(t, dir, args...); got.status != 75 {
			t.Errorf("%q: status %d", args, got.status)
		}
	}
	if got := runIn(t, dir, "-n", "-E", "5", path, "true"); got.status != 5 || got.stderr != "" {
		t.Errorf("with -E 5: %+v", got)
	}
	got := runIn(t, dir, "-n", "--verbose", path, "true")
	if got.status != 75 || got.stderr != "lockutils: lock \"nova-x\" is taken\n" {
		t.Errorf("with --verbose: %+v", got)
	}
	release()
	for _, c := range []struct {
		options []string
		want    string
	}{
		{nil, "1 1"}, {[]string{"-s"}, "1 0"}, {[]string{"-s", "-x"}, "1 1"}, {[]string{"-x", "-s"}, "1 0"},
		{[]string{"--shared=false"}, "1 1"}, {[]string{"--exclusive=false"}, "1 0"},
	} {
		args := append(c.options, path, "-c",
			"flock -n "+path+" true; a=$?; flock -n -s "+path+" true; echo $a $?")
		if got := runIn(t, dir, args...); strings.TrimSpace(got.out) != c.want {
			t.Errorf("%q: flock in it gives %q, want %q", c.options, got.out, c.want)
		}
	}
}

func TestWhatTheCommandLeavesRunningKeepsNoLock(t *testing.T) {
	for option, want := range map[string]int{"--no-wait": 0, "--inherit": 75, "--no-fork": 75} {
		dir := t.TempDir()
		// The background process ends with the pipe that it reads.
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := program("run", "--path", dir, option, "x", "sh", "-c",
			"exec 9<&0; cat <&9 >/dev/null 2>&1 & exit 3")
		cmd.Stdin = r
		got := finish(t, cmd)
		r.Close()
		if got.status != 3 {
			t.Errorf("%s: %+v", option, got)
		}
		if got := runIn(t, dir, "-n", "x", "true"); got.status != want {
			t.Errorf("%s: the lock gives %d afterwards, want %d", option, got.status, want)
		}
		w.Close()
	}
}

func TestAfterASecondTheHolderIsNamed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	release := hold(t, path)
	got := runIn(t, dir, "-w", "0.05", "x", "true")
	if got.status != 75 || !strings.Contains(got.stderr, `lock "x" was not acquired within 50ms`) {
		t.Errorf("%+v", got)
	}
	waiter, explanation := startWaiter(t, "run", "--path", dir, "x", "true")
	if said := explanation(); !strings.Contains(said, "held by process") || !strings.Contains(said, "flock") {
		t.Errorf("the waiter says %q", said)
	}
	release()
	if err := waiter.Wait(); err != nil {
		t.Error(err)
	}
}

// startWaiter starts a command that waits. explanation returns the first line that it says on standard
// error.
func startWaiter(t *testing.T, args ...string) (waiter *exec.Cmd, explanation func() string) {
	t.Helper()
	waiter = program(args...)
	said, err := waiter.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := waiter.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { waiter.Process.Kill() })
	return waiter, func() string {
		defer time.AfterFunc(time.Minute, func() { waiter.Process.Kill() }).Stop()
		line, _ := bufio.NewReader(said).ReadString('\n')
		return line
	}
}

// flock(1) follows symbolic links.
func TestASymbolicLinkLeadsToTheLockFile(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "x"), filepath.Join(dir, "link")
	if err := os.Symlink("x", link); err != nil {
		t.Fatal(err)
	}
	release := hold(t, path)
	for name, want := range map[string]int{link: 75, path: 75, filepath.Join(dir, "y"): 0} {
		if got := finish(t, program("run", "-n", name, "true")); got.status != want {
			t.Errorf("%s: %+v, want status %d", name, got, want)
		}
	}
	release()
	if got := finish(t, program("run", "-n", link, path, "--", "true")); got.status != 0 {
		t.Errorf("both names of the file: %+v", got)
	}
}

// The table of docs/command.md has every option of flock(1).
func TestTheTableHasEveryOptionOfFlock(t *testing.T) {
	help, err := exec.Command("flock", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../../../docs/command.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "## Coming from flock(1)")
	options := regexp.MustCompile(`(?m)^ {1,6}(-\w)?(?:,)? *(--[\w-]+)`).FindAllStringSubmatch(string(help), -1)
	if len(options) < 12 {
		t.Errorf("found %q in:\n%s", options, help)
	}
	for _, names := range options {
		for _, name := range names[1:] {
			if name != "" && !strings.Contains(table, "`"+name) {
				t.Errorf("the table does not have %s", name)
			}
		}
	}
}

// The cases of util-linux for flock(1), without their sleeps: non-block, no-fork, shared, exclusive,
// timeout, and time-check, which is that the last command runs once the lock is free.
func TestTheCasesOfUtilLinux(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lockfile")
	release := hold(t, path, "--shared")
	conflict := func(options ...string) {
		t.Helper()
		args := append(append([]string{"run"}, options...), "--conflict-exit-code", "123", path, "echo", "never")
		if got := finish(t, program(args...)); got != (result{status: 123}) {
			t.Errorf("%q: %+v", options, got)
		}
	}
	conflict("--nonblock")
	conflict("--no-fork", "--nonblock")
	conflict("--nonblock", "--exclusive")
	conflict("--nb", "-e")
	got := finish(t, program("run", "--shared", path, "echo", "shared"))
	if got.out != "shared\n" || got.status != 0 {
		t.Errorf("--shared: %+v", got)
	}
	freed := filepath.Join(t.TempDir(), "freed")
	waiting := program("run", "--timeout", "60", "--conflict-exit-code", "5", path, "cat", freed)
	var out strings.Builder
	waiting.Stdout = &out
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	waitForWaiter(t, path)
	if err := os.WriteFile(freed, []byte("after"), 0o600); err != nil {
		t.Fatal(err)
	}
	release()
	if err := waiting.Wait(); err != nil || out.String() != "after" {
		t.Errorf("--timeout: %v, %q", err, out.String())
	}
}

// waitForWaiter returns once a process waits for the lock file.
func waitForWaiter(t *testing.T, path string) {
	t.Helper()
	for range 6000 {
		files, err := lockutils.HostLocks(lockutils.WithLockPath(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if f.Path == path && len(f.Waiters) > 0 {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nobody waits")
}

var rounds = flag.Int("rounds", 12, "how often each of eight processes runs a command and may be killed")

// A process that is killed must leave the lock free, and the command must not go on without it.
func TestKilledRunsLeaveNoOverlapAndNoHang(t *testing.T) {
	const processes = 8
	dir := t.TempDir()
	inside := filepath.Join(dir, "inside")
	// The shell does all by itself, so that nothing that it has started outlives it. Only who
	// holds the lock writes to the file.
	script := fmt.Sprintf(`
		i=0
		echo $$ >%[1]s
		echo begun
		while [ $i -lt 200 ]; do
			i=$((i+1)); read pid <%[1]s; [ "$pid" = $$ ] || echo "overlap with $pid"; echo $$ >%[1]s
		done`, inside)
	var ended, killed, killedInside atomic.Int64
	var all sync.WaitGroup
	for p := range processes {
		all.Go(func() {
			for i := range *rounds {
				cmd := program("run", "--path", dir, "x", "--", "sh", "-c", script)
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Error(err)
					return
				}
				if err := cmd.Start(); err != nil {
					t.Error(err)
					return
				}
				// One half is killed at some instant of its start and its wait, the other of its command.
				kill := func() { cmd.Process.Kill() }
				instant := time.Duration((p*7919+i*104729)%4000) * time.Microsecond
				killer := time.AfterFunc(10*instant, kill)
				if i%2 == 1 && killer.Stop() {
					killer = nil
				}
				lines := bufio.NewScanner(out)
				begun := lines.Scan() && lines.Text() == "begun"
				if killer == nil {
					killer = time.AfterFunc(5*instant, kill)
				}
				for lines.Scan() {
					t.Error(lines.Text())
				}
				switch err := cmd.Wait(); {
				case err == nil:
					ended.Add(1)
				case begun:
					killedInside.Add(1)
				default:
					killed.Add(1)
				}
				killer.Stop()
			}
		})
	}
	all.Wait()
	t.Logf("%d commands ended, %d were killed, and %d runs before that", ended.Load(), killedInside.Load(),
		killed.Load())
	if got := runIn(t, dir, "-w", "30", "x", "true"); got.status != 0 {
		t.Errorf("after the kills: %+v", got)
	}
}

func TestWaitIsADurationOrSeconds(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "1m30s": 90 * time.Second, "2": 2 * time.Second,
		"0.25": 250 * time.Millisecond, "0": 0,
	} {
		var o runOptions
		if err := o.setWait(text); err != nil || o.wait != want {
			t.Errorf("%s: %v, %v", text, o.wait, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "-3s", "NaN", "Inf", strconv.Itoa(1 << 62)} {
		var o runOptions
		if err := o.setWait(text); err == nil {
			t.Errorf("%q is taken for %v", text, o.wait)
		}
	}
}
