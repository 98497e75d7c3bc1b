package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lockutils/lockutils"
)

// A cache is a directory of archives that several processes fill together. The point of this
// example is its get method.
type cache struct {
	directory string
	build     func(w io.Writer, img image) error
	exclusive exclusion
}

// An exclusion runs fn while no other function runs under the same name.
type exclusion func(ctx context.Context, name string, fn func(context.Context) error) error

// externally excludes the goroutines of all processes with the same lock path.
func externally(lockDirectory string) exclusion {
	return func(ctx context.Context, name string, fn func(context.Context) error) error {
		return lockutils.Do(ctx, name, fn,
			lockutils.External(), lockutils.WithLockPath(lockDirectory), lockutils.WithPrefix("imagecache"))
	}
}

// notAtAll excludes nothing. It shows what the lock is for.
func notAtAll(ctx context.Context, _ string, fn func(context.Context) error) error {
	return fn(ctx)
}

// protection chooses the exclusion; it is a flag.
type protection string

const (
	locksOn  protection = "on"
	locksOff protection = "off"
)

// Set implements flag.Value.
func (p *protection) Set(value string) error {
	switch choice := protection(value); choice {
	case locksOn, locksOff:
		*p = choice
		return nil
	}
	return errors.New("must be on or off")
}

func (p *protection) String() string {
	return string(*p)
}

func (p protection) exclusion(lockDirectory string) exclusion {
	if p == locksOff {
		return notAtAll
	}
	return externally(lockDirectory)
}

// A visit is the outcome of one request for an archive.
type visit struct {
	Built  bool          // by this request, although another may have built it too
	Waited time.Duration // for the lock
	Sum    string        // of the archive that was read
}

// get builds the image's archive unless it exists, and reads it.
//
// An archive gets its name only when it is complete, so that an existing one can be used without
// the lock. The first request to acquire the lock builds a missing one. The others find it when
// they check again under the lock.
func (c *cache) get(ctx context.Context, img image) (visit, error) {
	var v visit
	if c.has(img) {
		return v, c.read(img, &v)
	}
	asked := time.Now()
	err := c.exclusive(ctx, img.Name, func(context.Context) error {
		v.Waited = time.Since(asked)
		if c.has(img) {
			return nil
		}
		v.Built = true
		return c.create(img)
	})
	if err != nil {
		return v, err
	}
	return v, c.read(img, &v)
}

func (c *cache) path(img image) string {
	return filepath.Join(c.directory, img.key()+".tar.gz")
}

func (c *cache) has(img image) bool {
	_, err := os.Stat(c.path(img))
	return err == nil
}

// create builds the archive under a temporary name and renames it when it is complete. There is
// one builder at a time, so that the temporary name need not be unique: the next builder
// overwrites what a killed one left.
func (c *cache) create(img image) error {
	part := c.path(img) + ".part"
	f, err := os.Create(part)
	if err != nil {
		return err
	}
	sum := sha256.New()
	err = c.build(io.MultiWriter(f, sum), img)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	b := build{Key: img.key(), Sum: fmt.Sprintf("%x", sum.Sum(nil)), PID: os.Getpid()}
	if err := b.log(c.directory); err != nil {
		return err
	}
	return os.Rename(part, c.path(img))
}

// read reads the archive, as a user of the cache would, and records its checksum.
func (c *cache) read(img image, v *visit) error {
	f, err := os.Open(c.path(img))
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	v.Sum = fmt.Sprintf("%x", sum.Sum(nil))
	return nil
}

// A build is a line of the build log. The log does not depend on the locks: short writes to a
// file opened for appending are atomic.
type build struct {
	Key string // of the image
	Sum string // of the archive that was written
	PID int
}

func buildLog(directory string) string {
	return filepath.Join(directory, "builds.log")
}

func (b build) log(directory string) error {
	f, err := os.OpenFile(buildLog(directory), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, b.Key, b.Sum, b.PID)
	return errors.Join(err, f.Close())
}

// readBuildLog returns the builds of each image by its key.
func readBuildLog(directory string) (map[string][]build, error) {
	builds := make(map[string][]build)
	f, err := os.Open(buildLog(directory))
	if errors.Is(err, fs.ErrNotExist) {
		return builds, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for {
		var b build
		_, err := fmt.Fscanln(f, &b.Key, &b.Sum, &b.PID)
		if err == io.EOF {
			return builds, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		builds[b.Key] = append(builds[b.Key], b)
	}
}
