package main

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

//go:embed tooz_client.py
var toozProgram string

// python is the interpreter for which Debian packages tooz.
const python = "/usr/bin/python3"

// toozAt is tooz with the URL that a server's address leads to.
func toozAt(url func(address string) string) contender {
	return contender{
		name: "tooz",
		open: func(ctx context.Context, address string) (client, error) { return openTooz(ctx, url(address)) },
		missing: func() error {
			if out, err := exec.Command(python, "-c", "import tooz").CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		},
	}
}

// A toozClient is a process of Python. The time of each request has the way to it and back in it.
type toozClient struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	pending chan error // the answer to a request that was given up
}

func openTooz(ctx context.Context, url string) (client, error) {
	c := &toozClient{cmd: exec.Command(python, "-W", "ignore", "-c", toozProgram, url)}
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.in, c.out = in, bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	if err := c.answer(); err != nil {
		c.kill()
		return nil, err
	}
	return c, nil
}

func (c *toozClient) answer() error {
	line, err := c.out.ReadString('\n')
	if err == nil && strings.TrimSpace(line) != "ok" {
		err = fmt.Errorf("tooz: %s", line)
	}
	return err
}

func (c *toozClient) acquire(ctx context.Context, name string) (hold, error) {
	if _, err := fmt.Fprintln(c.in, "acquire", name); err != nil {
		return hold{}, err
	}
	answer := make(chan error, 1)
	go func() { answer <- c.answer() }()
	select {
	case err := <-answer:
		return hold{release: func(context.Context) error { return c.release() }}, err
	case <-ctx.Done():
		c.pending = answer
		return hold{}, ctx.Err()
	}
}

func (c *toozClient) release() error {
	if _, err := fmt.Fprintln(c.in, "release"); err != nil {
		return err
	}
	return c.answer()
}

// close releases what a request that was given up has acquired meanwhile.
func (c *toozClient) close() {
	defer c.kill()
	if c.pending != nil {
		select {
		case <-c.pending:
			c.release()
		case <-time.After(5 * time.Second):
			return
		}
	}
	fmt.Fprintln(c.in, "close")
	ended := make(chan struct{})
	go func() { io.Copy(io.Discard, c.out); close(ended) }()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
	}
}

func (c *toozClient) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
}
