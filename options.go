package lockutils

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/internal/names"
)

// An Option says which lock a call means, or how to acquire it. If an option is given twice, the
// last one counts. The zero Option changes nothing.
//
// Options can also be set in advance: for the process with [SetDefaultOptions], then for a project
// with [LockWithPrefix], then at the call. They count in this order, as if in one list, with two
// exceptions. [NonBlocking] and [WithTimeout] contradict each other within a list, while those of a
// later list undo those of earlier ones. [WithSemaphores] undoes a Fair of an earlier list.
//
// Options that concern the lock file have no effect on a lock without one. So a project can set
// them for all its locks.
type Option struct {
	*optionSpec // nil for the zero Option
	number      int64
	text        string
}

// Options are values that one loop folds into the settings, since closures would make the
// settings escape to the heap. An Option has four words, which the compiler keeps in registers.
// A larger one would be copied in memory, and the copy would wait for the stores before it.

// An optionSpec is the part of an option that many options have in common.
type optionSpec struct {
	kind       optionKind
	semaphores *Semaphores
	service    driver.Service
	matching   func(name string) bool
}

// optionSpecs are those of options without a reference, by kind.
var optionSpecs = func() (specs [optMatching + 1]optionSpec) {
	for kind := range specs {
		specs[kind].kind = optionKind(kind)
	}
	return specs
}()

type optionKind uint8

const (
	optExternal optionKind = iota
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
	optDryRun
	optMatching
)

// External makes the lock exclude other processes of the host too, through a lock file in the lock
// path: see [WithLockPath] and [SetDefaults]. The file is created if it is missing. It is never
// written to, and stays behind.
//
// The process holds an exclusive flock(2) on the file, or a shared one with [Shared]. So the lock
// also excludes other programs that use flock(2) on the same path, flock(1) among them. A process
// needs no more than permission to read the file to hold the lock, also exclusively: protect the
// lock path from others. The lock ends with the process, however that ends.
//
// A program that polls for the lock, such as one with gofrs/flock or Python's filelock, finds it
// free only by chance while a process holds it again and again with hardly a pause. On Linux a
// process that does so notices the tries of such a program and leaves the file to it now and then, for
// 100 ms at most.
// Several processes that keep the file busy together do not, nor does one of shared holders. Where
// a program that polls shares the lock with those, leave a pause between holds, or use
// [WithFcntl], which leaves one of the length of the hold.
func External() Option { return Option{optionSpec: &optionSpecs[optExternal]} }

// WithPrefix puts the lock in the scope of a project: locks of different prefixes are different
// locks. The lock file is named prefix, hyphen, name. A hyphen at the end of the prefix makes no
// difference. The empty prefix is that of locks without one.
func WithPrefix(prefix string) Option {
	return Option{optionSpec: &optionSpecs[optPrefix], text: prefix}
}

// WithLockPath sets the directory of the lock file. It is created if it does not exist. All
// processes that share a lock must name the same directory, and only their users should be able to
// write to it. The empty string means the process-wide lock path, see [LockPath].
//
// A relative path is relative to the working directory that the process had when the package first
// needed it: at the first call with a relative path here or in OSLO_LOCK_PATH. If the process
// changes its working directory later, the path means the same directory as before.
func WithLockPath(dir string) Option { return Option{optionSpec: &optionSpecs[optLockPath], text: dir} }

// Fair serves the request strictly in order of arrival: no other request passes it, and it passes
// none. With [External] the order extends to all processes that use Fair for the lock. After a
// wait that was cancelled, its place is kept for the next request of the same process. Programs
// that poll are not in the order, and get their turn as described at [External]: a request that
// leaves the file to one keeps its place meanwhile.
func Fair() Option { return Option{optionSpec: &optionSpecs[optFair]} }

// Shared acquires the lock together with other Shared holders. Exclusive holders, those without
// Shared, exclude them and are excluded by them. Inside a process a request does not pass exclusive
// requests that wait, so readers cannot starve writers. Between processes only [Fair] ensures that.
// A lock has at most 16,777,216 holders in one process; one more waits.
func Shared() Option { return Option{optionSpec: &optionSpecs[optShared]} }

// NonBlocking makes the call fail with [ErrLocked] instead of waiting.
func NonBlocking() Option { return Option{optionSpec: &optionSpecs[optNonBlocking]} }

// WithTimeout bounds the wait. After d the call fails with an error that matches [ErrTimeout], and
// so [context.DeadlineExceeded]. With a zero d the call does not wait: its error then matches
// [ErrLocked] as well, also if the context holds the lock itself. A negative d is an error.
// NonBlocking in the same list is another.
func WithTimeout(d time.Duration) Option {
	return Option{optionSpec: &optionSpecs[optTimeout], number: int64(d)}
}

// WithDelay sets the longest interval between two tries to lock a file where the system cannot wake
// a waiter: on network file systems, on systems other than Linux, with [WithFcntl], and
// while very many lock files are waited for at once. The first tries follow each other faster. The
// default, also for zero, is 10 ms. A negative delay is an error.
func WithDelay(d time.Duration) Option {
	return Option{optionSpec: &optionSpecs[optDelay], number: int64(d)}
}

// WithSemaphores acquires the lock from this container instead of the package's own: inside a
// process, locks of different containers are different locks. A lock file does not know containers.
// A nil container means the package's own. A container together with [Fair] is an error.
func WithSemaphores(s *Semaphores) Option {
	if s == nil {
		return Option{optionSpec: &optionSpecs[optSemaphores]}
	}
	return Option{optionSpec: s.optionSpec()}
}

// WithLogging turns the log messages of the call on, which is the default, or off.
func WithLogging(on bool) Option {
	silent := int64(1)
	if on {
		silent = 0
	}
	return Option{optionSpec: &optionSpecs[optLogging], number: silent}
}

// WithFileMode sets the permissions of a lock file that is created. The umask of the process is
// taken off them, so that 0666 becomes 0644 under the usual umask of 022. The mode of a file that
// exists stays. The default, 0600, keeps other users out. The mode must contain nothing but
// permissions. It must let the owner read the file, and with [WithFcntl] or [Fair] write to it.
// Anything else is an error.
func WithFileMode(mode fs.FileMode) Option {
	return Option{optionSpec: &optionSpecs[optFileMode], number: int64(mode)}
}

// WithFcntl acquires an fcntl record lock on the lock file in addition to the flock(2) of
// [External]. So programs that know only this kind are excluded as well, Python's oslo.concurrency
// and fasteners among them. It uses open file description locks, which Linux has. On other systems
// the call fails with an error that matches [ErrOptions] and [errors.ErrUnsupported].
func WithFcntl() Option { return Option{optionSpec: &optionSpecs[optFcntl]} }

// settings is the sum of the options of one call.
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
	prefixScope    string          // the prefix without a hyphen at its end: its two spellings are one
	prefixHash     names.ScopeHash // of prefixScope
	lockPath       string
	semaphores     *Semaphores
	dryRun         bool
	matching       func(name string) bool // nil means all
	onService      bool                   // the lock is kept by service, which check has found usable
	service        driver.Service
	reentrantShare bool   // the context holds a share of the lock already; no option sets it
	by             string // the function that acquires the lock, if it has a name; no option sets it
	fileOnly       bool   // there is no internal layer: set by ExternalLock and InterProcessLock only
	contradictory  bool   // one list had NonBlocking and WithTimeout
	given          optionSet
	ever           optionSet
}

// An optionSet is a set of kinds of option.
type optionSet uint32

func (set optionSet) has(k optionKind) bool { return set&(1<<k) != 0 }

// apply changes the settings as one list of options says. A list undoes what an earlier list said
// about waiting.
func (s *settings) apply(opts []Option) {
	s.given = 0
	for i := range opts {
		o := &opts[i]
		if o.optionSpec == nil {
			continue
		}
		s.given |= 1 << o.kind
		switch o.kind {
		case optExternal:
			s.external = true
		case optPrefix:
			s.prefix = o.text
			s.prefixScope = strings.TrimSuffix(o.text, "-")
			s.prefixHash = names.NewScopeHash(s.prefixScope)
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
			s.semaphores = o.semaphores
		case optLogging:
			s.silent = o.number != 0
		case optFileMode:
			s.hasMode, s.fileMode = true, fs.FileMode(o.number)
		case optFcntl:
			s.fcntl = true
		case optService:
			s.onService = true
			s.service = o.service
		case optDryRun:
			s.dryRun = true
		case optMatching:
			s.matching = o.matching
		}
	}
	s.ever |= s.given
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
	s.collect(opts)
	return s
}

// defaultsNow returns the settings of a call without options. The caller must not change them.
func defaultsNow() *settings {
	if d := defaultSettings.Load(); d != nil {
		return d
	}
	return &noSettings
}

var noSettings settings

// collect is settingsOf for zero settings in place, since copies take longer than a free lock.
func (s *settings) collect(opts []Option) {
	if d := defaultSettings.Load(); d != nil {
		*s = *d
	}
	s.apply(opts)
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
	if defaultSettings.Load() == nil {
		return &k.alone
	}
	return k.combine()
}

// combine is settings with process-wide options.
func (k *keptOptions) combine() *settings {
	defaults := defaultsNow()
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

// plainOptions are those of a lock of this process that can be acquired in one step.
const plainOptions optionSet = 1<<optPrefix | 1<<optFair | 1<<optShared | 1<<optNonBlocking |
	1<<optTimeout | 1<<optLogging

// plain reports whether the settings are those of a lock of this process, of no container, and
// make sense.
func (s *settings) plain() bool {
	return s.ever&^plainOptions == 0 && !s.contradictory && s.timeout >= 0 && !s.fileOnly
}

// check returns an error that wraps ErrOptions if no lock can be acquired with the settings.
func (s *settings) check() error {
	err := s.contradiction()
	if err == nil {
		err = s.checkService()
	}
	return namingDefaults(err)
}

// checkOptions is check for calls that acquire nothing, and so need no lock service.
func (s *settings) checkOptions() error { return namingDefaults(s.contradiction()) }

// namingDefaults returns the error of settings. It names the default options if they are at fault
// by themselves.
func namingDefaults(err error) error {
	if err == nil {
		return nil
	}
	if d := defaultSettings.Load(); d != nil && (d.contradiction() != nil || d.checkService() != nil) {
		return fmt.Errorf("%w, see SetDefaultOptions", err)
	}
	return err
}

// contradiction returns an error that wraps ErrOptions if the settings contradict themselves.
func (s *settings) contradiction() error {
	switch {
	case s.fair && s.semaphores != nil:
		return invalid("Fair with WithSemaphores")
	case s.contradictory:
		return invalid("NonBlocking with WithTimeout")
	case s.timeout < 0:
		return invalid("negative timeout")
	case s.dryRun || s.matching != nil:
		return invalid("DryRun and Matching are for SweepExternalLockFiles")
	case s.delay < 0:
		return invalid("negative delay")
	case s.fileMode&^fs.ModePerm != 0:
		return invalid("file mode with other bits than permissions")
	case s.hasMode && s.fileMode&0o400 == 0,
		s.hasMode && (s.fcntl || s.fair) && s.fileMode&0o200 == 0:
		return invalid("file mode that keeps the owner from opening the file again")
	}
	return nil
}
