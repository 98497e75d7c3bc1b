//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Pooler is a pgbouncer in front of a server.
type Pooler struct {
	dir  string
	port int
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

// Pool starts a pgbouncer in front of the server. The mode is "session", "transaction" or
// "statement", and size is how many connections to the server there are at most.
func (s *Server) Pool(mode string, size int) (*Pooler, error) {
	path, err := program("pgbouncer")
	if err != nil {
		return nil, err
	}
	dir, err := makeDir()
	if err != nil {
		return nil, err
	}
	p := &Pooler{dir: dir}
	if p.port, err = freePort(); err == nil {
		err = p.configure(s, mode, size)
	}
	if err == nil {
		p.cmd, p.done, err = launch(exec.Command(path, p.config()), filepath.Join(dir, "log"))
	}
	if err == nil {
		err = p.ready()
	}
	if err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// Log returns what the pooler has logged.
func (p *Pooler) Log() string {
	text, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return string(text)
}

// URL returns the connection string of the superuser by way of the pooler.
func (p *Pooler) URL() string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=disable", p.port)
}

// Stop ends the pooler and removes its files.
func (p *Pooler) Stop() error {
	if p.cmd != nil {
		p.cmd.Process.Signal(syscall.SIGTERM)
		<-p.done
	}
	return os.RemoveAll(p.dir)
}

func (p *Pooler) config() string { return filepath.Join(p.dir, "pgbouncer.ini") }

func (p *Pooler) configure(s *Server, mode string, size int) error {
	users := filepath.Join(p.dir, "users")
	text := fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = %s
default_pool_size = %d
max_client_conn = 1000
server_login_retry = 1
`, s.port, p.port, users, mode, size)
	return errors.Join(
		os.WriteFile(users, []byte(`"postgres" ""`+"\n"), 0o644),
		os.WriteFile(p.config(), []byte(text), 0o644))
}

// ready waits until the pooler takes connections.
func (p *Pooler) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, p.URL())
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-p.done:
			return fmt.Errorf("the pooler has ended: %s", p.Log())
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}
