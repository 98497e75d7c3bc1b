//go:build unix

package command

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lockutils/lockutils/drivers/etcdlock/etcdtest"
	"github.com/lockutils/lockutils/drivers/pglock"
	"github.com/lockutils/lockutils/drivers/pglock/pgtest"
	"github.com/lockutils/lockutils/drivers/redislock/redistest"
)

// A server keeps locks, and can fail.
type server struct {
	url  string // with the parameter longTTL
	fail func()
}

// longTTL is longer than any machine stands still.
const longTTL = "ttl=5m"

// withTTL returns the URL of the server with another TTL.
func (s server) withTTL(ttl string) string { return strings.Replace(s.url, longTTL, "ttl="+ttl, 1) }

// servers start the lock services. A test is skipped where a server is not installed.
var servers = map[string]func(testing.TB) server{
	"etcd": func(t testing.TB) server {
		c := etcdtest.Run(t, 1)
		return server{"etcd://" + c.Endpoints()[0] + "?" + longTTL, func() { c.Kill(0) }}
	},
	"postgres": func(t testing.TB) server {
		s := startPostgres(t)
		config, err := pgx.ParseConfig(s.URL())
		if err == nil {
			err = pglock.Setup(t.Context(), config)
		}
		if err != nil {
			t.Fatal(err)
		}
		return server{"postgres://postgres@" + s.Addr() + "/postgres?sslmode=disable&" + longTTL, s.Kill}
	},
	"redis": func(t testing.TB) server {
		s := redistest.Start(t)
		return server{"redis://" + s.Addr + "?" + longTTL, s.Kill}
	},
}

func startPostgres(t testing.TB) *pgtest.Server {
	s, err := pgtest.Start()
	if errors.Is(err, pgtest.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	return s
}

// eachServer runs the test with every lock service.
func eachServer(t *testing.T, test func(*testing.T, server)) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) { test(t, start(t)) })
	}
}

// A running command has a line of output that says it runs.
type running struct {
	*exec.Cmd
	lines *bufio.Scanner
	said  *strings.Builder // on standard error; to be read once it has ended
}

// launch starts a command that prints a line once it has the lock.
func launch(t *testing.T, args ...string) (r running, line string) {
	t.Helper()
	r = running{Cmd: program(args...), said: new(strings.Builder)}
	r.Stderr = r.said
	out, err := r.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Process.Kill() })
	r.lines = bufio.NewScanner(out)
	if !r.lines.Scan() {
		r.Wait()
		t.Fatalf("%q: %v, %s", args, r.ProcessState, r.said)
	}
	return r, r.lines.Text()
}

func TestALockAtAServiceExcludesAndHasATokenThatGrows(t *testing.T) {
	eachServer(t, func(t *testing.T, s server) {
		script := `echo "$LOCKUTILS_TOKEN"; read line`
		var before uint64
		for range 2 {
			cmd := program("run", "--on", s.url, "--prefix", "p", "a/x", "--", "sh", "-c", script)
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
			text, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			token, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
			if err != nil || token <= before {
				t.Errorf("token %q after %d: %v", text, before, err)
			}
			before = token
			for _, wait := range []string{"-n", "--wait=200ms"} {
				args := []string{"run", "--on", s.url, wait, "--prefix", "p", "a/x", "--", "true"}
				if got := finish(t, program(args...)); got.status != statusConflict {
					t.Errorf("%s: %+v", wait, got)
				}
			}
			if got := finish(t, program("run", "--on", s.url, "-n", "x", "y", "--", "true")); got.status != 0 {
				t.Errorf("another lock: %+v", got)
			}
			in.Close()
			if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 { // that of read
				t.Errorf("%v", err)
			}
		}
	})
}

func TestALostLockEndsTheCommand(t *testing.T) {
	eachServer(t, func(t *testing.T, s server) {
		polite := `trap 'echo ended; exit 3' TERM; echo begun; while :; do sleep 0.05; done`
		stubborn := `trap 'echo told' TERM; echo begun; while :; do sleep 0.05; done`
		url := s.withTTL("2s")
		one, _ := launch(t, "run", "--on", url, "x", "--", "sh", "-c", polite)
		two, _ := launch(t, "run", "--on", url, "--grace", "2s", "y", "--", "sh", "-c", stubborn)
		s.fail()
		for _, c := range []struct {
			running
			says, reported string
		}{{one, "ended", `lock "x" was lost`}, {two, "told", `lock "y" was lost`}} {
			if !c.lines.Scan() || c.lines.Text() != c.says {
				t.Errorf("the command says %q, want %q", c.lines.Text(), c.says)
			}
			c.Wait()
			if got := c.ProcessState.ExitCode(); got != statusLost || !strings.Contains(c.said.String(), c.reported) {
				t.Errorf("status %d, want %d; %s", got, statusLost, c.said)
			}
		}
	})
}

func TestAServiceThatIsNotThereIsReportedWithinTheWait(t *testing.T) {
	for _, url := range []string{
		"etcd://127.0.0.1:1", "postgres://u@127.0.0.1:1/d", "redis://127.0.0.1:1",
		"redis://user:secret@127.0.0.1:1", "postgres://u@127.0.0.1:1/d?password=secret",
	} {
		began := time.Now()
		got := finish(t, program("run", "--on", url, "-w", "0.3", "x", "--", "true"))
		if got.status != statusUnavailable || !strings.Contains(got.stderr, "127.0.0.1:1") {
			t.Errorf("%s: %+v", url, got)
		}
		if strings.Contains(got.stderr, "secret") {
			t.Errorf("the password is shown: %s", got.stderr)
		}
		if took := time.Since(began); took > dialLimit {
			t.Errorf("%s: took %v", url, took)
		}
	}
}

func TestADatabaseWithoutTheSequenceIsToldWhatItNeeds(t *testing.T) {
	s := startPostgres(t)
	got := finish(t, program("run", "--on", "postgres://postgres@"+s.Addr()+"/postgres?sslmode=disable",
		"x", "--", "true"))
	if got.status != statusUnavailable || !strings.Contains(got.stderr, pglock.SetupSQL) {
		t.Errorf("%+v", got)
	}
}

// PostgreSQL does not know the names of its locks, so the user has to tell one.
var showOne = [][]string{{"who", "p-x"}, {"who", "--prefix", "p", "x", "-o", "json"}}

var showAll = append([][]string{
	{"ls"}, {"ls", "--prefix", "p"}, {"ls", "-o", "json"},
	{"graph"}, {"graph", "-o", "dot"}, {"graph", "-o", "json"},
}, showOne...)

func TestLocksAtEtcdAreShown(t *testing.T) {
	testShowLocks(t, servers["etcd"](t), showAll, "ls", "--prefix", "q")
}

func TestLocksAtRedisAreShown(t *testing.T) {
	testShowLocks(t, servers["redis"](t), showAll, "ls", "--prefix", "q")
}

func TestLocksAtPostgresAreShown(t *testing.T) {
	testShowLocks(t, servers["postgres"](t), showOne, "who", "--prefix", "q", "x")
}

// testShowLocks checks that commands show a lock, and that another one does not.
func testShowLocks(t *testing.T, s server, commands [][]string, other ...string) {
	holder, _ := launch(t, "run", "--on", s.url, "--prefix", "p", "x", "--", "sh", "-c",
		"echo held; exec sleep 1000")
	pid := strconv.Itoa(holder.Process.Pid)
	waiter, explanation := startWaiter(t, "run", "--on", s.url, "--prefix", "p", "x", "--", "true")
	show := func(args ...string) string {
		got := finish(t, program(append(args, "--on", s.url)...))
		if got.status != 0 {
			t.Errorf("%q: %+v", args, got)
		}
		return got.out
	}
	for !strings.Contains(show("who", "--prefix", "p", "x"), "waiter") && !t.Failed() {
		time.Sleep(10 * time.Millisecond)
	}
	for _, args := range commands {
		if got := show(args...); !strings.Contains(got, pid) {
			t.Errorf("%q shows no process %s:\n%s", args, pid, got)
		}
	}
	if got := show(other...); strings.Contains(got, pid) {
		t.Errorf("%q shows:\n%s", other, got)
	}
	if said := explanation(); !strings.Contains(said, pid) {
		t.Errorf("the waiter says %q, want the holder, process %s", said, pid)
	}
	holder.Process.Signal(os.Interrupt)
	holder.Wait()
	if err := waiter.Wait(); err != nil {
		t.Errorf("the waiter: %v", err)
	}
}

func TestAnInterruptedWaitAtAServiceLeavesTheQueueAtOnce(t *testing.T) {
	url := servers["etcd"](t).url
	launch(t, "run", "--on", url, "x", "--", "sh", "-c", "echo held; exec sleep 1000")
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1} {
		ignoreNot(t, s)
		waiter := program("run", "--on", url, "x", "--", "true")
		if err := waiter.Start(); err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); len(who(t, "--on", url, "x").Waiters) == 0; {
			if time.Since(began) > time.Minute {
				t.Fatal("nobody waits")
			}
		}
		if err := waiter.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		waiter.Wait()
		wantEndedBy(t, waiter, s)
		if l := who(t, "--on", url, "x"); len(l.Waiters) != 0 || len(l.Holders) != 1 {
			t.Errorf("%v: who shows %+v", s, l)
		}
	}
}

// The end of a wait is told to the service for a third of the TTL if that does not answer.
func TestASecondSignalEndsAWaitAtAServiceThatIsGone(t *testing.T) {
	s := servers["etcd"](t)
	launch(t, "run", "--on", s.url, "x", "--", "sh", "-c", "echo held; exec sleep 1000")
	waiter := program("run", "--on", s.url, "x", "--", "true")
	if err := waiter.Start(); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); len(who(t, "--on", s.url, "x").Waiters) == 0; {
		if time.Since(began) > time.Minute {
			t.Fatal("nobody waits")
		}
	}
	s.fail()
	ended := make(chan error, 1)
	go func() { ended <- waiter.Wait() }()
	for began := time.Now(); ; {
		waiter.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
			return
		case <-time.After(500 * time.Millisecond):
		}
		if time.Since(began) > time.Minute {
			waiter.Process.Kill()
			t.Fatal("it goes on after several signals")
		}
	}
}

func TestPostgresIsSaidNotToKnowTheNamesOfItsLocks(t *testing.T) {
	s := servers["postgres"](t)
	for _, args := range [][]string{{"ls"}, {"graph"}, {"top", "-o", "json"}} {
		got := finish(t, program(append(args, "--on", s.url)...))
		if got.status != statusUnavailable ||
			!strings.Contains(got.stderr, "does not know the names of its locks") {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

func TestNoUpdateIsLostUnderALockAtAService(t *testing.T) {
	eachServer(t, func(t *testing.T, s server) {
		file := t.TempDir() + "/sum"
		if err := os.WriteFile(file, []byte("0"), 0o600); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 5 {
					got := finish(t, program("run", "--on", s.url, "sum", "--", "sh", "-c",
						"read n <$0; echo $((n+1)) >$0", file))
					if got.status != 0 {
						t.Errorf("%+v", got)
					}
				}
			})
		}
		all.Wait()
		if text, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(text)) != "20" {
			t.Errorf("the sum is %q, want 20: updates were lost; %v", text, err)
		}
	})
}
