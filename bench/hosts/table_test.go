package main

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestTableOfOneEngineIsReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), page)
	const before = "text\n<!-- the table of etcd: written by make bench-hosts -->\nold\n" + tableEnds +
		"between\n<!-- the table of redis: written by make bench-hosts -->\nother\n" + tableEnds + "end\n"
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writePage(file, "etcd", "new\n"); err != nil {
		t.Fatal(err)
	}
	const want = "text\n<!-- the table of etcd: written by make bench-hosts -->\n\nnew\n\n" + tableEnds +
		"between\n<!-- the table of redis: written by make bench-hosts -->\nother\n" + tableEnds + "end\n"
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("%v, %s", err, got)
	}
	if err := writePage(file, "postgres", "new\n"); err == nil {
		t.Error("a table without a place was written")
	}
}

func TestPageHasAPlaceForEachTable(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("../../docs", page))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), page)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, engine := range []string{"etcd", "postgres", "redis"} {
		if err := writePage(file, engine, "new\n"); err != nil {
			t.Error(err)
		}
	}
}

func TestCellsSayWhatIsNotANumber(t *testing.T) {
	f := figure{none: "never told"}
	for want, values := range map[string][]float64{
		"failed": nil, "never told": {math.NaN()}, "not within 30": {math.Inf(1)},
		"**-0.50**": {-0.5}, "2.00": {3, 1, 2}, "123": {123.4},
	} {
		if got := f.cell(values); got != want {
			t.Errorf("%v: %q, want %q", values, got, want)
		}
	}
}
