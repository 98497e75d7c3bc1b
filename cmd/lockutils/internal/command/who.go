//go:build !lockutils_split

package command

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockutils/lockutils"
)

func newWho(s streams) *cobra.Command {
	var o lookOptions
	var out output
	cmd := &cobra.Command{
		Use:   "who [options] NAME",
		Short: "Show who holds a lock and who waits for it",
		Long: "Who shows the holders of a lock and its waiters, since when, and what they are running. A NAME\n" +
			"with a slash is the path of the lock file.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return usageError("want the name of one lock")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if err := out.check("table", "json"); err != nil {
				return err
			}
			lock, err := o.find(s, args[0])
			if err != nil {
				return err
			}
			if out.format == "json" {
				return writeJSON(s.out, lock)
			}
			return printWho(s, lock)
		},
	}
	o.register(cmd.Flags())
	out.register(cmd.Flags(), "table", "json")
	return cmd
}

// find returns the lock of that name. One that nobody has ever used is free as well.
func (o *lookOptions) find(s streams, name string) (Lock, error) {
	wanted := func(l Lock) bool { return l.Name == name || l.fullName() == o.fullName(name) }
	o.name = o.fullName(name)
	free := Lock{Name: o.name, Mode: "none", Holders: []Party{}, Waiters: []Party{}}
	if o.url == "" && o.on == "" {
		path, err := o.filePath(name)
		if errors.Is(err, lockutils.ErrLockPath) {
			err = errNoLockPath
		}
		if err != nil {
			return free, err
		}
		o.path, o.prefix = filepath.Dir(path), ""
		wanted = func(l Lock) bool { return realPath(l.Path) == realPath(path) }
		free.Name, free.Path = filepath.Base(path), path
	}
	locks, err := o.look(s)
	if err != nil {
		return free, err
	}
	for _, l := range locks {
		if wanted(l) {
			return l, nil
		}
	}
	return free, nil
}

func printWho(s streams, l Lock) error {
	now := time.Now()
	t := newTable("ROLE", "PID", "MODE", "SINCE", "COMMAND")
	for _, p := range l.Holders {
		t.row("holder", pid(p), p.Mode, since(p.Since, now), visible(p.Command))
	}
	for _, p := range l.Waiters {
		t.row("waiter", pid(p), p.Mode, since(p.Since, now), visible(p.Command))
	}
	if len(l.Holders)+len(l.Waiters) == 0 {
		t = newTable("lock " + visible(l.fullName()) + " is free")
	}
	return t.print(s.out)
}
