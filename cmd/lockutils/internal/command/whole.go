//go:build !lockutils_split

package command

import "github.com/spf13/cobra"

func commands(s streams) []*cobra.Command {
	return []*cobra.Command{newRun(s), newWho(s), newList(s), newTop(s), newSweep(s), newGraph(s)}
}

// delegate does nothing: this program does all the work itself.
func delegate([]string) error { return nil }
