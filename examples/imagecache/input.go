package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// An image is the content of one archive: the regular files of one directory.
type image struct {
	Name  string // unique in the input
	Dir   string
	Files []file
}

// A file is described as it was when the input was read, so that each build of its archive has
// the same content even if the file grows.
type file struct {
	Name     string
	Size     int64
	Modified time.Time
}

// key names the image's files in the cache. Unlike the name, it is always a valid file name.
func (i image) key() string {
	sum := sha256.Sum256([]byte(i.Name))
	return fmt.Sprintf("%x", sum[:16])
}

// input is everything to archive.
type input struct {
	Images []image
	source string // for the user
	bytes  int64
	more   bool // the limit left some out
}

func (in input) String() string {
	s := fmt.Sprintf("%d archives of %s, %s to pack", len(in.Images), in.source, size(in.bytes))
	if in.more {
		s += " (more exist: see -archives)"
	}
	return s
}

// readInput lists at most limit images below the directory, or the packages of the Go standard
// library for "".
func readInput(ctx context.Context, directory string, limit int) (input, error) {
	var (
		in  input
		err error
	)
	if directory == "" {
		in, err = readStandardLibrary(ctx, limit)
	} else {
		in, err = readDirectory(ctx, directory, limit)
	}
	if err == nil && len(in.Images) == 0 {
		err = fmt.Errorf("no readable files in %s", in.source)
	}
	return in, err
}

func readStandardLibrary(ctx context.Context, limit int) (input, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return input{}, fmt.Errorf("cannot find the Go sources; name a directory instead: %w", err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "src")
	in, err := walk(ctx, root, limit, selection{
		directory: func(name string) bool { return name != "cmd" && name != "testdata" && name != "vendor" },
		file:      func(name string) bool { return strings.HasSuffix(name, ".go") },
		image:     func(relative string) string { return relative },
	})
	in.source = "the Go standard library in " + root
	return in, err
}

func readDirectory(ctx context.Context, directory string, limit int) (input, error) {
	directory, err := filepath.Abs(directory)
	if err != nil {
		return input{}, err
	}
	base := filepath.Base(directory)
	if filepath.Dir(directory) == directory {
		base = "root"
	}
	in, err := walk(ctx, directory, limit, selection{
		directory: func(string) bool { return true },
		file:      func(string) bool { return true },
		image:     func(relative string) string { return path.Join(base, relative) },
	})
	in.source = directory
	return in, err
}

// selection says which directories to enter, which files to include, and how to name the image of
// a directory.
type selection struct {
	directory, file func(name string) bool
	image           func(relative string) string
}

// walk lists the images below root in lexical order, without following symbolic links. It skips
// what may not be read.
func walk(ctx context.Context, root string, limit int, s selection) (input, error) {
	var in input
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return in, err
	}
	if info, err := os.Stat(root); err != nil || !info.IsDir() {
		return in, errors.Join(err, fmt.Errorf("%s is not a directory", root))
	}
	err = filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && dir == root:
			return err
		case err != nil && d.IsDir():
			return fs.SkipDir
		case err != nil || !d.IsDir():
			return nil
		case dir != root && !s.directory(d.Name()):
			return fs.SkipDir
		}
		files := readableFiles(dir, s.file)
		if len(files) == 0 {
			return nil
		}
		if len(in.Images) == limit {
			in.more = true
			return fs.SkipAll
		}
		relative, err := filepath.Rel(root, dir)
		if err != nil {
			return err
		}
		in.Images = append(in.Images, image{Name: s.image(filepath.ToSlash(relative)), Dir: dir, Files: files})
		for _, f := range files {
			in.bytes += f.Size
		}
		return nil
	})
	return in, err
}

// readableFiles lists the readable regular files of a directory.
func readableFiles(dir string, wanted func(name string) bool) []file {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var files []file
	for _, entry := range entries {
		if !entry.Type().IsRegular() || !wanted(entry.Name()) {
			continue
		}
		f, err := os.Open(filepath.Join(dir, entry.Name()))
		if err != nil {
			continue
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			files = append(files, file{Name: entry.Name(), Size: info.Size(), Modified: info.ModTime()})
		}
		_ = f.Close()
	}
	return files
}
