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
	history history // the shortest part of it that shows the same
	picture string  // the path of the checker's picture
}

func (v *violation) String() string {
	return fmt.Sprintf("no lock with %d permits has this history:\n%vpicture: %s", v.permits, v.history, v.picture)
}

// check returns nil if the history is one of a lock with that many permits. The picture of a violation is put into dir.
func check(h history, permits int, dir string) *violation {
	h = h.decisive()
	if h.legal(permits) {
		return nil
	}
	v := &violation{permits: permits, history: h.shortest(permits)}
	v.picture = v.draw(dir)
	return v
}

// decisive returns the events that the model has something to say about.
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

// overlapped reports whether another event is under way at the same time as event i.
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

// shortest leaves out of an illegal history what is not needed to show that it is illegal.
//
// What is left out must not be what makes the rest illegal: a release without its acquisition would be. So a request
// goes as a whole, with its arrival and release, and only if no event that stays was legal on account of it: a refusal,
// or a wait.
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

// drop leaves out the events from index from on, size of them, with all that belongs to the same requests, but nothing
// that may be the reason for what stays.
func (h history) drop(from, size int) history {
	dropped := map[int]bool{} // requests
	single := map[int]bool{}  // indexes of events that concern no request's hold
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

// keepReasons takes back what is to be dropped and may be the reason for an event that stays. It reports whether there
// was any, since that may then need a reason itself.
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

// changes reports whether the action is a part of a request's life.
func (a action) changes() bool {
	return a == arrive || a == enter || a == withdraw || a == leave
}

// ofRequest reports whether the action makes no sense without the others of its request.
func (a action) ofRequest() bool { return a.changes() || a == wait || a == notHeld }

// needsReason reports whether the action is legal only on account of some other request.
func (a action) needsReason() bool { return a == refuse || a == inUse || a == wait }

// span returns when a request may have held the lock, or stood in its queue.
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

// draw saves the picture of the violation and returns its path.
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
