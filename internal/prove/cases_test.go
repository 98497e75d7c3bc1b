package prove

import "testing"

// script returns a history of events that follow one another without overlap.
func script(events ...event) history {
	for i := range events {
		events[i].Call = int64(10 * (i + 1))
		events[i].Return = events[i].Call + 1
	}
	return events
}

func of(a action, id int, r request) event {
	r.ID = id
	return event{Lock: "x", Client: id, Action: a, Request: r}
}

func TestModelTellsLegalHistoriesFromOthers(t *testing.T) {
	for name, c := range map[string]struct {
		permits int
		legal   bool
		history history
	}{
		"one after the other": {1, true, script(
			of(enter, 1, plain), of(leave, 1, plain), of(enter, 2, plain), of(leave, 2, plain))},
		"two at once":                  {1, false, script(of(enter, 1, plain), of(enter, 2, plain))},
		"two at once with two permits": {2, true, script(of(enter, 1, plain), of(enter, 2, plain))},
		"three at once with two permits": {2, false, script(
			of(enter, 1, plain), of(enter, 2, plain), of(enter, 3, plain))},
		"readers together": {1, true, script(
			of(enter, 1, plainShared), of(enter, 2, plainShared))},
		"a reader beside a writer": {1, false, script(
			of(enter, 1, plain), of(enter, 2, plainShared))},
		"a writer beside a reader": {1, false, script(
			of(enter, 1, plainShared), of(enter, 2, plain))},
		"a writer beside a reader with several permits": {3, false, script(
			of(enter, 1, plainShared), of(enter, 2, plain))},
		"released twice": {1, false, script(
			of(enter, 1, plain), of(leave, 1, plain), of(leave, 1, plain))},
		"not held when it is not": {1, true, script(
			of(enter, 1, plain), of(leave, 1, plain), of(notHeld, 1, plain))},
		"not held though it is": {1, false, script(
			of(enter, 1, plain), of(notHeld, 1, plain), of(leave, 1, plain))},
		"refused for a holder": {1, true, script(of(enter, 1, plain), of(refuse, 2, plain))},
		"refused while free":   {1, false, script(of(refuse, 2, plain))},
		"a reader refused for a reader": {1, false, script(
			of(enter, 1, plainShared), of(refuse, 2, plainShared))},
		"waiting for a holder": {1, true, script(
			of(enter, 1, plain), of(arrive, 2, plain), of(wait, 2, plain))},
		"waiting for a free lock": {1, false, script(of(arrive, 2, plain), of(wait, 2, plain))},
		"a reader behind a waiting writer": {1, true, script(
			of(enter, 1, plainShared), of(arrive, 2, plain), of(arrive, 3, plainShared),
			of(wait, 2, plain), of(wait, 3, plainShared))},
		"a reader left asleep when the writer has gone": {1, false, script(
			of(enter, 1, plainShared), of(arrive, 2, plain), of(arrive, 3, plainShared),
			of(withdraw, 2, plain), of(wait, 3, plainShared))},
		"in order of arrival": {1, true, script(
			of(arrive, 1, fair), of(arrive, 2, fair), of(enter, 1, fair),
			of(leave, 1, fair), of(enter, 2, fair))},
		"out of order": {1, false, script(of(arrive, 1, fair), of(arrive, 2, fair), of(enter, 2, fair))},
		"overtaking where that is allowed": {1, true, script(
			of(arrive, 1, plain), of(arrive, 2, plain), of(enter, 2, plain))},
		"overtaking by a fair request": {1, false, script(
			of(arrive, 1, plain), of(arrive, 2, fair), of(enter, 2, fair))},
		"overtaking of a fair request": {1, false, script(
			of(arrive, 1, fair), of(arrive, 2, plain), of(enter, 2, plain))},
		"removed while free": {1, true, script(
			of(enter, 1, plain), of(leave, 1, plain), of(remove, 0, plain))},
		"removed while held":              {1, false, script(of(enter, 1, plain), of(remove, 0, plain))},
		"not removed though free":         {1, false, script(of(inUse, 0, plain))},
		"not removed because of a waiter": {1, true, script(of(arrive, 1, plain), of(inUse, 0, plain))},
	} {
		if v := check(c.history, c.permits, t.TempDir()); (v == nil) != c.legal {
			t.Errorf("%s: legal %v, want %v:\n%v", name, v == nil, c.legal, c.history)
		}
	}
}

func TestRefusalAmidOtherOperationsProvesNothing(t *testing.T) {
	h := script(of(refuse, 1, plain), of(enter, 2, plain), of(leave, 2, plain))
	h[0].Return = h[1].Call
	if v := check(h, 1, t.TempDir()); v != nil {
		t.Error(v)
	}
}

func TestViolationIsShownByTheShortestHistory(t *testing.T) {
	var events []event
	for id := range 20 {
		events = append(events, of(enter, 10+id, plain), of(refuse, 100+id, plain), of(leave, 10+id, plain))
	}
	events = append(events,
		of(enter, 1, plain), of(enter, 2, plain), of(leave, 1, plain), of(leave, 2, plain))
	for id := range 20 {
		events = append(events, of(enter, 40+id, plainShared), of(leave, 40+id, plainShared))
	}
	v := check(script(events...), 1, t.TempDir())
	if v == nil {
		t.Fatal("no violation")
	}
	if len(v.history) != 4 {
		t.Errorf("%d events, want 4:\n%v", len(v.history), v.history)
	}
	for _, e := range v.history {
		if id := e.Request.ID; id != 1 && id != 2 {
			t.Errorf("%v is not needed to show the violation", e)
		}
	}
}
