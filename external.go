package lockutils

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/lockutils/lockutils/internal/filelock"
	"github.com/lockutils/lockutils/internal/queue"
)

// ExternalLock acquires the lock file of [Lock] with [External] only, for programs that compose
// locks themselves. It excludes all others that acquire this lock file, those of this process
// included, but not internal locks of the same name. [WithSemaphores] and [On] are errors.
func ExternalLock(name string, opts ...Option) (Guard, error) {
	s := settingsOf(opts)
	if s.given.has(optSemaphores) && s.semaphores != nil {
		return Guard{}, s.refused(name, invalid("ExternalLock with WithSemaphores"))
	}
	if s.given.has(optService) {
		return Guard{}, s.refused(name, invalid("ExternalLock with On"))
	}
	s.fileOnly, s.semaphores, s.onService = true, nil, false
	return acquire(context.Background(), name, "", &s)
}

// An InterProcessLock is a lock file with a path of its own, apart from names and lock paths. One
// writer or several readers hold it, in this and other processes. Any goroutine may release what
// another has acquired. An InterProcessLock is not reentrant: a second Lock of the same object
// waits for Unlock, other than in gofrs/flock. It must not be copied after first use. The zero
// value has no file and cannot be locked.
//
// The file is created if it is missing. It is never written to, and stays behind. Log messages are
// those of [Lock], without a name.
//
// A lock that is forgotten while it is held stays locked until the process ends: the garbage
// collector releases nothing. So a program that is to run once need not keep the InterProcessLock
// in a variable.
type InterProcessLock struct {
	path    string
	label   string       // of the guards
	options *keptOptions // nil for the zero value
	err     error        // why it cannot be used

	mu      sync.Mutex
	writer  Guard   // guarded by mu
	readers []Guard // guarded by mu
}

// NewInterProcessLock returns the lock of the file at path, which need not exist. A relative path
// is made absolute at once. [Fair], [WithFcntl], [WithTimeout], [WithDelay], [WithFileMode] and
// [WithLogging] apply to all its holds. External says nothing new. The other options would choose
// another file or another kind of hold than the method called: with them each acquisition returns
// an error that wraps [ErrOptions].
func NewInterProcessLock(path string, opts ...Option) *InterProcessLock {
	l := &InterProcessLock{options: keepOptions(opts)}
	s := &l.options.alone
	if path == "" {
		return l
	}
	l.path, l.err = filepath.Abs(path)
	l.label = l.path + labelSeparator
	switch {
	case l.err != nil:
	case filelock.IsQueueFile(filepath.Base(path)):
		l.err = fmt.Errorf("%w: %q is kept for the queue of a fair lock", ErrName, path)
	case s.shared || s.nonBlocking || s.onService || s.semaphores != nil || s.prefix != "" || s.lockPath != "":
		l.err = invalid("an InterProcessLock takes no Shared, NonBlocking, On, " +
			"WithSemaphores, WithPrefix or WithLockPath")
	default:
		l.err = s.check()
	}
	return l
}

// Path returns the absolute path of the file.
func (l *InterProcessLock) Path() string { return l.path }

// Exists reports whether the file exists now.
func (l *InterProcessLock) Exists() bool {
	_, err := os.Lstat(l.path)
	return err == nil
}

// Lock acquires the lock for writing and waits for it if necessary. Its error is an
// [*AcquireError].
func (l *InterProcessLock) Lock() error { return l.LockContext(context.Background()) }

// LockContext is Lock with a wait that ends with ctx. If ctx comes from [Do] and holds the file
// already, the error wraps [ErrDeadlock].
func (l *InterProcessLock) LockContext(ctx context.Context) error {
	g, err := l.LockGuard(ctx)
	if err == nil {
		l.keepWriter(g)
	}
	return err
}

// LockGuard is LockContext with a guard. The guard releases the lock: Unlock and Locked know
// nothing of it.
func (l *InterProcessLock) LockGuard(ctx context.Context) (Guard, error) {
	s := l.settings()
	return l.acquire(ctx, &s)
}

// TryLock acquires the lock for writing if it is free, and reports whether it did. A lock that is
// taken is not an error.
func (l *InterProcessLock) TryLock() (bool, error) {
	s := l.settings()
	g, ok, err := l.try(&s)
	if ok {
		l.keepWriter(g)
	}
	return ok, err
}

// RLock acquires the lock for reading and waits for it if necessary. Its error is an
// [*AcquireError].
func (l *InterProcessLock) RLock() error { return l.RLockContext(context.Background()) }

// RLockContext is RLock with a wait that ends with ctx, see LockContext.
func (l *InterProcessLock) RLockContext(ctx context.Context) error {
	g, err := l.RLockGuard(ctx)
	if err == nil {
		l.keepReader(g)
	}
	return err
}

// RLockGuard is RLockContext with a guard. The guard releases the lock: RUnlock and RLocked know
// nothing of it.
func (l *InterProcessLock) RLockGuard(ctx context.Context) (Guard, error) {
	s := l.settings()
	s.shared = true
	return l.acquire(ctx, &s)
}

// TryRLock acquires the lock for reading and reports whether it did. It does not if a writer holds
// the lock, nor if a request of this process waits for it.
func (l *InterProcessLock) TryRLock() (bool, error) {
	s := l.settings()
	s.shared = true
	g, ok, err := l.try(&s)
	if ok {
		l.keepReader(g)
	}
	return ok, err
}

// Unlock releases what Lock has acquired. It returns [ErrNotHeld] if nothing is held so. Other
// errors are those of [Guard.Unlock].
func (l *InterProcessLock) Unlock() error {
	l.mu.Lock()
	held := l.writer
	l.writer = Guard{}
	l.mu.Unlock()
	return held.Unlock()
}

// RUnlock releases what one RLock has acquired. It returns [ErrNotHeld] if nothing is held so.
// Other errors are those of [Guard.Unlock].
func (l *InterProcessLock) RUnlock() error {
	l.mu.Lock()
	n := len(l.readers) - 1
	if n < 0 {
		l.mu.Unlock()
		return ErrNotHeld
	}
	held := l.readers[n]
	l.readers[n] = Guard{}
	l.readers = l.readers[:n]
	l.mu.Unlock()
	return held.Unlock()
}

// Locked reports whether this object holds the lock for writing now: whether Unlock would release
// it.
func (l *InterProcessLock) Locked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writer != Guard{}
}

// RLocked reports whether this object holds the lock for reading now: whether RUnlock would release
// it.
func (l *InterProcessLock) RLocked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.readers) > 0
}

// Holders returns the processes that hold the file now, as [Holders] does.
func (l *InterProcessLock) Holders() ([]Holder, error) {
	err := l.unusable()
	var found []Holder
	if err == nil {
		found, err = holdersOf(l.path)
	}
	if err != nil {
		return nil, fmt.Errorf("lockutils: cannot tell the holders of lock file %q: %w", l.path, err)
	}
	return found, nil
}

// Remove removes the file, as [RemoveExternalLockFile] does. The lock remains usable.
func (l *InterProcessLock) Remove() error {
	err := l.unusable()
	if err == nil {
		err = filelock.Remove(l.path)
	}
	if err != nil {
		return fmt.Errorf("lockutils: cannot remove lock file %q: %w", l.path, err)
	}
	return nil
}

// unusable returns why no call can do anything, or nil.
func (l *InterProcessLock) unusable() error {
	if l.err == nil && l.path == "" {
		return fmt.Errorf("%w: empty path", ErrName)
	}
	return l.err
}

// settings returns the settings of a writer.
func (l *InterProcessLock) settings() settings {
	if l.options == nil {
		return settings{}
	}
	return l.options.settings().forPath()
}

func (l *InterProcessLock) acquire(ctx context.Context, s *settings) (Guard, error) {
	err := l.unusable()
	if err == nil {
		err = s.check()
	}
	if err == nil {
		err = usable(ctx)
	}
	if err != nil {
		return Guard{}, &AcquireError{Path: l.path, Err: err}
	}
	return acquireChecked(ctx, "", "", l.path, l.label, s)
}

// try acquires the lock at once or not at all, and reports whether it did.
func (l *InterProcessLock) try(s *settings) (Guard, bool, error) {
	s.nonBlocking, s.timed, s.timeout = true, false, 0
	g, err := l.acquire(context.Background(), s)
	if errors.Is(err, ErrLocked) {
		return Guard{}, false, nil
	}
	return g, err == nil, err
}

// keepWriter keeps the guard for Unlock.
func (l *InterProcessLock) keepWriter(g Guard) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writer = g
}

// keepReader keeps the guard for RUnlock.
func (l *InterProcessLock) keepReader(g Guard) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers = append(l.readers, g)
}

// RemoveExternalLockFile removes the lock file of a name. It is safe at any time: if the file is in
// use, it stays, and the error matches [ErrLocked]. Waiters and requests that come at the same
// moment go on with a new file. A missing file is not an error. Unlike a sweep, it also removes
// a file with content.
//
// Some programs do not check whether the file that they have locked is still there, Python's
// oslo.concurrency and flock(1) among them. Do not remove files that such programs use: two of them
// could hold the lock at once.
//
// [WithPrefix] and [WithLockPath] say which file is meant. Options that only concern the
// acquisition have no effect.
func RemoveExternalLockFile(name string, opts ...Option) error {
	s := settingsOf(opts)
	return removeExternalLockFile(name, &s)
}

func removeExternalLockFile(name string, s *settings) error {
	path, _, err := s.filePath(name)
	if err == nil {
		err = s.checkOptions()
	}
	if err == nil {
		err = filelock.Remove(path)
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("lockutils: cannot remove the file of %s%s: %w",
		title(s.prefixScope, name), inFile(path), err)
}

// UnknownPID is the PID of a [Holder] that cannot be told: of another user, or in another
// container. No process has it, so nobody is hit if it is passed to kill.
const UnknownPID = filelock.UnknownPID

// A Holder is a process that holds a lock file.
type Holder struct {
	PID     int    // or UnknownPID
	Command string // its command line, escaped for a terminal; "" if unknown
	Mode    Mode   // ModeReader or ModeWriter
}

// Holders returns the processes that hold the lock file of a name now, each once. It is a
// diagnosis for people, since it may be out of date when it is read. A descriptor that processes
// share counts for those that still have it if the one that locked it has ended. Holders of other
// users and in other containers may be missing; if a lock is held and nobody can be told, there
// is one holder with [UnknownPID]. A missing file has no holders. Where the system does not tell,
// the error matches [errors.ErrUnsupported]; Linux does.
func Holders(name string, opts ...Option) ([]Holder, error) {
	s := settingsOf(opts)
	path, _, err := s.filePath(name)
	if err == nil {
		err = s.checkOptions()
	}
	var found []Holder
	if err == nil {
		found, err = holdersOf(path)
	}
	if err != nil {
		return nil, fmt.Errorf("lockutils: cannot tell the holders of %s%s: %w",
			title(s.prefixScope, name), inFile(path), err)
	}
	return found, nil
}

// holdersOf returns the processes that hold the file at path now.
func holdersOf(path string) ([]Holder, error) {
	found, err := filelock.Holders(path)
	if err != nil {
		return nil, err
	}
	return holdersFrom(found), nil
}

func holdersFrom(found []filelock.Holder) []Holder {
	holders := make([]Holder, len(found))
	for i, h := range found {
		holders[i] = Holder{PID: h.PID, Command: h.Command, Mode: ModeWriter}
		if h.Mode == filelock.Shared {
			holders[i].Mode = ModeReader
		}
	}
	return holders
}

// From names to files.

// maxFileName is what file systems take, in bytes.
const maxFileName = 255

// filePath returns the absolute path of the lock file of a name, and the label of a guard for it,
// in one piece of memory.
func (s *settings) filePath(name string) (path, label string, err error) {
	file, err := s.fileName(name)
	if err != nil {
		return "", "", err
	}
	dir, err := s.directory()
	if err != nil {
		return "", "", err
	}
	separator := string(os.PathSeparator)
	if os.IsPathSeparator(dir[len(dir)-1]) {
		separator = "" // the root
	}
	label = dir + separator + file + labelSeparator + name
	return label[:len(dir)+len(separator)+len(file)], label, nil
}

// directory returns the lock path in force, absolute and clean.
func (s *settings) directory() (string, error) {
	dir := s.lockPath
	if dir == "" {
		dir = configuredLockPath()
	}
	if dir == "" {
		return "", ErrLockPath
	}
	if d := lastDirectory.Load(); d != nil && d.given == dir {
		return d.clean, nil
	}
	clean, err := absolute(dir)
	if err != nil {
		return "", err
	}
	lastDirectory.Store(&cleaned{given: dir, clean: clean})
	return clean, nil
}

// lastDirectory saves the cleaning of a path, as most programs have but one lock path.
var lastDirectory atomic.Pointer[cleaned]

type cleaned struct{ given, clean string }

// fileName maps a name as oslo.concurrency does, so that both meet in the same file: prefix,
// hyphen, and the name with path separators replaced. A result that is too long for a file name,
// which would be an error there, is cut and completed with a hash of the whole.
func (s *settings) fileName(name string) (string, error) {
	file := strings.ReplaceAll(name, string(os.PathSeparator), "_")
	if os.PathSeparator != '/' {
		file = strings.ReplaceAll(file, "/", "_") // a separator there too
	}
	file = s.filePrefix() + file
	switch {
	case name == "":
		return "", fmt.Errorf("%w: the empty name", ErrName)
	case strings.ContainsRune(file, 0):
		return "", fmt.Errorf("%w: %q contains a NUL byte", ErrName, file)
	case strings.ContainsAny(s.prefix, `/`+string(os.PathSeparator)):
		return "", fmt.Errorf("%w: the prefix %q contains a path separator", ErrName, s.prefix)
	case file == "." || !filepath.IsLocal(file) || filepath.Base(file) != file:
		return "", fmt.Errorf("%w: %q would lead out of the lock path", ErrName, file)
	case filelock.IsQueueFile(file):
		return "", fmt.Errorf("%w: %q is kept for the queues of fair locks", ErrName, file)
	}
	if len(file) > maxFileName {
		sum := sha256.Sum256([]byte(file))
		hash := "-" + hex.EncodeToString(sum[:16])
		cut := maxFileName - len(hash)
		for i := 1; i < utf8.UTFMax && !utf8.RuneStart(file[cut]); i++ {
			cut-- // not through a character: some file systems insist on UTF-8
		}
		file = file[:cut] + hash
	}
	return file, nil
}

// filePrefix returns what the file names of the prefix begin with.
func (s *settings) filePrefix() string {
	if s.prefix == "" || strings.HasSuffix(s.prefix, "-") {
		return s.prefix
	}
	return s.prefix + "-"
}

// Holding a file.

// isSameFile reports whether two paths lead to the same lock file: by the same name, or through
// symbolic links of directories, hard links or bind mounts.
func isSameFile(a, b string) bool {
	if a == b {
		return true
	}
	infoA, err := os.Lstat(a)
	if err != nil {
		return false
	}
	infoB, err := os.Lstat(b)
	return err == nil && os.SameFile(infoA, infoB)
}

func acquireFile(
	ctx context.Context, name, path string, internal queue.Hold, s *settings,
) (*filelock.Hold, error) {
	r := filelock.Request{
		Path: path, Mode: s.mode(), Perm: s.fileMode, Delay: s.delay,
		Fcntl: s.fcntl, Fair: s.fair, Reentrant: s.reentrantShare,
		Subject: queue.Subject{
			In: fileLayer{}, Scope: s.prefixScope, Name: name, Path: path, Within: internal,
			Origin: s.origin(),
		},
	}
	var h *filelock.Hold
	var err error
	if s.nonBlocking {
		h, err = filelock.TryLock(r)
	} else {
		h, err = filelock.Lock(ctx, r)
	}
	if err != nil {
		return nil, s.fileError(ctx, err)
	}
	return h, nil
}

// fileLayer is what waits for lock files are in, see queue.Subject.
type fileLayer struct{}

// fileError puts the engine's errors in the terms of this package.
func (s *settings) fileError(ctx context.Context, err error) error {
	var unsupported *filelock.UnsupportedError
	switch {
	case errors.As(err, &unsupported):
		return fmt.Errorf("%w: %s is %w: %s", ErrOptions, s.fileOption(), unsupported, remedy(unsupported))
	case errors.Is(err, errors.ErrUnsupported):
		return fmt.Errorf("%w: %s: %w", ErrOptions, s.fileOption(), err)
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return ended(ctx)
	}
	return err
}

// fileOption names the options that need more of the system than others do.
func (s *settings) fileOption() string {
	switch {
	case s.fcntl && s.fair:
		return "WithFcntl with Fair"
	case s.fcntl:
		return "WithFcntl"
	}
	return "Fair with a lock file"
}

func remedy(e *filelock.UnsupportedError) string {
	if e.FileSystem != "" {
		return "use a lock path on a local file system, or leave the option out"
	}
	return "leave the option out"
}
