package main

import (
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(directoryVariable) != "" {
		main()
		return
	}
	// The race detector would make each reader sleep for a second before it exits.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(m.Run())
}

func TestReadersShareAndThePrunerIsAlone(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatalf("%v after\n%s", err, &out)
	}
	for _, want := range []string{
		"6 readers in 3 processes hold the lock at once",
		"the pruner is refused meanwhile",
		"the pruner has removed 30 of 40 images",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
	if n := strings.Count(out.String(), "missed 0 images"); n != processes {
		t.Errorf("%d of %d readers missed no image:\n%s", n, processes, &out)
	}
}

// The test of the exclusion proves something only if a reader would notice an unfinished pruning.
func TestLookNoticesAMissingImage(t *testing.T) {
	c := cache{t.TempDir()}
	if err := c.fill(3); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(c.dir + "/image-01"); err != nil {
		t.Fatal(err)
	}
	if missing, err := c.look(t.Context()); missing != 1 || err != nil {
		t.Errorf("%d missing, error %v", missing, err)
	}
}
