package main

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockutils/lockutils"
)

func TestOneOperationAtATimePerInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{out: io.Discard, begun: time.Now(), running: make(map[string]int)}
		if err := h.serve(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h.done != 4*len(instances) || h.mostOfOne != 1 || h.mostOfAll != len(instances) {
			t.Errorf("%d operations, at most %d of one instance and %d in all", h.done, h.mostOfOne, h.mostOfAll)
		}
	})
}

func TestOperationThatAsksForItsOwnLock(t *testing.T) {
	h := &host{out: io.Discard, running: make(map[string]int)}
	if err := h.rescue(t.Context(), instances[0]); !errors.Is(err, lockutils.ErrDeadlock) {
		t.Errorf("error %v, want ErrDeadlock", err)
	}
}
