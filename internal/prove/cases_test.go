package prove

import "testing"

// A script is a history written as events one after the other, each at an instant of its own.
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
			of(enter, 1, plainAsk), of(leave, 1, plainAsk), of(enter, 2, plainAsk), of(leave, 2, plainAsk))},
		"two at once":                  {1, false, script(of(enter, 1, plainAsk), of(enter, 2, plainAsk))},
		"two at once with two permits": {2, true, script(of(enter, 1, plainAsk), of(enter, 2, plainAsk))},
		"three at once with two permits": {2, false, script(
			of(enter, 1, plainAsk), of(enter, 2, plainAsk), of(enter, 3, plainAsk))},
		"readers together":                              {1, true, script(of(enter, 1, readAsk), of(enter, 2, readAsk))},
		"a reader beside a writer":                      {1, false, script(of(enter, 1, plainAsk), of(enter, 2, readAsk))},
		"a writer beside a reader":                      {1, false, script(of(enter, 1, readAsk), of(enter, 2, plainAsk))},
		"a writer beside a reader with several permits": {3, false, script(of(enter, 1, readAsk), of(enter, 2, plainAsk))},
		"released twice":                                {1, false, script(of(enter, 1, plainAsk), of(leave, 1, plainAsk), of(leave, 1, plainAsk))},
		"not held, truly":                               {1, true, script(of(enter, 1, plainAsk), of(leave, 1, plainAsk), of(notHeld, 1, plainAsk))},
		"not held though it is": {1, false, script(
			of(enter, 1, plainAsk), of(notHeld, 1, plainAsk), of(leave, 1, plainAsk))},
		"refused for a holder":          {1, true, script(of(enter, 1, plainAsk), of(refuse, 2, plainAsk))},
		"refused for nothing":           {1, false, script(of(refuse, 2, plainAsk))},
		"a reader refused for a reader": {1, false, script(of(enter, 1, readAsk), of(refuse, 2, readAsk))},
		"waiting for a holder":          {1, true, script(of(enter, 1, plainAsk), of(arrive, 2, plainAsk), of(wait, 2, plainAsk))},
		"waiting for nothing":           {1, false, script(of(arrive, 2, plainAsk), of(wait, 2, plainAsk))},
		"a reader behind a waiting writer": {1, true, script(
			of(enter, 1, readAsk), of(arrive, 2, plainAsk), of(arrive, 3, readAsk), of(wait, 2, plainAsk), of(wait, 3, readAsk))},
		"a reader left asleep when the writer has gone": {1, false, script(
			of(enter, 1, readAsk), of(arrive, 2, plainAsk), of(arrive, 3, readAsk), of(withdraw, 2, plainAsk), of(wait, 3, readAsk))},
		"in order of arrival": {1, true, script(
			of(arrive, 1, fairAsk), of(arrive, 2, fairAsk), of(enter, 1, fairAsk), of(leave, 1, fairAsk), of(enter, 2, fairAsk))},
		"out of order": {1, false, script(of(arrive, 1, fairAsk), of(arrive, 2, fairAsk), of(enter, 2, fairAsk))},
		"overtaking where that is allowed": {1, true, script(
			of(arrive, 1, plainAsk), of(arrive, 2, plainAsk), of(enter, 2, plainAsk))},
		"overtaking by a fair request":     {1, false, script(of(arrive, 1, plainAsk), of(arrive, 2, fairAsk), of(enter, 2, fairAsk))},
		"overtaking of a fair request":     {1, false, script(of(arrive, 1, fairAsk), of(arrive, 2, plainAsk), of(enter, 2, plainAsk))},
		"removed while free":               {1, true, script(of(enter, 1, plainAsk), of(leave, 1, plainAsk), of(remove, 0, plainAsk))},
		"removed while held":               {1, false, script(of(enter, 1, plainAsk), of(remove, 0, plainAsk))},
		"not removed though free":          {1, false, script(of(inUse, 0, plainAsk))},
		"not removed since somebody waits": {1, true, script(of(arrive, 1, plainAsk), of(inUse, 0, plainAsk))},
	} {
		if v := check(c.history, c.permits, t.TempDir()); (v == nil) != c.legal {
			t.Errorf("%s: legal %v, want %v:\n%v", name, v == nil, c.legal, c.history)
		}
	}
}

func TestRefusalAmidOtherOperationsProvesNothing(t *testing.T) {
	h := script(of(refuse, 1, plainAsk), of(enter, 2, plainAsk), of(leave, 2, plainAsk))
	h[0].Return = h[1].Call
	if v := check(h, 1, t.TempDir()); v != nil {
		t.Error(v)
	}
}

func TestViolationIsShownByTheShortestHistory(t *testing.T) {
	var events []event
	for id := range 20 {
		events = append(events, of(enter, 10+id, plainAsk), of(refuse, 100+id, plainAsk), of(leave, 10+id, plainAsk))
	}
	events = append(events, of(enter, 1, plainAsk), of(enter, 2, plainAsk), of(leave, 1, plainAsk), of(leave, 2, plainAsk))
	for id := range 20 {
		events = append(events, of(enter, 40+id, readAsk), of(leave, 40+id, readAsk))
	}
	v := check(script(events...), 1, t.TempDir())
	if v == nil {
		t.Fatal("no violation")
	}
	if len(v.history) != 4 {
		t.Errorf("it takes %d events:\n%v", len(v.history), v.history)
	}
	for _, e := range v.history {
		if id := e.Request.ID; id != 1 && id != 2 {
			t.Errorf("%v has nothing to do with it", e)
		}
	}
}
