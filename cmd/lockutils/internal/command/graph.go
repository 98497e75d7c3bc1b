//go:build !lockutils_split

package command

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

func newGraph(s streams) *cobra.Command {
	var o lookOptions
	var out output
	cmd := &cobra.Command{
		Use:   "graph [options]",
		Short: "Show who waits for whom",
		Long: "Graph shows each wait with the holders that it is for, as text or, with -o dot, for Graphviz:\n\n" +
			"  lockutils graph -o dot | dot -Tsvg >locks.svg",
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if err := out.check("text", "dot", "json"); err != nil {
				return err
			}
			locks, err := o.look(s)
			if err != nil {
				return err
			}
			edges := edgesOf(locks)
			switch out.format {
			case "json":
				return writeJSON(s.out, edges)
			case "dot":
				return writeDot(s.out, edges)
			}
			return writeEdges(s.out, edges)
		},
	}
	o.register(cmd.Flags())
	out.register(cmd.Flags(), "text", "dot", "json")
	return cmd
}

// An Edge is one wait, and its form in JSON.
type Edge struct {
	Waiter  Party   `json:"waiter"`
	Lock    string  `json:"lock"`
	Path    string  `json:"path"`
	Holders []Party `json:"holders"`
}

func edgesOf(locks []Lock) []Edge {
	edges := []Edge{}
	for _, l := range locks {
		for _, w := range l.Waiters {
			edges = append(edges, Edge{Waiter: w, Lock: l.fullName(), Path: l.Path, Holders: l.Holders})
		}
	}
	return edges
}

func writeEdges(w io.Writer, edges []Edge) error {
	var text strings.Builder
	if len(edges) == 0 {
		text.WriteString("nobody waits\n")
	}
	for _, e := range edges {
		fmt.Fprintf(&text, "%s waits for %s", node(e.Waiter), visible(e.Lock))
		if len(e.Holders) > 0 {
			fmt.Fprintf(&text, ", held by %s", describe(e.Holders))
		}
		text.WriteString("\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// node names a party in a graph. A goroutine is known by the locks that it holds.
func node(p Party) string {
	name := strings.TrimSpace(pid(p) + " " + visible(p.Command))
	if len(p.Holds) > 0 {
		var holds []string
		for _, h := range p.Holds {
			holds = append(holds, visible(h))
		}
		name += ", holding " + strings.Join(holds, ", ")
	}
	return name
}

// quoteDot quotes the name of a node. It is its label too, in which a backslash and an ampersand are
// special.
func quoteDot(name string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "&", "&amp;").Replace(name) + `"`
}

// writeDot writes a graph from waiters over locks to holders.
func writeDot(w io.Writer, edges []Edge) error {
	var text strings.Builder
	text.WriteString("digraph locks {\n\trankdir=LR;\n\tnode [shape=box];\n")
	seen := make(map[string]bool)
	line := func(format string, args ...string) {
		quoted := make([]any, len(args))
		for i, a := range args {
			quoted[i] = quoteDot(a)
		}
		if l := fmt.Sprintf(format, quoted...); !seen[l] {
			seen[l] = true
			text.WriteString(l)
		}
	}
	for _, e := range edges {
		lock := "lock " + visible(e.Lock)
		line("\t%s [shape=ellipse];\n", lock)
		line("\t%s -> %s;\n", node(e.Waiter), lock)
		for _, h := range e.Holders {
			line("\t%s -> %s;\n", lock, node(h))
		}
		for _, held := range e.Waiter.Holds {
			held = "lock " + visible(held)
			line("\t%s [shape=ellipse];\n", held)
			line("\t%s -> %s;\n", held, node(e.Waiter))
		}
	}
	text.WriteString("}\n")
	_, err := io.WriteString(w, text.String())
	return err
}
