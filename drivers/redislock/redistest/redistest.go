// Package redistest starts Redis servers for tests and benchmarks: on free ports of the loopback
// interface, with data in memory, and without persistence unless it is wanted.
package redistest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// patience is how long a server may take for what it must do.
const patience = 2 * time.Minute

// A T is what the servers are started for: a test, or a program that has these methods. Cleanup
// kills the servers that have not been stopped.
type T interface {
	Helper()
	Cleanup(func())
	Skip(...any)
	Fatal(...any)
	Fatalf(string, ...any)
}

// A Server is a Redis server or a Sentinel.
type Server struct {
	t    T
	Addr string
	Port string
	dir  string
	args []string
	cmd  *exec.Cmd
}

// Start starts a server with these lines of configuration, as in "appendonly yes". It skips the
// test if there is no Redis.
func Start(t T, config ...string) *Server {
	t.Helper()
	return start(t, "", config)
}

// start writes a configuration file, since a Sentinel needs one and all others may have one.
func start(t T, flag string, config []string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("no redis-server")
	}
	s := &Server{t: t, Port: freePort(t), dir: tempDir(t)}
	s.Addr = "127.0.0.1:" + s.Port
	file := filepath.Join(s.dir, "redis.conf")
	lines := append([]string{
		"port " + s.Port, "bind 127.0.0.1", "dir " + s.dir, "daemonize no", `save ""`,
		"logfile " + filepath.Join(s.dir, "log"), "repl-diskless-sync-delay 0", "repl-ping-replica-period 1",
	}, config...)
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.args = []string{file}; flag != "" {
		s.args = append(s.args, flag)
	}
	t.Cleanup(s.Kill)
	s.Restart()
	return s
}

// Restart starts the server again after Kill or Stop, on the same port and with the data that it
// has kept.
func (s *Server) Restart() {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", s.args...)
	s.cmd.SysProcAttr = dieWithParent()
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.Eventually("it answers", func() bool {
		answer, err := s.Try("PING")
		return err == nil && (answer == "PONG" || strings.HasPrefix(answer, "NOAUTH"))
	})
}

// Kill ends the server with SIGKILL.
func (s *Server) Kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// Stop ends the server in good order.
func (s *Server) Stop() {
	s.Try("SHUTDOWN")
	s.cmd.Wait()
	s.cmd = nil
}

// Freeze stops the server's process until Thaw.
func (s *Server) Freeze() {
	s.t.Helper()
	if err := freeze(s.cmd.Process); err != nil {
		s.t.Fatal(err)
	}
}

// Thaw undoes Freeze.
func (s *Server) Thaw() {
	s.t.Helper()
	if err := thaw(s.cmd.Process); err != nil {
		s.t.Fatal(err)
	}
}

// Do runs a command on a connection of its own and returns the answer, as redis-cli shows it
// without a terminal. An error that the server answers fails the test.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	answer, err := s.Try(args...)
	if err != nil {
		s.t.Fatalf("%v: %v", args, err)
	}
	return answer
}

// Try is Do that returns what goes wrong.
func (s *Server) Try(args ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.Addr, patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := conn.Write(b.Bytes()); err != nil {
		return "", err
	}
	return read(bufio.NewReader(conn))
}

// read reads one answer of RESP2. Elements of arrays become lines.
func read(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, rest := line[0], strings.TrimRight(line[1:], "\r\n")
	n, _ := strconv.Atoi(rest)
	switch kind {
	case '-':
		if strings.HasPrefix(rest, "NOAUTH") {
			return rest, nil
		}
		return "", fmt.Errorf("%s", rest)
	case '$':
		if n < 0 {
			return "", nil
		}
		text := make([]byte, n+2)
		_, err := io.ReadFull(r, text)
		return string(text[:n]), err
	case '*':
		var lines []string
		for range n {
			line, err := read(r)
			if err != nil {
				return "", err
			}
			lines = append(lines, line)
		}
		return strings.Join(lines, "\n"), nil
	}
	return rest, nil
}

// Eventually waits until something is so.
func (s *Server) Eventually(what string, is func() bool) {
	s.t.Helper()
	for begun := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > patience {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			s.t.Fatalf("Redis at %s: after %v it is still not so that %s\n%s", s.Addr, patience, what, log)
		}
	}
}

// StartReplica starts a replica of the server, and returns once it has the data.
func (s *Server) StartReplica(config ...string) *Server {
	s.t.Helper()
	r := Start(s.t, append(config, "replicaof 127.0.0.1 "+s.Port)...)
	s.Eventually("the replica is in sync", func() bool {
		text, _ := s.Try("INFO", "replication")
		_, state, _ := strings.Cut(text, "port="+r.Port+",")
		return strings.HasPrefix(state, "state=online") && !strings.HasPrefix(state, "state=online,offset=0") &&
			r.Info("master_link_status") == "up"
	})
	return r
}

// Promote makes a replica a primary.
func (s *Server) Promote() {
	s.t.Helper()
	s.Do("REPLICAOF", "NO", "ONE")
}

// Info returns a field of INFO, or "".
func (s *Server) Info(field string) string {
	text, _ := s.Try("INFO")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Clients returns how many connections there are whose client has that name.
func (s *Server) Clients(name string) int {
	s.t.Helper()
	return strings.Count(s.Do("CLIENT", "LIST"), " name="+name+" ")
}

// StartSentinels starts three Sentinels that watch the server and its replicas under a name.
func (s *Server) StartSentinels(name string) []*Server {
	s.t.Helper()
	var all []*Server
	for range 3 {
		all = append(all, start(s.t, "--sentinel", []string{
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %s 2", name, s.Port),
			fmt.Sprintf("sentinel down-after-milliseconds %s 1000", name),
			fmt.Sprintf("sentinel failover-timeout %s 5000", name),
		}))
	}
	for _, x := range all {
		x.Eventually("it knows the others", func() bool {
			state := x.Do("SENTINEL", "MASTER", name)
			return strings.Contains(state, "num-other-sentinels\n2") &&
				!strings.Contains(state, "num-slaves\n0")
		})
	}
	return all
}

// StartCluster starts a Cluster of three primaries, and a replica of each.
func StartCluster(t T) []*Server {
	t.Helper()
	var all []*Server
	for range 6 {
		all = append(all, Start(t, "cluster-enabled yes", "cluster-node-timeout 2000"))
	}
	for _, s := range all[1:] {
		s.Do("CLUSTER", "MEET", "127.0.0.1", all[0].Port)
	}
	for i, bounds := range [][2]int{{0, 5460}, {5461, 10922}, {10923, 16383}} {
		all[i].Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(bounds[0]), strconv.Itoa(bounds[1]))
	}
	for i, s := range all[3:] {
		id := all[i].Do("CLUSTER", "MYID")
		s.Eventually("it knows its primary", func() bool {
			_, err := s.Try("CLUSTER", "REPLICATE", id)
			return err == nil
		})
	}
	for _, s := range all {
		s.Eventually("the Cluster is whole", func() bool {
			state := s.Do("CLUSTER", "INFO")
			return strings.Contains(state, "cluster_state:ok") &&
				strings.Contains(state, "cluster_known_nodes:6") &&
				strings.Count(s.Do("CLUSTER", "SLOTS"), "127.0.0.1") == 6
		})
	}
	return all
}

// freePort returns a port that is free, as is the one 10000 above, which a Cluster uses too.
func freePort(t T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		bus, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+10000)))
		l.Close()
		if err == nil {
			bus.Close()
			return strconv.Itoa(port)
		}
	}
	t.Fatal("no free port")
	return ""
}

// tempDir returns a directory in memory if there is one.
func tempDir(t T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "redistest")
	if err != nil {
		dir, err = os.MkdirTemp("", "redistest")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
