//go:build unix

package main

import "syscall"

// stop has the host stand still, and resume has it go on.
func (p *process) stop() error   { return p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
