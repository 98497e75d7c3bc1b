package lockutils

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lockutils/lockutils/internal/filelock"
)

// SweepExternalLockFiles removes the files in the lock path that nobody holds or waits for, and
// that nobody has used for olderThan. The time of the last use is the file's modification time,
// known to about a second. With olderThan 0 only use at this moment counts.
//
// Lock files are empty: a file that is not stays, and the result says so. [WithPrefix] keeps the
// sweep to the files whose names begin with the prefix and a hyphen: those of that project, and
// of projects whose prefixes begin in the same way. [Matching] keeps it to some names, and
// [DryRun] to saying what it would do. [WithLockPath] chooses another directory. Options that
// only concern acquiring a lock have no effect.
//
// A missing directory is not an error. A negative olderThan is one, and nothing is removed then.
// Files that cannot be removed do not stop the sweep: the error joins theirs. The sweep may run
// while others use the lock path. The remarks on [RemoveExternalLockFile] about other programs
// apply.
func SweepExternalLockFiles(olderThan time.Duration, opts ...Option) (SweepResult, error) {
	s := settingsOf(opts)
	visit := filelock.RemoveIdle
	if s.dryRun {
		visit = filelock.CheckIdle
	}
	matching := s.matching
	s.dryRun, s.matching = false, nil // they are for this call
	dir, err := s.directory()
	if err == nil {
		err = s.checkOptions()
	}
	switch {
	case err != nil:
	case olderThan < 0:
		err = invalid("negative age")
	case s.prefix != "":
		_, err = s.fileName("x") // a prefix that no lock can have
	}
	var entries []fs.DirEntry
	if err == nil {
		entries, err = os.ReadDir(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return SweepResult{}, nil
	}
	if err != nil {
		return SweepResult{}, fmt.Errorf("lockutils: cannot sweep lock files (directory %q): %w", dir, err)
	}
	var result SweepResult
	var failures []error
	for _, e := range entries {
		name, ok := strings.CutPrefix(filelock.LockName(e.Name()), s.filePrefix())
		if !ok || !e.Type().IsRegular() || matching != nil && !matching(name) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		found, err := visit(path, olderThan)
		if err != nil {
			failures = append(failures, fmt.Errorf("lockutils: cannot remove lock file %q: %w", path, err))
			continue
		}
		result.add(path, found)
	}
	return result, errors.Join(failures...)
}

// A SweepResult tells the paths of the files that [SweepExternalLockFiles] has found, in the order
// of their names. Empty files used within the time given are in none of the lists.
type SweepResult struct {
	Removed  []string // with DryRun: those that would have been removed
	InUse    []string // left because somebody holds the lock or waits for it
	NotEmpty []string // left because they, or the queues of their fair locks, have content, however old
}

func (r *SweepResult) add(path string, found filelock.Finding) {
	switch found {
	case filelock.Idle:
		r.Removed = append(r.Removed, path)
	case filelock.InUse:
		r.InUse = append(r.InUse, path)
	case filelock.NotEmpty:
		r.NotEmpty = append(r.NotEmpty, path)
	}
}

// DryRun makes [SweepExternalLockFiles] remove nothing and return what it would have removed. To
// see that a lock is free it acquires it for a moment. Any other call returns an error that wraps
// [ErrOptions].
func DryRun() Option { return Option{optionSpec: &optionSpecs[optDryRun]} }

// Matching keeps [SweepExternalLockFiles] to the locks for whose names match returns true. It
// gets the names as the file names tell them: without the prefix that [WithPrefix] gives, with
// underscores in place of path separators, and cut if they are very long. A nil match means all
// names. Any other call with Matching returns an error that wraps [ErrOptions].
func Matching(match func(name string) bool) Option {
	return Option{optionSpec: &optionSpec{kind: optMatching, matching: match}}
}
