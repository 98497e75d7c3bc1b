//go:build unix

// Package pgtest starts PostgreSQL servers on loopback for tests and demonstrations: a primary,
// its streaming replicas, and poolers in front of them. It kills, restarts and promotes them.
//
// It runs the programs that are installed, as the user postgres if the process is root, since a
// server refuses to run as root.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNotInstalled reports that this machine has no PostgreSQL server, or no pooler.
var ErrNotInstalled = errors.New("not installed")

// patience is how long a server may take to start or stop.
const patience = 60 * time.Second

// A Server is a PostgreSQL server with a data directory of its own. Its methods must not be
// called concurrently.
type Server struct {
	dir  string // holds the data directory, the log and the socket
	port int
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

// Start makes a new server and starts it. The settings are those of postgresql.conf. The
// superuser is postgres, and connections from loopback need no password.
func Start(settings ...string) (*Server, error) {
	dir, err := makeDir()
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir}
	if err := s.run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C",
		"--no-sync", "--pgdata="+s.data()); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	settings = append([]string{"wal_level=replica", "hot_standby=on", "max_wal_senders=8",
		"dynamic_shared_memory_type=mmap"}, settings...)
	if err := s.configure(settings...); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Replica makes a streaming replica of the server and starts it.
func (s *Server) Replica() (*Server, error) {
	dir, err := makeDir()
	if err != nil {
		return nil, err
	}
	r := &Server{dir: dir}
	err = r.run("pg_basebackup", "--pgdata="+r.data(), "--write-recovery-conf", "--checkpoint=fast",
		"--no-sync", "--dbname="+s.URL()+" application_name=replica")
	if err == nil {
		err = r.start()
	}
	if err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	return r, nil
}

// Promote makes a primary of a replica.
func (s *Server) Promote() error {
	return s.run("pg_ctl", "promote", "--wait", "--pgdata="+s.data())
}

// Allow puts a line in front of those of pg_hba.conf, and has the server read it.
func (s *Server) Allow(line string) error {
	path := filepath.Join(s.data(), "pg_hba.conf")
	rest, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append([]byte(line+"\n"), rest...), 0o600); err != nil {
		return err
	}
	return s.run("pg_ctl", "reload", "--pgdata="+s.data())
}

// Addr returns the server's address, host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL returns the connection string of the superuser, of keywords and values.
func (s *Server) URL() string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=disable", s.port)
}

// Exec runs statements as the superuser.
func (s *Server) Exec(ctx context.Context, sql string, args ...any) error {
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql, args...)
	return err
}

// Log returns what the server has logged.
func (s *Server) Log() string {
	text, _ := os.ReadFile(s.logFile())
	return string(text)
}

// Restart stops the server in an orderly way, without waiting for clients, and starts it again.
func (s *Server) Restart() error {
	s.signal(syscall.SIGINT)
	return s.Resume()
}

// Kill ends the server at once, as a loss of power would. Resume starts it again.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	children := s.signalAll(syscall.SIGKILL)
	<-s.done
	s.cmd = nil
	// A new server does not start, nor forget the old one's shared memory, before they are gone.
	for _, pid := range children {
		for begun := time.Now(); syscall.Kill(pid, 0) == nil && time.Since(begun) < time.Second; {
			time.Sleep(time.Millisecond)
		}
	}
}

// Resume starts the server again once it has ended.
func (s *Server) Resume() error {
	if s.cmd != nil {
		if err := s.ended(); err != nil {
			return err
		}
	}
	// The processes of a killed server may take a moment to leave its shared memory.
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := s.start()
		if !errors.Is(err, errEnded) || time.Since(begun) > patience {
			return err
		}
	}
}

// errEnded reports that a server did not start.
var errEnded = errors.New("the server has ended")

// Freeze stops the process of the postmaster and of each session until Thaw.
func (s *Server) Freeze() { s.signalAll(syscall.SIGSTOP) }

// Thaw undoes Freeze.
func (s *Server) Thaw() { s.signalAll(syscall.SIGCONT) }

// Stop ends the server and removes all its files.
func (s *Server) Stop() error {
	var err error
	if s.cmd != nil {
		s.Thaw()
		s.signal(syscall.SIGQUIT)
		err = s.ended()
	}
	s.removeSharedMemory()
	return errors.Join(err, os.RemoveAll(s.dir))
}

// removeSharedMemory removes the segment that a killed server has left. The last line but one of
// its lock file has the key and the number.
func (s *Server) removeSharedMemory() {
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return // it has ended in an orderly way
	}
	if lines := strings.Split(string(text), "\n"); len(lines) > 6 {
		if fields := strings.Fields(lines[6]); len(fields) == 2 {
			exec.Command("ipcrm", "-m", fields[1]).Run()
		}
	}
}

func (s *Server) data() string    { return filepath.Join(s.dir, "data") }
func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

// configure appends settings, as name=value.
func (s *Server) configure(settings ...string) error {
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for _, line := range settings {
		fmt.Fprintln(f, line)
	}
	return f.Close()
}

// start starts the server, on the port it had before if it was started before.
func (s *Server) start() error {
	if s.port == 0 {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.port = port
	}
	path, err := program("postgres")
	if err != nil {
		return err
	}
	cmd := exec.Command(path, "-D", s.data(), "-p", strconv.Itoa(s.port), "-k", s.dir,
		"-c", "listen_addresses=127.0.0.1")
	if s.cmd, s.done, err = launch(cmd, s.logFile()); err != nil {
		return err
	}
	return s.ready()
}

// ready waits until the server takes connections.
func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := s.Exec(ctx, "select 1")
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			s.cmd = nil
			return fmt.Errorf("%w: %s", errEnded, s.Log())
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", err, s.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) ended() error {
	select {
	case <-s.done:
		s.cmd = nil
		return nil
	case <-time.After(patience):
		s.Kill()
		return errors.New("the server had to be killed")
	}
}

func (s *Server) signal(sig syscall.Signal) {
	if s.cmd != nil {
		s.cmd.Process.Signal(sig)
	}
}

// signalAll sends a signal to the postmaster and to its children, which include the sessions. It
// returns the children.
func (s *Server) signalAll(sig syscall.Signal) (children []int) {
	if s.cmd == nil {
		return nil
	}
	s.signal(syscall.SIGSTOP) // it starts no more of them
	out, _ := exec.Command("pgrep", "-P", strconv.Itoa(s.cmd.Process.Pid)).Output()
	s.signal(sig)
	for _, field := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(field); err == nil {
			syscall.Kill(pid, sig)
			children = append(children, pid)
		}
	}
	return children
}

// run runs one of PostgreSQL's programs to its end.
func (s *Server) run(name string, args ...string) error {
	path, err := program(name)
	if err != nil {
		return err
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = s.dir
	asServer(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
