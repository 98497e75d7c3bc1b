package prove

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/anishathalye/porcupine"
)

// A violation is a history that no order of its events explains.
type violation struct {
	permits int
	history history // minimised
	picture string  // path of the visualisation
}

func (v *violation) String() string {
	return fmt.Sprintf("no lock with %d permits has this history:\n%vpicture: %s", v.permits,
		v.history, v.picture)
}

// check returns nil if a lock with that many permits can produce the history.
// It writes the visualisation of a violation into dir.
func check(h history, permits int, dir string) *violation {
	h = h.decisive()
	if h.legal(permits) {
		return nil
	}
	v := &violation{permits: permits, history: h.shortest(permits)}
	v.picture = v.draw(dir)
	return v
}

// decisive returns the events that the model can judge.
func (h history) decisive() history {
	var kept history
	for i, e := range h {
		switch {
		case e.Action == sweep || e.Action == abandon:
		case (e.Action == refuse || e.Action == inUse) && h.overlapped(i):
		default:
			kept = append(kept, e)
		}
	}
	return kept
}

// overlapped reports whether event i overlaps another event in time.
func (h history) overlapped(i int) bool {
	return slices.ContainsFunc(slices.Concat(h[:i], h[i+1:]), func(e event) bool {
		return e.Call <= h[i].Return && h[i].Call <= e.Return
	})
}

func (h history) operations() []porcupine.Operation {
	operations := make([]porcupine.Operation, len(h))
	for i, e := range h {
		operations[i] = porcupine.Operation{ClientId: e.Client, Input: e, Call: e.Call, Return: e.Return}
	}
	return operations
}

func (h history) legal(permits int) bool {
	return porcupine.CheckOperations(model(permits), h.operations())
}

// shortest returns a minimal illegal part of an illegal history.
//
// Dropping events must not itself make the rest illegal, as dropping an acquisition but not its
// release would. So a request is dropped as a whole, with its arrival and release. It stays if it
// may be the reason for a refusal or a wait that stays.
func (h history) shortest(permits int) history {
	for size := len(h); size > 0; {
		shorter := false
		for from := 0; from < len(h); {
			candidate := h.drop(from, size)
			if len(candidate) < len(h) && !candidate.legal(permits) {
				h, shorter = candidate, true
			} else {
				from += size
			}
		}
		if !shorter {
			size /= 2
		}
	}
	return h
}

// drop returns the history without size events from index from on and without the rest of their
// requests. It keeps whatever may be the reason for an event that stays.
func (h history) drop(from, size int) history {
	dropped := map[int]bool{} // requests
	single := map[int]bool{}  // indexes of events outside a request's life cycle
	for i := from; i < min(from+size, len(h)); i++ {
		if h[i].Action.changes() {
			dropped[h[i].Request.ID] = true
		} else {
			single[i] = true
		}
	}
	for h.keepReasons(dropped, single) {
	}
	var rest history
	for i, e := range h {
		if !single[i] && !(e.Action.ofRequest() && dropped[e.Request.ID]) {
			rest = append(rest, e)
		}
	}
	return rest
}

// keepReasons removes from dropped each request that may be the reason for an event that stays.
// It reports whether it removed any: such a request may need a reason itself.
func (h history) keepReasons(dropped, single map[int]bool) (any bool) {
	for i, e := range h {
		if !e.Action.needsReason() || single[i] || dropped[e.Request.ID] {
			continue
		}
		for id := range dropped {
			if first, last := h.span(id); first <= e.Return && e.Call <= last {
				delete(dropped, id)
				any = true
			}
		}
	}
	return any
}

// changes reports whether the action is a step in the life cycle of a request.
func (a action) changes() bool {
	return a == arrive || a == enter || a == withdraw || a == leave
}

// ofRequest reports whether the action has no meaning without the others of its request.
func (a action) ofRequest() bool { return a.changes() || a == wait || a == notHeld }

// needsReason reports whether another request must exist for the action to be legal.
func (a action) needsReason() bool { return a == refuse || a == inUse || a == wait }

// span returns the interval in which a request may have held the lock or waited for it.
func (h history) span(id int) (first, last int64) {
	ended := false
	for _, e := range h {
		if !e.Action.changes() || e.Request.ID != id {
			continue
		}
		if first == 0 || e.Call < first {
			first = e.Call
		}
		last = max(last, e.Return)
		ended = ended || e.Action == leave || e.Action == withdraw
	}
	if !ended {
		last = 1<<63 - 1
	}
	return first, last
}

// draw writes the visualisation of the violation and returns its path.
func (v *violation) draw(dir string) string {
	m := model(v.permits)
	_, info := porcupine.CheckOperationsVerbose(m, v.history.operations(), 0)
	file, err := os.CreateTemp(dir, "lockutils-history-*.html")
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	if err := porcupine.Visualize(m, info, file); err != nil {
		return err.Error()
	}
	path, _ := filepath.Abs(file.Name())
	return path
}
