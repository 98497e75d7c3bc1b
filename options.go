package lockutils

import (
	"io/fs"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lockutils/lockutils/driver"
)

// An Option changes how a lock is taken. Of an option that is given twice the last one counts. The zero Option changes
// nothing.
//
// Options that concern the lock file have no effect on a lock without one, so that a project can give them as defaults
// for all its locks.
type Option struct {
	kind   optionKind
	text   string
	number int64
	ref    any // *Semaphores, or driver.Service
}

// Options are values that one loop folds into the settings, since closures would make the settings escape to the heap.
type optionKind uint8

const (
	optNone optionKind = iota
	optExternal
	optPrefix
	optLockPath
	optFair
	optShared
	optNonBlocking
	optTimeout
	optDelay
	optSemaphores
	optLogging
	optFileMode
	optFcntl
	optService
)

// External makes the lock exclude other processes on the host too, through a lock file in the lock path (see
// [WithLockPath], [SetDefaults]).
func External() Option { return Option{kind: optExternal} }

// WithPrefix puts the lock in the scope of a project: locks of different prefixes have nothing to do with each other.
// The lock file is named prefix, hyphen, name; a prefix that ends in a hyphen means the same as without it. The empty
// prefix is that of locks without one.
func WithPrefix(prefix string) Option { return Option{kind: optPrefix, text: prefix} }

// WithLockPath sets the directory of the lock file. It is made if it does not exist. All processes that share a lock
// must name the same directory; for security only their users should be able to write to it. Empty means the
// process-wide one, [LockPath].
//
// A relative path is relative to the directory in which the process was when the package first
// needed it: at the first call that meets a relative path here or in OSLO_LOCK_PATH. It stays so if the
// process changes its working directory, so that one name means one lock.
func WithLockPath(dir string) Option { return Option{kind: optLockPath, text: dir} }

// Fair serves the request in strict order of arrival: nobody passes it, and it passes nobody. With [External] that holds
// among all processes that ask for the lock with Fair; but the place of a wait that was given up is kept for the next
// request of the same process.
func Fair() Option { return Option{kind: optFair} }

// Shared takes the lock together with other Shared holders. Holders without Shared exclude them, and are excluded by
// them. Inside a process, waiting requests without Shared are not passed, so that readers cannot keep writers out;
// between processes only [Fair] gives them that. There may be 65,536 holders at once; one more waits.
func Shared() Option { return Option{kind: optShared} }

// NonBlocking makes the call fail at once with [ErrLocked] when the lock is taken.
func NonBlocking() Option { return Option{kind: optNonBlocking} }

// WithTimeout bounds the wait: after d the call fails with an error that matches [context.DeadlineExceeded]. A zero d
// waits not at all. A negative one is an error, and so is a timeout together with [NonBlocking].
func WithTimeout(d time.Duration) Option { return Option{kind: optTimeout, number: int64(d)} }

// WithDelay sets how often a lock file is looked at where the system cannot wake a waiter: on network file systems, on
// other systems than Linux, with [WithFcntl], and when very many lock files are waited for at once. The first looks
// follow each other faster. The default, also for zero, is 10 ms. A negative delay is an error.
func WithDelay(d time.Duration) Option { return Option{kind: optDelay, number: int64(d)} }

// WithSemaphores takes the lock from this container instead of the package's own: locks of different containers have
// nothing to do with each other inside a process. A lock file knows no containers. A nil container means the package's
// own. A container cannot be combined with [Fair].
func WithSemaphores(s *Semaphores) Option { return Option{kind: optSemaphores, ref: s} }

// WithLogging turns the log messages of this call on, which is the default, or off.
func WithLogging(on bool) Option {
	o := Option{kind: optLogging}
	if !on {
		o.number = 1
	}
	return o
}

// WithFileMode sets the permissions, before the umask, of a lock file that is created. The default is 0600, which keeps
// other users out. A mode with other bits than permissions is an error, and so is one with which the owner could not
// open the file the next time: he must be able to read it, and with [WithFcntl] or [Fair] to write to it.
func WithFileMode(mode fs.FileMode) Option { return Option{kind: optFileMode, number: int64(mode)} }

// WithFcntl takes an fcntl record lock on the lock file in addition to the flock that [External] takes, so that
// programs that lock with fcntl are excluded as well. Python's oslo.concurrency and fasteners are such programs. On
// systems without open file description locks, which Linux has, the call fails with an error that matches [ErrOptions]
// and [errors.ErrUnsupported].
func WithFcntl() Option { return Option{kind: optFcntl} }

// settings is what the options of one call amount to.
type settings struct {
	external       bool
	fair           bool
	shared         bool
	nonBlocking    bool
	fcntl          bool
	silent         bool
	timed          bool // timeout counts
	hasMode        bool // fileMode counts
	timeout        time.Duration
	delay          time.Duration
	fileMode       fs.FileMode
	prefix         string
	lockPath       string
	semaphores     *Semaphores
	onService      bool // the lock is kept by service, which check has found usable
	service        driver.Service
	reentrantShare bool // the context holds a share of the lock already; no option sets it
	fileOnly       bool // there is no internal layer: set by ExternalLock and InterProcessLock only
	contradictory  bool // one list had NonBlocking and WithTimeout
	given          optionSet
}

// An optionSet is the set of the kinds of option that the list applied last had.
type optionSet uint32

func (set optionSet) has(k optionKind) bool { return set&(1<<k) != 0 }

// apply changes the settings as one list of options says. A list undoes what an earlier list said
// about waiting.
func (s *settings) apply(opts []Option) {
	s.given = 0
	for i := range opts {
		s.given |= 1 << opts[i].kind
		switch o := &opts[i]; o.kind {
		case optExternal:
			s.external = true
		case optPrefix:
			s.prefix = o.text
		case optLockPath:
			s.lockPath = o.text
		case optFair:
			s.fair = true
		case optShared:
			s.shared = true
		case optNonBlocking:
			s.nonBlocking = true
		case optTimeout:
			s.timed, s.timeout = true, time.Duration(o.number)
		case optDelay:
			s.delay = time.Duration(o.number)
		case optSemaphores:
			s.semaphores = o.ref.(*Semaphores)
		case optLogging:
			s.silent = o.number != 0
		case optFileMode:
			s.hasMode, s.fileMode = true, fs.FileMode(o.number)
		case optFcntl:
			s.fcntl = true
		case optService:
			s.onService = true
			s.service, _ = o.ref.(driver.Service)
		}
	}
	switch nonBlocking, timed := s.given.has(optNonBlocking), s.given.has(optTimeout); {
	case nonBlocking && timed:
		s.contradictory = true
	case nonBlocking:
		s.timed, s.timeout = false, 0
	case timed:
		s.nonBlocking = false
	}
	if s.given.has(optSemaphores) && !s.given.has(optFair) && s.semaphores != nil {
		s.fair = false // a default, which must not keep the program from using containers
	}
}

// applyNonBlocking is apply for one more option of the list applied last, NonBlocking.
func (s *settings) applyNonBlocking() {
	s.contradictory = s.contradictory || s.given.has(optTimeout)
	s.nonBlocking, s.timed, s.timeout = true, false, 0
}

// settingsOf returns what the options of a call amount to, after the process-wide ones.
func settingsOf(opts []Option) (s settings) {
	if d := defaultSettings.Load(); d != nil {
		s = *d
	}
	s.apply(opts)
	return s
}

// keptOptions are options for many calls. The process-wide ones count as if they came first,
// although they may be set later.
type keptOptions struct {
	lists    [][]Option
	alone    settings // what the lists amount to by themselves
	combined atomic.Pointer[combinedSettings]
}

// combinedSettings are the last result of combining the options with the process-wide ones.
type combinedSettings struct {
	settings
	defaults *settings // immutable; what was combined
}

func keepOptions(lists ...[]Option) *keptOptions {
	k := new(keptOptions)
	for _, l := range lists {
		k.lists = append(k.lists, slices.Clone(l)) // the caller may change its own
	}
	k.applyTo(&k.alone)
	return k
}

func (k *keptOptions) applyTo(s *settings) {
	for _, l := range k.lists {
		s.apply(l)
	}
}

// settings returns what the options amount to now. The caller must not change it.
func (k *keptOptions) settings() *settings {
	if d := defaultSettings.Load(); d != nil {
		return k.combine(d)
	}
	return &k.alone
}

func (k *keptOptions) combine(defaults *settings) *settings {
	if c := k.combined.Load(); c != nil && c.defaults == defaults {
		return &c.settings
	}
	c := &combinedSettings{settings: *defaults, defaults: defaults}
	k.applyTo(&c.settings)
	k.combined.Store(c)
	return &c.settings
}

// with returns what the options amount to now if those of a call come after them.
func (k *keptOptions) with(opts []Option) settings {
	s := *k.settings()
	s.apply(opts)
	return s
}

// forPath returns what of the settings concerns a lock file that has a path instead of a name.
func (s *settings) forPath() settings {
	return settings{
		fair: s.fair, fcntl: s.fcntl, silent: s.silent, timed: s.timed, timeout: s.timeout,
		delay: s.delay, hasMode: s.hasMode, fileMode: s.fileMode, contradictory: s.contradictory,
		fileOnly: true,
	}
}

// check returns an error that wraps ErrOptions if the settings contradict themselves.
func (s *settings) check() error {
	switch {
	case s.fair && s.semaphores != nil:
		return invalid("Fair with WithSemaphores")
	case s.contradictory:
		return invalid("NonBlocking with WithTimeout")
	case s.timeout < 0:
		return invalid("negative timeout")
	case s.delay < 0:
		return invalid("negative delay")
	case s.fileMode&^fs.ModePerm != 0:
		return invalid("file mode with other bits than permissions")
	case s.hasMode && s.fileMode&0o400 == 0,
		s.hasMode && (s.fcntl || s.fair) && s.fileMode&0o200 == 0:
		return invalid("file mode that keeps the owner from opening the file again")
	}
	return s.checkService()
}
