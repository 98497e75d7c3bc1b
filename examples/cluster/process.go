package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// A process is a host, seen from outside.
type process struct {
	name    string
	cmd     *exec.Cmd
	orders  *json.Encoder
	in      io.Closer
	reports chan report // closed when the process ends
}

// startHost starts a host. It is killed when ctx ends.
func startHost(ctx context.Context, name string, s setup) (*process, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), workerVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: cmd, orders: json.NewEncoder(in), in: in, reports: make(chan report, 1)}
	go func() {
		defer close(p.reports)
		for decoder := json.NewDecoder(out); ; {
			var r report
			if decoder.Decode(&r) != nil {
				return
			}
			p.reports <- r
		}
	}()
	return p, nil
}

// give gives the host an order.
func (p *process) give(o order) error { return p.orders.Encode(o) }

// report returns the answer to the last order.
func (p *process) report(ctx context.Context) (report, error) {
	select {
	case r, ok := <-p.reports:
		if !ok {
			return r, fmt.Errorf("%s has ended", p.name)
		}
		if r.Failed != "" {
			return r, fmt.Errorf("%s: %s", p.name, r.Failed)
		}
		return r, nil
	case <-time.After(time.Minute):
		return report{}, fmt.Errorf("%s does not answer", p.name)
	case <-ctx.Done():
		return report{}, ctx.Err()
	}
}

// carryOut gives an order and returns the answer.
func (p *process) carryOut(ctx context.Context, o order) (report, error) {
	if err := p.give(o); err != nil {
		return report{}, err
	}
	return p.report(ctx)
}

// kill kills the host.
func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	for range p.reports {
	}
	p.cmd.Wait()
	return err
}
