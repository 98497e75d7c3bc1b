// Project shows how a project defines its own lock functions, uses them, and cleans up.
//
//	go run ./examples/project
//
// Package internal/locks binds the project's prefix. The program guards a tool that must run once
// at a time on the host, holds a volume's lock beside another project's lock of the same name,
// and removes the lock files of deleted volumes: none that is in use, and none of the other
// project.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/examples/project/internal/locks"
)

func main() {
	dir, err := os.MkdirTemp("", "project-locks-")
	if err == nil {
		err = errors.Join(run(os.Stdout, dir), os.RemoveAll(dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "project:", err)
		os.Exit(1)
	}
}

// run sets dir as the lock path of the process, as a service does with its configuration.
func run(out io.Writer, dir string) error {
	lockutils.SetDefaults(dir)
	if err := applyRules(out); err != nil {
		return err
	}
	if err := detach(out, "vol-1"); err != nil {
		return err
	}
	return deleteVolumes(out, dir, "vol-1", "vol-2")
}

// A firewall stands for a tool that must run once at a time on a host.
type firewall struct {
	running, runs, overlaps atomic.Int32
}

func (f *firewall) apply() error {
	if f.running.Add(1) > 1 {
		f.overlaps.Add(1)
	}
	f.runs.Add(1)
	f.running.Add(-1)
	return nil
}

// applyRules changes the rules from many goroutines at once.
func applyRules(out io.Writer) error {
	var rules firewall
	apply := locks.HostSynchronized("firewall", rules.apply)
	var group errgroup.Group
	for range 20 {
		group.Go(apply)
	}
	if err := group.Wait(); err != nil {
		return err
	}
	fmt.Fprintf(out, "the firewall was changed %d times, %d times concurrently\n",
		rules.runs.Load(), rules.overlaps.Load())
	return nil
}

// detach holds the volume's lock while another project holds its own lock of that name, and tries
// to remove the lock file.
func detach(out io.Writer, volume string) (err error) {
	ours, err := locks.Host(volume)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.Unlock()) }()
	theirs, err := lockutils.LockWithPrefix("other")(volume, lockutils.External())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, theirs.Unlock()) }()

	fmt.Fprintf(out, "%s is held by both projects: %s and %s\n", volume, filepath.Base(ours.Path()),
		filepath.Base(theirs.Path()))
	if err := locks.Cleanup(volume); !errors.Is(err, lockutils.ErrLocked) {
		return fmt.Errorf("cleaning up a lock in use: %v, want %w", err, lockutils.ErrLocked)
	}
	fmt.Fprintf(out, "its lock file cannot be removed while it is held\n")
	return nil
}

// deleteVolumes removes the lock files, if any, of volumes that are no longer used.
func deleteVolumes(out io.Writer, dir string, volumes ...string) error {
	if err := list(out, "before cleaning up:", dir); err != nil {
		return err
	}
	for _, volume := range volumes {
		if err := locks.Cleanup(volume); err != nil {
			return err
		}
	}
	return list(out, "after cleaning up: ", dir)
}

func list(out io.Writer, when, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	fmt.Fprintln(out, when, strings.Join(names, ", "))
	return nil
}
