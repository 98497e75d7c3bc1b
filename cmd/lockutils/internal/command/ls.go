//go:build !lockutils_split

package command

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newList(s streams) *cobra.Command {
	var o lookOptions
	var out output
	cmd := &cobra.Command{
		Use:   "ls [options]",
		Short: "List all locks, used or not",
		Long: "Ls lists all lock files of the lock path, or all locks of a lock service or of a program's debug\n" +
			"page, with their holders and how many wait.",
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if err := out.check("table", "json"); err != nil {
				return err
			}
			locks, err := o.look(s)
			if err != nil {
				return err
			}
			if out.format == "json" {
				return writeJSON(s.out, orEmpty(locks))
			}
			now := time.Now()
			t := newTable("LOCK", "MODE", "WAITERS", "LAST USED", "HOLDERS")
			for _, l := range locks {
				t.row(visible(l.fullName()), l.Mode, strconv.Itoa(len(l.Waiters)), since(l.LastUsed, now),
					describe(l.Holders))
			}
			return t.print(s.out)
		},
	}
	o.register(cmd.Flags())
	out.register(cmd.Flags(), "table", "json")
	return cmd
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError("unexpected argument %q", args[0])
	}
	return nil
}

// orEmpty makes JSON of no locks an empty list.
func orEmpty(locks []Lock) []Lock {
	if locks == nil {
		return []Lock{}
	}
	return locks
}

// describe names holders or waiters on one line.
func describe(parties []Party) string {
	var all []string
	for _, p := range parties {
		all = append(all, strings.TrimSpace(pid(p)+" "+visible(p.Command)))
	}
	return strings.Join(all, "; ")
}
