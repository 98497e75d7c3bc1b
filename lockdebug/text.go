package lockdebug

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// writeText writes the report as tables for a terminal. Names are quoted where they could disturb
// it.
func writeText(to io.Writer, r *Report) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "locks of %s, process %d, %s\n\n",
		visible(r.Program), r.PID, r.Time.Format("2006-01-02 15:04:05.000"))
	writeLocks(w, r)
	writeDeadlocks(w, r)
	writeStats(w, r)
	writeFiles(w, r)
	return w.Flush()
}

func writeLocks(w io.Writer, r *Report) {
	if len(r.Locks) == 0 {
		fmt.Fprintln(w, "no lock is held or waited for")
		return
	}
	fmt.Fprintln(w, "LOCK\tKEPT BY\tHELD\tWAITERS\tLONGEST WAIT")
	for _, l := range first(r.Locks, limits.Locks) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", scoped(l.Scope, l.Name), keptBy(l), heldBy(l),
			len(l.Waiters), seconds(l.Waited))
		for _, h := range first(l.Holders, limits.Holders) {
			fmt.Fprintf(w, "    holder\t%s\tfor %s\t\t\n", origin(h.By, h.Stack), seconds(h.Held))
		}
		writeMore(w, "    holders: ", len(l.Holders), limits.Holders)
		for i, q := range first(l.Waiters, limits.Waiters) {
			fmt.Fprintf(w, "    waiter %d\t%s\tfor %s\t%s\t%s\n",
				i+1, origin(q.By, q.Stack), seconds(q.Waited), mode(q), holds(q.Holds))
		}
		writeMore(w, "    waiters: ", len(l.Waiters), limits.Waiters)
	}
	writeMore(w, "", len(r.Locks), limits.Locks)
}

// first returns the elements of a list up to a limit.
func first[T any](list []T, limit int) []T { return list[:min(limit, len(list))] }

// writeMore writes how many elements of a list exceed a limit, if any do.
func writeMore(w io.Writer, what string, n, limit int) {
	if text := more(n, limit); text != "" {
		fmt.Fprintf(w, "%s%s\t\t\t\t\n", what, text)
	}
}

func writeDeadlocks(w io.Writer, r *Report) {
	for _, d := range r.Deadlocks {
		fmt.Fprintf(w, "\ndeadlock, %s: %s\n", ago(r.Time, d.Time), message(d.Message))
	}
}

func writeStats(w io.Writer, r *Report) {
	if len(r.Stats) == 0 {
		return
	}
	fmt.Fprintln(w, "\nCLASS\tMODE\tLAYER\tWAITS\tWAITING\tP50\tP99\tTIMEOUTS\tCANCELLED\tDEADLOCKS\tLOST")
	for _, s := range r.Stats {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%d\t%d\t%d\t%d\n", visible(s.Class), s.Mode, s.Layer,
			s.Contentions, s.Waiting, percentile(s.Wait, 0.5), percentile(s.Wait, 0.99),
			s.Timeouts, s.Cancellations, s.Deadlocks, s.Lost)
	}
}

func writeFiles(w io.Writer, r *Report) {
	if r.FileError != "" {
		fmt.Fprintf(w, "\n%s\n", message(r.FileError))
	}
	if len(r.Files) == 0 {
		return
	}
	fmt.Fprintln(w, "\nFILE\tHOLDERS\tWAITERS\tLAST USED")
	for _, f := range first(r.Files, limits.Files) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n",
			visible(f.Path), processes(f.Holders), processes(f.Waiters), ago(r.Time, f.LastUsed))
	}
	writeMore(w, "", len(r.Files), limits.Files)
}

func scoped(scope, name string) string {
	if scope == "" {
		return visible(name)
	}
	return visible(scope) + " " + visible(name)
}

func keptBy(l Lock) string {
	switch {
	case l.Service != "":
		return visible(l.Service)
	case l.Path != "":
		return visible(l.Path)
	}
	return "this process"
}

func heldBy(l Lock) string {
	if l.Readers > 1 {
		return fmt.Sprintf("%d readers", l.Readers)
	}
	return l.Mode
}

func mode(w Waiter) string {
	if w.Fair {
		return w.Mode + ", fair"
	}
	return w.Mode
}

func holds(names []string) string {
	if len(names) == 0 {
		return ""
	}
	shown := list(first(names, limits.Holds), visible)
	return strings.TrimSpace("holds " + strings.Join(shown, ", ") + " " + more(len(names), limits.Holds))
}

// origin returns the function that a request came from, or the innermost one of its stack.
func origin(by string, stack []Frame) string {
	switch {
	case by != "":
		return visible(by)
	case len(stack) > 0:
		return fmt.Sprintf("%s:%d", stack[0].File, stack[0].Line)
	}
	return "-"
}

func processes(all []Process) string {
	if len(all) == 0 {
		return "-"
	}
	shown := list(first(all, limits.Processes), func(p Process) string {
		if p.PID == 0 {
			return "unknown"
		}
		return fmt.Sprintf("%d %s", p.PID, visible(p.Command))
	})
	return strings.TrimSpace(strings.Join(shown, "; ") + " " + more(len(all), limits.Processes))
}
