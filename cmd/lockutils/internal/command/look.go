//go:build !lockutils_split

package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/lockdebug"
)

// A Lock is one lock as the subcommands show it, and its form in JSON.
type Lock struct {
	Name     string    `json:"name"`  // of a lock file: its file name
	Scope    string    `json:"scope"` // the prefix, where it is known
	Path     string    `json:"path"`  // of the lock file, or ""
	Service  string    `json:"service"`
	Mode     string    `json:"mode"` // how it is held: "none", "reader" or "writer"
	Holders  []Party   `json:"holders"`
	Waiters  []Party   `json:"waiters"`
	LastUsed time.Time `json:"lastUsed,omitzero"`
}

// A Party holds a lock or waits for it: a process, or a goroutine of the program of a debug page.
type Party struct {
	PID     int       `json:"pid,omitempty"` // left out if it cannot be told
	Command string    `json:"command"`
	Mode    string    `json:"mode"`
	Since   time.Time `json:"since,omitzero"`
	Holds   []string  `json:"holds,omitempty"` // other locks that it is known to hold
}

// lookOptions say where to look for locks.
type lookOptions struct {
	lockOptions
	url  string
	name string // of the one lock to look at, with its prefix; "" for all
}

func (o *lookOptions) register(f *pflag.FlagSet) {
	o.lockOptions.register(f)
	f.StringVar(&o.url, "url", "", "show the locks of the program whose debug page is at `URL`")
}

// A source is where locks are looked at, again and again if need be. close has to be called.
type source struct {
	read  func() ([]Lock, error)
	close func()
}

// open connects to where the locks are.
func (o *lookOptions) open() (*source, error) {
	nothing := func() {}
	switch {
	case o.url != "" && o.on != "":
		return nil, usageError("both --url and --on are given")
	case o.url != "":
		return &source{func() ([]Lock, error) { return lookAtPage(o.url) }, nothing}, nil
	case o.on != "":
		return o.openService()
	}
	return &source{func() ([]Lock, error) { return lookAtFiles(o.options()) }, nothing}, nil
}

// look looks once.
func (o *lookOptions) look(s streams) ([]Lock, error) {
	if o.url == "" && o.on == "" {
		o.warnIfMissing(s.err)
	}
	src, err := o.open()
	if err != nil {
		return nil, err
	}
	defer src.close()
	return o.order(src.read())
}

// order returns the locks of the prefix: those that are waited for first, then those that are held,
// each by name.
func (o *lookOptions) order(locks []Lock, err error) ([]Lock, error) {
	locks = slices.DeleteFunc(locks, func(l Lock) bool { return !o.belongs(l) })
	slices.SortStableFunc(locks, compareLocks)
	for i := range locks { // lists are never null in JSON
		locks[i].Holders = append([]Party{}, locks[i].Holders...)
		locks[i].Waiters = append([]Party{}, locks[i].Waiters...)
	}
	return locks, err
}

// belongs reports whether the lock has the prefix. Only a debug page tells the prefix from the name.
func (o *lookOptions) belongs(l Lock) bool {
	prefix := strings.TrimSuffix(o.prefix, "-")
	return prefix == "" || l.Scope == prefix || strings.HasPrefix(l.Name, prefix+"-")
}

func compareLocks(a, b Lock) int {
	rank := func(l Lock) int {
		switch {
		case len(l.Waiters) > 0:
			return 0
		case len(l.Holders) > 0 || l.Mode != "none":
			return 1
		}
		return 2
	}
	if d := rank(a) - rank(b); d != 0 {
		return d
	}
	return strings.Compare(a.Scope+"\x00"+a.Name, b.Scope+"\x00"+b.Name)
}

// lookAtFiles reads what the kernel knows of the lock files in the lock path.
func lookAtFiles(opts []lockutils.Option) ([]Lock, error) {
	files, err := lockutils.HostLocks(opts...)
	if errors.Is(err, lockutils.ErrLockPath) {
		return nil, errNoLockPath
	}
	if err != nil {
		return nil, &statusError{statusUnavailable, err}
	}
	locks := make([]Lock, 0, len(files))
	for _, f := range files {
		l := Lock{Name: filepath.Base(f.Path), Path: f.Path, Mode: "none", LastUsed: f.LastUsed}
		for _, h := range f.Holders {
			l.Mode = h.Mode.String()
			l.Holders = append(l.Holders, processParty(h, f.LastUsed))
		}
		for _, w := range f.Waiters {
			l.Waiters = append(l.Waiters, processParty(w, time.Time{}))
		}
		locks = append(locks, l)
	}
	return locks, nil
}

// processParty describes a process. The file's time of last use is when a lone holder acquired it.
func processParty(h lockutils.Holder, used time.Time) Party {
	p := Party{PID: h.PID, Command: h.Command, Mode: h.Mode.String()}
	if h.PID == lockutils.UnknownPID {
		p.PID = 0
	}
	if h.Mode == lockutils.ModeWriter {
		p.Since = used
	}
	return p
}

// pageLimit bounds how long a debug page may take to answer.
const pageLimit = 10 * time.Second

// lookAtPage reads the debug page of a program.
func lookAtPage(url string) ([]Lock, error) {
	report, err := readPage(url)
	if err != nil {
		err = fmt.Errorf("no debug page of lockutils at %s: %w; want for example "+
			"http://localhost:6060/debug/lockutils", visible(url), err)
		return nil, &statusError{statusUnavailable, err}
	}
	locks := make([]Lock, 0, len(report.Locks))
	for _, from := range report.Locks {
		l := Lock{Name: from.Name, Scope: from.Scope, Path: from.Path, Service: from.Service}
		l.Mode = visible(from.Mode)
		for _, h := range from.Holders {
			l.Holders = append(l.Holders, Party{PID: report.PID, Command: h.By, Mode: l.Mode, Since: h.Since})
		}
		for _, w := range from.Waiters {
			l.Waiters = append(l.Waiters,
				Party{PID: report.PID, Command: w.By, Mode: visible(w.Mode), Since: w.Since, Holds: w.Holds})
		}
		locks = append(locks, l)
	}
	return locks, nil
}

func readPage(url string) (*lockdebug.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), pageLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	query := request.URL.Query()
	query.Set("format", "json")
	request.URL.RawQuery = query.Encode()
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return nil, errors.New(reply.Status)
	}
	report := new(lockdebug.Report)
	return report, json.NewDecoder(reply.Body).Decode(report)
}

// openService connects to a lock service that tells of its locks.
func (o *lookOptions) openService() (*source, error) {
	at, err := o.dial(context.Background())
	if err != nil {
		return nil, err
	}
	if !tells(at, o.name) {
		at.Close()
		return nil, &statusError{statusUnavailable, fmt.Errorf("%s does not know the names of its locks: "+
			"use who NAME, or look at the debug page of a program with --url", at.Name())}
	}
	return &source{func() ([]Lock, error) { return lookAtService(at, o.name) }, func() { at.Close() }}, nil
}

// lookAtService reads what a lock service tells of its locks, or of the one with that name.
func lookAtService(at service, name string) ([]Lock, error) {
	ctx, cancel := context.WithTimeout(context.Background(), pageLimit)
	defer cancel()
	found, err := inspect(ctx, at, name)
	if err != nil {
		return nil, &statusError{statusUnavailable, err}
	}
	locks := make([]Lock, 0, len(found))
	for _, from := range found {
		l := Lock{Name: from.Name, Service: at.Name(), Mode: "none"}
		for _, c := range from.Holders {
			l.Mode = modeName(c.Shared)
			l.Holders = append(l.Holders, Party{Command: c.Client, Mode: l.Mode, Since: c.Since})
		}
		for _, c := range from.Waiters {
			l.Waiters = append(l.Waiters, Party{Command: c.Client, Mode: modeName(c.Shared), Since: c.Since})
		}
		locks = append(locks, l)
	}
	return locks, nil
}

func modeName(shared bool) string {
	if shared {
		return lockutils.ModeReader.String()
	}
	return lockutils.ModeWriter.String()
}
