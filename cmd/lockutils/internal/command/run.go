package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/internal/child"
)

// tokenVariable names the variable in which the command finds its fencing tokens.
const tokenVariable = "LOCKUTILS_TOKEN"

// explainAfter is how long a wait lasts before the user is told what is waited for.
const explainAfter = time.Second

type runOptions struct {
	lockOptions
	shared, fair, fcntl bool
	noWait              bool
	wait                time.Duration // negative: as long as it takes
	conflict            int
	grace               time.Duration
	inherit             bool
	noFork, close       bool
	shell               string
	useShell            bool
	verbose             bool
}

// newRunOptions returns the options, which the flags set.
func newRunOptions(f *pflag.FlagSet) *runOptions {
	o := &runOptions{wait: -1}
	o.lockOptions.register(f)
	f.BoolFuncP("shared", "s", "take the lock together with other shared holders", o.setShared)
	f.BoolFuncP("exclusive", "x", "take the lock alone (the default)", o.setExclusive)
	f.BoolFuncP("exclusive-lock", "e", "", o.setExclusive)
	f.BoolVar(&o.fair, "fair", false, "be served in order of arrival")
	f.BoolVar(&o.fcntl, "fcntl", false, "exclude programs that lock with fcntl too, oslo.concurrency among them")
	f.FuncP("wait", "w", "wait no longer than `DURATION`, such as 30s or 2.5 (seconds)", o.setWait)
	f.BoolVarP(&o.noWait, "no-wait", "n", false, "do not wait")
	f.IntVarP(&o.conflict, "conflict-exit-code", "E", statusConflict,
		"exit `STATUS` if the lock cannot be acquired in time")
	f.DurationVar(&o.grace, "grace", 10*time.Second,
		"with --on: `TIME` between SIGTERM and SIGKILL when the lock is lost")
	f.BoolVar(&o.inherit, "inherit", false, "let what the command leaves running keep the lock")
	f.StringVarP(&o.shell, "command", "c", "", "run `LINE` with the shell")
	f.BoolVar(&o.verbose, "verbose", false, "say how long it took to get the lock, or that it is taken")
	f.BoolVarP(&o.noFork, "no-fork", "F", false,
		"become the command, which then keeps the lock as with --inherit")
	f.BoolVarP(&o.close, "close", "o", false, "the default; for compatibility with flock(1)")
	for _, hidden := range []string{"exclusive-lock", "close"} {
		f.Lookup(hidden).Hidden = true
	}
	f.SetNormalizeFunc(flockNames)
	return o
}

// endAtName has the flags of a command line end at the first name, as in flock(1), unless a double
// hyphen says where the command begins.
func endAtName(f *pflag.FlagSet, args []string) { f.SetInterspersed(slices.Contains(args, "--")) }

// flockNames are other names of options in flock(1).
func flockNames(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	switch name {
	case "nb", "nonblock", "nonblocking":
		name = "no-wait"
	case "timeout":
		name = "wait"
	}
	return pflag.NormalizedName(name)
}

func (o *runOptions) setShared(value string) (err error) {
	o.shared, err = strconv.ParseBool(value)
	return err
}

// setExclusive undoes an earlier --shared: the last of the two counts.
func (o *runOptions) setExclusive(value string) error {
	exclusive, err := strconv.ParseBool(value)
	o.shared = !exclusive
	return err
}

// setWait takes a duration, or seconds as flock(1) does.
func (o *runOptions) setWait(value string) error {
	d, err := time.ParseDuration(value)
	if seconds, e := strconv.ParseFloat(value, 64); e == nil {
		d, err = time.Duration(seconds*float64(time.Second)), nil
	}
	if err != nil || d < 0 {
		return errors.New("want a duration such as 30s, or a number of seconds")
	}
	o.wait = d
	return nil
}

// splitRun tells the names from the command. With a double hyphen it stands between the two;
// without one there is one name, as in flock(1). A double hyphen before an argument with a hyphen ends
// the options: that is a name, since no command begins so.
func splitRun(f *pflag.FlagSet, o *runOptions) (names, command []string, err error) {
	o.useShell = f.Changed("command")
	args, dash := f.Args(), f.ArgsLenAtDash()
	if dash == 0 && len(args) > 0 && strings.HasPrefix(args[0], "-") {
		dash = -1
	}
	if dash >= 0 {
		names, command = args[:dash], args[dash:]
	} else if i := slices.Index(args, "--"); i >= 0 {
		names, command = args[:i], args[i+1:]
	} else if len(args) > 0 {
		names, command = args[:1], args[1:]
	}
	if len(command) > 0 && (command[0] == "-c" || command[0] == "--command") && !o.useShell {
		if len(command) != 2 {
			return nil, nil, usageError("%s wants one shell line", command[0])
		}
		o.useShell, o.shell, command = true, command[1], nil
	}
	switch {
	case len(names) == 0:
		return nil, nil, usageError("no lock is named")
	case slices.Contains(names, ""):
		return nil, nil, usageError("the name of a lock is empty")
	case o.useShell && len(command) > 0:
		return nil, nil, usageError("both a command and -c are given")
	case !o.useShell && len(command) == 0 && isNumber(names[0]):
		return nil, nil, usageError("no command is given; the file descriptor %s cannot be locked", names[0])
	case !o.useShell && len(command) == 0:
		return nil, nil, usageError("no command is given")
	case o.noWait && o.wait >= 0:
		return nil, nil, usageError("both --no-wait and --wait are given")
	case o.conflict < 0 || o.conflict > 255:
		return nil, nil, usageError("an exit status is from 0 to 255, not %d", o.conflict)
	case o.grace < 0:
		return nil, nil, usageError("--grace: a time is not negative")
	case o.noFork && o.close:
		return nil, nil, usageError("both --no-fork and --close are given")
	case (o.inherit || o.noFork) && o.on != "":
		return nil, nil, usageError("--inherit and --no-fork are for lock files, not for a lock service")
	}
	if o.useShell {
		command = []string{shell(), "-c", o.shell}
	}
	return names, command, nil
}

func isNumber(name string) bool {
	_, err := strconv.Atoi(name)
	return err == nil
}

func shell() string {
	if sh := os.Getenv("SHELL"); sh != "" {
		return sh
	}
	return "/bin/sh"
}

// run acquires the locks, runs the command and ends with its status.
func run(s streams, names, command []string, o *runOptions) error {
	began := time.Now()
	held, err := acquireForRun(s, names, o)
	if err != nil {
		return err
	}
	if o.verbose {
		fmt.Fprintf(s.err, "lockutils: getting the lock took %v\n", time.Since(began).Round(time.Microsecond))
	}
	if o.noFork {
		return become(command, held)
	}
	ended, status, err := runHolding(command, held, o)
	// With --inherit the descriptor that the command has inherited keeps the lock. An unlock would end it.
	if !o.inherit {
		if e := held.unlock(); e != nil && err == nil {
			if errors.Is(e, lockutils.ErrLost) {
				return &statusError{statusLost, held.lossError()}
			}
			report(s.err, e)
		}
	}
	if err == nil {
		child.EndInterrupted(ended)
	}
	return exit(status, err)
}

// acquireForRun acquires the locks within the time that the options allow.
func acquireForRun(s streams, names []string, o *runOptions) (*heldLocks, error) {
	ctx := context.Background()
	if o.wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.wait)
		defer cancel()
	}
	// At a service the request of a process that is gone would block those behind it until its lease
	// ends. And of itself a Go program goes on after some signals that end others. But a try at a lock
	// file leaves nothing behind: it begins while the signals are being caught, which takes as long.
	ctx, ended := interruptible(ctx)
	if !o.noWait || o.on != "" {
		<-ended.caught
	}
	held, err := dialAndAcquire(ctx, s, names, o)
	if s := ended.stop(); s != nil {
		if err == nil {
			held.unlock()
		}
		return nil, endBy(s)
	}
	_, known := errors.AsType[*statusError](err)
	switch {
	case err == nil:
		held.signals = ended.signals
		return held, nil
	case known:
		return nil, err
	case errors.Is(err, lockutils.ErrLocked), errors.Is(err, context.DeadlineExceeded):
		if o.conflictIsSilent() {
			return nil, &statusError{status: o.conflict}
		}
		return nil, &statusError{o.conflict, o.notInTime(err)}
	case errors.Is(err, lockutils.ErrLockPath):
		return nil, errNoLockPath
	case errors.Is(err, lockutils.ErrOptions), errors.Is(err, lockutils.ErrName):
		return nil, usageError("%w", err)
	}
	return nil, &statusError{statusUnavailable, err}
}

// dialAndAcquire acquires the locks, and tells what it waits for if that takes long.
func dialAndAcquire(ctx context.Context, s streams, names []string, o *runOptions) (*heldLocks, error) {
	at, err := o.dial(ctx)
	if err != nil {
		return nil, err
	}
	if !o.conflictIsSilent() {
		explained := time.AfterFunc(explainAfter, func() { explain(s, names, o, at) })
		defer explained.Stop()
	}
	return acquire(ctx, names, o, at)
}

// An interruption is a signal that ends a wait.
type interruption struct {
	cancel  context.CancelFunc
	caught  chan struct{}  // closes once signals are caught
	signals chan os.Signal // those that come from then on
	signal  chan os.Signal // one, or nil for none
}

// interruptible returns a context that ends with the first signal that ends a wait. The caller has to
// stop the interruption.
func interruptible(parent context.Context) (context.Context, *interruption) {
	ctx, cancel := context.WithCancel(parent)
	i := &interruption{cancel: cancel, caught: make(chan struct{}), signal: make(chan os.Signal)}
	go func() {
		defer close(i.signal)
		endings := child.Endings()
		i.signals = child.CatchSignals()
		close(i.caught)
		for {
			select {
			case s := <-i.signals:
				if slices.Contains(endings, s) {
					signal.Reset(endings...) // the next one ends the program, if the service does not answer
					cancel()
					i.signal <- s
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, i
}

// stop returns the signal that has come, or nil. Signals are caught by then, and later ones stay where
// they arrive.
func (i *interruption) stop() os.Signal {
	i.cancel()
	return <-i.signal
}

// endBy ends the program by a signal, as if it had not been caught. A Go program can die of some only.
// For the others it exits with the status that a shell would give it.
func endBy(s os.Signal) error {
	switch s {
	case syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM:
		signal.Reset(s)
		if self, err := os.FindProcess(os.Getpid()); err == nil && self.Signal(s) == nil {
			time.Sleep(time.Second) // another thread may take the signal
		}
	}
	number, _ := s.(syscall.Signal)
	return &statusError{status: 128 + int(number)}
}

// notInTime says which lock was not acquired in the time given.
func (o *runOptions) notInTime(err error) error {
	e, ok := errors.AsType[*lockutils.AcquireError](err)
	switch {
	case !ok:
		return err
	case o.wait > 0:
		return fmt.Errorf("lock %q was not acquired within %v", e.Name, o.wait)
	}
	return fmt.Errorf("lock %q is taken", e.Name)
}

// conflictIsSilent reports whether a try that fails says nothing, as that of flock(1).
func (o *runOptions) conflictIsSilent() bool { return (o.noWait || o.wait == 0) && !o.verbose }

// explain tells what is waited for.
func explain(s streams, names []string, o *runOptions, at service) {
	for _, line := range o.holderLines(names, at) {
		fmt.Fprintln(s.err, "lockutils: waiting for", line)
	}
}

// runHolding runs the command, and ends it if the lock is lost. The status is the program's own.
func runHolding(
	command []string, held *heldLocks, o *runOptions,
) (ended syscall.WaitStatus, status int, err error) {
	if tokens := held.tokens(); tokens != nil {
		if err := os.Setenv(tokenVariable, strings.Join(tokens, " ")); err != nil {
			return ended, statusFailure, err
		}
	}
	var files []*os.File
	attr := endWithParent
	if o.inherit {
		attr = nil
		files, err = inheritable(held.paths())
		if err != nil {
			return ended, statusUnavailable, err
		}
		defer func() {
			for _, f := range files {
				f.Close()
			}
		}()
	}
	process, status, err := child.Start(command, files, attr)
	if err != nil {
		return ended, status, cannotRun(command[0], status, err)
	}
	if !o.inherit {
		endBeforeRelease(process.PID, len(held.guards))
	}
	ended, err = process.Wait(held.signals, held.lost(), o.grace)
	if err != nil {
		return ended, statusFailure, err
	}
	return ended, child.ExitStatus(ended), nil
}

// become replaces this program by the command, which inherits the locks.
func become(command []string, held *heldLocks) error {
	path, err := exec.LookPath(command[0])
	if err == nil {
		err = keepOpen(held.paths())
	}
	signal.Reset() // later signals end the program itself
	for len(held.signals) > 0 {
		if s := <-held.signals; slices.Contains(child.Endings(), s) {
			return endBy(s)
		}
	}
	if err == nil {
		err = replaceProcess(path, command)
	}
	status := child.StartFailureStatus(command[0], err)
	return &statusError{status, cannotRun(command[0], status, err)}
}

// cannotRun says why a command was not started, and what to do.
func cannotRun(command string, status int, err error) error {
	if status == child.StatusNotFound {
		return fmt.Errorf("command %q was not found: check its name, and PATH", command)
	}
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		err = cause
	}
	return fmt.Errorf("command %q cannot be run: %w", command, err)
}

// exit is the error that ends the program with a status.
func exit(status int, err error) error {
	if status == 0 && err == nil {
		return nil
	}
	return &statusError{status, err}
}
