package lockutils

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lockutils/lockutils/internal/filelock"
)

// HostLocks returns every lock file of the lock path, in the order of their names, with the
// processes of the host that hold it or wait for it. [WithLockPath] chooses another directory,
// and [WithPrefix] keeps to the files of a project; other options have no effect. A missing
// directory has no lock files. A file with content is listed only if a process holds its lock or
// waits for it.
//
// It reads the kernel's table of locks once for all files. As with [Holders], the result is a
// diagnosis for people: it may be out of date, and processes of other users and in other
// containers may be missing or unknown. Waiters that poll are not seen: those with [WithFcntl],
// of Python, and of gofrs/flock. Waiters with [Fair] stand in their order, and count as writers.
// Where the system does not tell, the error matches [errors.ErrUnsupported]; Linux does.
func HostLocks(opts ...Option) ([]FileInfo, error) {
	s := settingsOf(opts)
	dir, err := s.directory()
	if err == nil {
		err = s.checkOptions()
	}
	if err == nil && s.prefix != "" {
		_, err = s.fileName("x") // a prefix that no lock can have
	}
	var files []FileInfo
	if err == nil {
		files, err = hostLocks(dir, s.filePrefix())
	}
	if err != nil {
		return nil, fmt.Errorf("lockutils: cannot list lock files (directory %q): %w", dir, err)
	}
	return files, nil
}

func hostLocks(dir, prefix string) ([]FileInfo, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var paths []string
	var infos []fs.FileInfo
	for _, e := range entries {
		name := e.Name()
		if !e.Type().IsRegular() || !strings.HasPrefix(name, prefix) || filelock.IsQueueFile(name) {
			continue
		}
		if info, err := e.Info(); err == nil { // else it has been removed meanwhile
			paths = append(paths, filepath.Join(dir, name))
			infos = append(infos, info)
		}
	}
	users, err := filelock.UsersOf(paths)
	if err != nil {
		return nil, err
	}
	var files []FileInfo
	for i, u := range users {
		if infos[i].Size() > 0 && len(u.Holders)+len(u.Waiters) == 0 {
			continue
		}
		files = append(files, FileInfo{
			Path: paths[i], LastUsed: infos[i].ModTime(),
			Holders: holdersFrom(u.Holders), Waiters: holdersFrom(u.Waiters),
		})
	}
	return files, nil
}
