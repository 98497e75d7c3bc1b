//go:build !lockutils_split

package command

import (
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockutils/lockutils"
)

func newSweep(s streams) *cobra.Command {
	var o lockOptions
	var out output
	var older time.Duration
	var dryRun bool
	var matching string
	cmd := &cobra.Command{
		Use:   "sweep --older AGE [options]",
		Short: "Remove lock files that are not used",
		Long: "Sweep removes the lock files of the lock path that nobody holds or waits for and that nobody has\n" +
			"used for AGE, such as 24h. It is safe beside programs that use the lock path through lockutils. Do\n" +
			"not sweep files that flock(1) or Python programs share: they do not notice a removal. Files that\n" +
			"are not empty stay.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check("text", "json"); err != nil {
				return err
			}
			switch {
			case !cmd.Flags().Changed("older"):
				return usageError("--older is missing: say how long a file must be unused, as in --older 24h")
			case older < 0:
				return usageError("--older: an age is not negative")
			case o.on != "":
				return usageError("--on: a lock service removes unused locks by itself")
			}
			opts := []lockutils.Option{
				lockutils.WithPrefix(o.prefix), lockutils.WithLockPath(o.path), lockutils.WithLogging(false),
			}
			if dryRun {
				opts = append(opts, lockutils.DryRun())
			}
			if cmd.Flags().Changed("matching") {
				if _, err := path.Match(matching, ""); err != nil {
					return usageError("--matching: %q is not a pattern", matching)
				}
				opts = append(opts, lockutils.Matching(func(name string) bool {
					ok, _ := path.Match(matching, name)
					return ok
				}))
			}
			o.warnIfMissing(s.err)
			result, err := lockutils.SweepExternalLockFiles(older, opts...)
			if errors.Is(err, lockutils.ErrLockPath) {
				return errNoLockPath
			}
			if err := printSweep(s, out.format, result, dryRun); err != nil {
				return err
			}
			if err != nil {
				return &statusError{statusUnavailable, err}
			}
			return nil
		},
	}
	f := cmd.Flags()
	o.register(f)
	f.Lookup("on").Hidden = true
	f.DurationVar(&older, "older", 0,
		"remove what has not been used for `AGE`, such as 24h; 0s: what is not used now")
	f.BoolVar(&dryRun, "dry-run", false, "remove nothing, and show what would go")
	f.StringVar(&matching, "matching", "", "keep to names that match the shell `PATTERN`")
	out.register(f, "text", "json")
	return cmd
}

// A sweepReport is the result of a sweep in JSON.
type sweepReport struct {
	DryRun   bool     `json:"dryRun"`
	Removed  []string `json:"removed"`
	InUse    []string `json:"inUse"`
	NotEmpty []string `json:"notEmpty"`
}

func printSweep(s streams, format string, r lockutils.SweepResult, dryRun bool) error {
	if format == "json" {
		return writeJSON(s.out, sweepReport{
			DryRun: dryRun, Removed: append([]string{}, r.Removed...),
			InUse: append([]string{}, r.InUse...), NotEmpty: append([]string{}, r.NotEmpty...),
		})
	}
	verb := "removed"
	if dryRun {
		verb = "would remove"
	}
	for _, list := range []struct {
		verb  string
		paths []string
	}{{verb, r.Removed}, {"left, in use:", r.InUse}, {"left, not empty:", r.NotEmpty}} {
		for _, p := range list.paths {
			if _, err := fmt.Fprintln(s.out, list.verb, visible(p)); err != nil {
				return err
			}
		}
	}
	return nil
}
