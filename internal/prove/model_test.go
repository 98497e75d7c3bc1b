package prove

import (
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"
)

// The model of a lock with a number of permits.
//
// There are at most as many exclusive holders as permits, or any number of shared holders, never
// both. No request is granted before a fair request that is known to wait. Only an exclusive
// request without Fair is granted before another request that is known to wait. A release ends one
// hold, once. A file is removed only while the lock is free.
//
// The model also says what must not fail. A try or a removal is refused only because of a holder or
// a waiter. While all goroutines are blocked, a request waits only for a holder that excludes it or
// behind another request.
//
// The model cannot judge a try or a removal that is refused during another operation on the lock:
// that operation may have held the lock for an instant. Such refusals are left out of a history.

// A state is the state of a lock in the model. It is immutable.
type state struct {
	holders []request // by ID
	queue   []request // in order of arrival
}

func (s state) find(in []request, id int) int {
	return slices.IndexFunc(in, func(r request) bool { return r.ID == id })
}

// room reports whether the holders admit one more of that mode.
func (s state) room(m mode, permits int) bool {
	writers := 0
	for _, h := range s.holders {
		if h.Mode == exclusive {
			writers++
		}
	}
	if m == shared {
		return writers == 0
	}
	return len(s.holders) == writers && writers < permits
}

// ahead returns the requests queued before r, which are all if r is not in the queue.
func (s state) ahead(r request) []request {
	if i := s.find(s.queue, r.ID); i >= 0 {
		return s.queue[:i]
	}
	return s.queue
}

// mayPass reports whether r may be granted before others that arrived earlier.
func (r request) mayPass(others []request) bool {
	return !slices.ContainsFunc(others, func(o request) bool {
		return o.Fair || r.Fair || r.Mode == shared
	})
}

func (s state) with(r request) state {
	i, _ := slices.BinarySearchFunc(s.holders, r.ID, func(h request, id int) int { return h.ID - id })
	return state{slices.Insert(slices.Clone(s.holders), i, r), without(s.queue, s.find(s.queue, r.ID))}
}

func without(from []request, i int) []request {
	if i < 0 {
		return from
	}
	return slices.Delete(slices.Clone(from), i, i+1)
}

// step reports whether the event is possible in the state, and returns the state after it.
func (s state) step(e event, permits int) (bool, state) {
	r := e.Request
	holder := s.find(s.holders, r.ID)
	switch e.Action {
	case arrive:
		return true, state{s.holders, append(slices.Clone(s.queue), r)}
	case withdraw:
		i := s.find(s.queue, r.ID)
		return i >= 0, state{s.holders, without(s.queue, i)}
	case enter:
		return s.room(r.Mode, permits) && r.mayPass(s.ahead(r)), s.with(r)
	case leave:
		return holder >= 0, state{without(s.holders, holder), s.queue}
	case notHeld:
		return holder < 0, s
	case refuse:
		return !s.room(r.Mode, permits) || !r.mayPass(s.queue), s
	case wait:
		return s.find(s.queue, r.ID) >= 0 && (!s.room(r.Mode, permits) || len(s.ahead(r)) > 0), s
	case remove:
		return len(s.holders) == 0, s
	case inUse:
		return len(s.holders)+len(s.queue) > 0, s
	default:
		return true, s
	}
}

func (s state) hash() uint64 {
	h := uint64(14695981039346656037)
	for _, r := range slices.Concat(s.holders, []request{{ID: -1}}, s.queue) {
		h = (h ^ uint64(r.ID)) * 1099511628211
	}
	return h
}

// model returns the model of a lock for the checker.
func model(permits int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, in, _ any) (bool, any) {
			return s.(state).step(in.(event), permits)
		},
		Equal: func(a, b any) bool {
			s, t := a.(state), b.(state)
			return slices.Equal(s.holders, t.holders) && slices.Equal(s.queue, t.queue)
		},
		Hash:              func(s any) uint64 { return s.(state).hash() },
		DescribeOperation: func(in, _ any) string { return in.(event).String() },
		DescribeState: func(s any) string {
			return fmt.Sprintf("held by %v, waiting %v", ids(s.(state).holders), ids(s.(state).queue))
		},
	}
}

func ids(requests []request) (ids []int) {
	for _, r := range requests {
		ids = append(ids, r.ID)
	}
	return ids
}
