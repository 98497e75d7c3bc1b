package queue

import "testing"

func TestAttachedHoldHoldsNothingButItself(t *testing.T) {
	const attachment = "attachment"
	for _, end := range []func(h Hold){
		func(h Hold) { mustRelease(t, h) },
		Hold.Forget,
	} {
		h := Attach(attachment)
		if !h.Held() || h.Attachment() != attachment {
			t.Errorf("a new hold is held: %t, with %v", h.Held(), h.Attachment())
		}
		end(h)
		if h.Held() || h.Release() {
			t.Error("an attached hold could be released twice")
		}
		// What served for it must not serve for a hold of something.
		table := NewTable(1, 3)
		for range 10 {
			h := mustHold(t, table, Key{"", "name"}, Shared)
			if h.Attachment() != nil {
				t.Error("an ordinary hold has an attachment")
			}
			mustRelease(t, h)
		}
		table.checkIdle(t)
		if h.Attachment() != attachment {
			t.Error("the attachment has gone")
		}
	}
	if (Hold{}).Attachment() != nil {
		t.Error("the zero Hold has an attachment")
	}
}

func TestAcquireAtOnceTakesWhatIsFree(t *testing.T) {
	table := NewTable(1, 1)
	if table.Permits() != 1 {
		t.Errorf("%d permits", table.Permits())
	}
	k := Key{"", "name"}
	h, ok := table.AcquireAtOnce(k)
	if !ok {
		t.Fatal("a free lock could not be had")
	}
	for _, other := range []Key{k, {"", "other"}, {"", longName}} {
		if _, ok := table.AcquireAtOnce(other); ok {
			t.Errorf("%q was had although that takes more than one step", other)
		}
	}
	mustRelease(t, h)
	table.checkIdle(t)
}
