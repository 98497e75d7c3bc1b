package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/pflag"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/driver"
)

// lockOptions say where the locks are. All subcommands have them.
type lockOptions struct {
	prefix, path, on string
}

func (o *lockOptions) register(f *pflag.FlagSet) {
	f.StringVar(&o.prefix, "prefix", "", "the `PREFIX` of the project that the names belong to")
	f.StringVar(&o.path, "path", "", "the `DIR` of the lock files (default $OSLO_LOCK_PATH)")
	f.StringVar(&o.on, "on", "", "the `URL` of a lock service: etcd://, postgres:// or redis://")
}

func (o *lockOptions) options() []lockutils.Option {
	return []lockutils.Option{
		lockutils.External(), lockutils.WithPrefix(o.prefix), lockutils.WithLockPath(o.path),
	}
}

// warnIfMissing tells of a lock path that does not exist. It may be misspelt, or be made by the first run.
func (o *lockOptions) warnIfMissing(stderr io.Writer) {
	dir := cmp.Or(o.path, lockutils.LockPath())
	if _, err := os.Stat(dir); dir != "" && errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(stderr, "lockutils: there is no directory %s, and so no lock file\n", visible(dir))
	}
}

// isPath reports whether a name is the path of a file.
func isPath(name string) bool { return strings.ContainsRune(name, os.PathSeparator) }

// heldLocks are the locks under which the command runs.
type heldLocks struct {
	names   []string // as they were given
	guards  lockutils.Guards
	service service // nil for lock files

	signals chan os.Signal // those that have come since the locks were requested
}

// acquire acquires all the locks, or none, at the service if there is one. It closes the service if it
// fails.
func acquire(ctx context.Context, names []string, o *runOptions, at service) (*heldLocks, error) {
	opts := o.options()
	add := func(set bool, opt lockutils.Option) {
		if set {
			opts = append(opts, opt)
		}
	}
	add(o.shared, lockutils.Shared())
	add(o.fair, lockutils.Fair())
	add(o.fcntl, lockutils.WithFcntl())
	add(o.noWait || o.wait == 0, lockutils.NonBlocking())
	held := &heldLocks{names: names, service: at}
	var err error
	switch {
	case at != nil:
		held.guards, err = lockutils.LockAll(ctx, names, append(opts, lockutils.On(at))...)
		if err != nil {
			at.Close()
		}
	case slices.ContainsFunc(names, isPath):
		held.guards, err = lockPaths(ctx, names, o, opts)
	default:
		held.guards, err = lockutils.LockAll(ctx, names, opts...)
	}
	if err != nil {
		return nil, err
	}
	return held, nil
}

// lockPaths locks files by their paths, in the order in which LockAll does.
func lockPaths(
	ctx context.Context, names []string, o *runOptions, opts []lockutils.Option,
) (guards lockutils.Guards, err error) {
	var paths []string
	for _, name := range names {
		path, err := o.filePath(name)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	slices.SortFunc(paths, func(a, b string) int { return cmp.Compare(realPath(a), realPath(b)) })
	paths = slices.CompactFunc(paths, func(a, b string) bool { return realPath(a) == realPath(b) })
	for _, path := range paths {
		g, err := lockutils.LockContext(ctx, filepath.Base(path), append(opts, lockutils.WithPrefix(""),
			lockutils.WithLockPath(filepath.Dir(path)), lockutils.WithFileMode(0o666))...)
		if err != nil {
			guards.Unlock()
			return nil, err
		}
		guards = append(guards, g)
	}
	return guards, nil
}

// filePath returns the path of the lock file of a name. A path may be that of a symbolic link.
func (o *lockOptions) filePath(name string) (string, error) {
	if isPath(name) {
		return namedFile(name)
	}
	dir := o.path
	if dir == "" {
		dir = lockutils.LockPath()
	}
	if dir == "" {
		return "", lockutils.ErrLockPath
	}
	return filepath.Abs(filepath.Join(dir, o.fullName(name)))
}

// namedFile returns the absolute path of the file at a path. It may be one that is to be made.
func namedFile(path string) (string, error) {
	var wrong string
	if file, err := filepath.EvalSymlinks(path); err == nil {
		path = file
	} else if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSymlink != 0 {
		wrong = "is a symbolic link that leads to no file: make that file first"
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		wrong = "is a directory: lock a file in it"
	}
	if wrong != "" {
		return "", &statusError{statusUnavailable, fmt.Errorf("cannot lock %s: it %s", visible(path), wrong)}
	}
	return filepath.Abs(path)
}

// fullName returns the name with its prefix, as it is that of a lock file or of a lock at a service.
func (o *lockOptions) fullName(name string) string {
	if prefix := strings.TrimSuffix(o.prefix, "-"); prefix != "" {
		return prefix + "-" + name
	}
	return name
}

// realPath returns the path without symbolic links in its directories.
func realPath(path string) string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return path
	}
	return filepath.Join(dir, filepath.Base(path))
}

func (h *heldLocks) unlock() error {
	err := h.guards.Unlock()
	if h.service != nil {
		h.service.Close()
	}
	return err
}

func (h *heldLocks) paths() (paths []string) {
	for _, g := range h.guards {
		paths = append(paths, g.Path())
	}
	return paths
}

// tokens returns the fencing tokens in the order of the names, or nil if the service has none.
func (h *heldLocks) tokens() (tokens []string) {
	if h.service == nil || !h.service.Can().Has(driver.Fenced) {
		return nil
	}
	byName := make(map[string]uint64)
	for _, g := range h.guards {
		byName[g.Name()] = g.Token()
	}
	for _, name := range h.names {
		tokens = append(tokens, strconv.FormatUint(byName[name], 10))
	}
	return tokens
}

// lost returns a channel that closes when one of the locks is lost, or nil if none can be.
func (h *heldLocks) lost() <-chan struct{} {
	if h.service == nil {
		return nil
	}
	lost := make(chan struct{})
	var once sync.Once
	for _, g := range h.guards {
		if c := g.Lost(); c != nil {
			go func() {
				<-c
				once.Do(func() { close(lost) })
			}()
		}
	}
	return lost
}

// lossError says which of the locks were lost.
func (h *heldLocks) lossError() error {
	var lost []string
	for _, g := range h.guards {
		if errors.Is(g.Err(), lockutils.ErrLost) {
			lost = append(lost, strconv.Quote(g.Name()))
		}
	}
	return fmt.Errorf("lock %s was lost while the command ran", strings.Join(lost, ", "))
}

// holderLines says of each lock by whom it is held.
func (o *runOptions) holderLines(names []string, at service) (lines []string) {
	for _, name := range names {
		line, holders := o.fileHolders(name)
		if at != nil {
			line, holders = o.serviceHolders(name, at)
		}
		if len(holders) > 0 {
			line += ", held by " + strings.Join(holders, ", ")
		}
		lines = append(lines, line)
	}
	return lines
}

func (o *runOptions) fileHolders(name string) (line string, holders []string) {
	path, err := o.filePath(name)
	if err != nil {
		return fmt.Sprintf("lock %q", name), nil
	}
	found, _ := lockutils.Holders(filepath.Base(path), lockutils.WithLockPath(filepath.Dir(path)))
	for _, h := range found {
		holders = append(holders, describeHolder(h))
	}
	return fmt.Sprintf("lock %q (file %q)", name, path), holders
}

// serviceHolders asks the service, if it is one that tells.
func (o *runOptions) serviceHolders(name string, at service) (line string, holders []string) {
	line = fmt.Sprintf("lock %q at %s", name, at.Name())
	ctx, cancel := context.WithTimeout(context.Background(), explainAfter)
	defer cancel()
	locks, _ := inspect(ctx, at, o.fullName(name))
	for _, l := range locks {
		if l.Name != o.fullName(name) {
			continue
		}
		for _, h := range l.Holders {
			holders = append(holders, visible(h.Client))
		}
	}
	return line, holders
}

func describeHolder(h lockutils.Holder) string {
	if h.PID == lockutils.UnknownPID {
		return "a process that cannot be told"
	}
	return fmt.Sprintf("process %d (%s)", h.PID, h.Command)
}
