package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lockutils/lockutils"
)

// A cache is a directory of images with an index that lists them. While the lock is free, they
// agree.
type cache struct {
	dir string
}

// lock acquires the cache's lock, exclusively unless an option says otherwise.
func (c cache) lock(ctx context.Context, opts ...lockutils.Option) (lockutils.Guard, error) {
	opts = append(opts, lockutils.External(), lockutils.WithLockPath(filepath.Join(c.dir, "locks")))
	return lockutils.LockContext(ctx, "cache", opts...)
}

func (c cache) fill(images int) error {
	var names []string
	for i := range images {
		name := fmt.Sprintf("image-%02d", i)
		names = append(names, name)
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(name), 0o600); err != nil {
			return err
		}
	}
	return c.writeIndex(names)
}

// look returns the number of images in the index that are missing.
func (c cache) look(ctx context.Context) (missing int, err error) {
	guard, err := c.lock(ctx, lockutils.Shared())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, guard.Unlock()) }()
	names, err := c.index()
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		switch _, err := os.ReadFile(filepath.Join(c.dir, name)); {
		case errors.Is(err, fs.ErrNotExist):
			missing++
		case err != nil:
			return 0, err
		}
	}
	return missing, nil
}

// prune removes the oldest image.
func (c cache) prune(ctx context.Context) (err error) {
	guard, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, guard.Unlock()) }()
	names, err := c.index()
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(c.dir, names[0])); err != nil {
		return err
	}
	return c.writeIndex(names[1:])
}

func (c cache) index() ([]string, error) {
	f, err := os.Open(filepath.Join(c.dir, "index"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		names = append(names, lines.Text())
	}
	return names, lines.Err()
}

func (c cache) writeIndex(names []string) error {
	return os.WriteFile(filepath.Join(c.dir, "index"), []byte(strings.Join(names, "\n")+"\n"), 0o600)
}
