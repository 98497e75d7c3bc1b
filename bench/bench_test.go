package main

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain makes the test binary serve as the worker that the scenarios start.
func TestMain(m *testing.M) {
	if isWorker() {
		serve(os.Stdin, os.Stdout)
		return
	}
	os.Exit(m.Run())
}

// tiny is enough to run each scenario, and too little to measure anything.
var tiny = budget{
	rounds: 1, slice: time.Millisecond, contended: 2 * time.Millisecond, processes: 20 * time.Millisecond,
	names: 4096, held: 1000, cancels: 2, kills: 1,
}

func TestEveryContenderOfEveryScenarioRuns(t *testing.T) {
	s, err := newSite("/usr/bin/python3")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	var results []result
	for _, scenario := range scenarios(s, tiny) {
		t.Run(scenario.key, func(t *testing.T) {
			r := scenario.measure(tiny.rounds, io.Discard)
			results = append(results, r)
			for _, row := range r.rows {
				if row.err != nil && !errors.Is(row.err, errAbsent) {
					t.Errorf("%s: %v", row.name, row.err)
				}
			}
			if _, ok := r.row(r.ours); !ok {
				t.Errorf("no row %q", r.ours)
			}
		})
	}

	t.Run("the report has a section and a chart for each", func(t *testing.T) {
		dir := t.TempDir()
		if err := writeReport(dir, report{results: results, budget: tiny, machine: describe(s)}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, "benchmarks.md"))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if !strings.Contains(string(text), "\n## "+capital(r.title)+"\n") {
				t.Errorf("no section %q", r.title)
			}
			if _, err := os.Stat(filepath.Join(dir, "charts", r.key+".svg")); err != nil {
				t.Error(err)
			}
		}
	})

	t.Run("every goal has its rows", func(t *testing.T) {
		for _, g := range goals() {
			for _, r := range results {
				if r.key != g.key {
					continue
				}
				for _, name := range []string{g.row, g.by} {
					if _, ok := r.row(name); !ok && name != "" && name != blocking {
						t.Errorf("%s: no row %q", g.key, name)
					}
				}
				if g.metric >= len(r.metrics) {
					t.Errorf("%s: no metric %d", g.key, g.metric)
				}
			}
		}
	})
}

func TestMedianAndQuantile(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{5, 1, 3}, 3},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
	if !math.IsNaN(median(nil)) || !math.IsNaN(quantile(nil, 0.5)) {
		t.Error("median and quantile of nothing are not NaN")
	}
	if got := quantile([]int64{1, 2, 3, 4}, 1); got != 4 {
		t.Errorf("quantile 1 of four values is %v, want 4", got)
	}
}

// TestLogOfAContest checks what is computed from two logs: process 1 waits for process 0, and later
// process 0 for process 1.
func TestLogOfAContest(t *testing.T) {
	log := merge([][]use{
		{
			{Requested: 0, Acquired: 1, Released: 40}, // before the other process began
			{Requested: 41, Acquired: 60, Released: 100},
			{Requested: 120, Acquired: 330, Released: 400},   // not woken by the release at 200
			{Requested: 401, Acquired: 1100, Released: 1101}, // after the end
		},
		{
			{Requested: 50, Acquired: 110, Released: 200}, // 10 after the release
			{Requested: 210, Acquired: 211, Released: 300},
		},
	}, 0, 1000)
	log.trim()
	if log.start != 50 || len(log.uses) != 4 {
		t.Errorf("%d uses from %d on, want 4 from 50 on", len(log.uses), log.start)
	}
	if got := log.handOvers(); len(got) != 2 || got[0] != 10 || got[1] != 130 {
		t.Errorf("hand-overs %v, want [10 130]", got)
	}
	if got := log.overlaps(); got != 0 {
		t.Errorf("%d overlaps, want none", got)
	}
	if got := log.changes() * 950e-9; math.Round(got) != 2 {
		t.Errorf("%v changes of holder, want 2", got)
	}
	if least, greatest := log.leastShare(), log.greatestShare(); least != 1 || greatest != 1 {
		t.Errorf("shares %v and %v, want 1 and 1", least, greatest)
	}
	if got := log.passes(1); got != 1 {
		t.Errorf("passed by %v, want by 1", got)
	}
	log.uses[1].Acquired = 99
	if got := log.overlaps(); got != 1 {
		t.Errorf("%d overlaps, want 1", got)
	}
}
