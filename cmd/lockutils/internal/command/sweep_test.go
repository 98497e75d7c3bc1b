package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSweepLeavesWhatIsUsed(t *testing.T) {
	dir := t.TempDir()
	texts := map[string]string{"nova-a": "", "nova-b": "", "cinder-a": "", "nova-database": "data"}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hold(t, filepath.Join(dir, "nova-b"))
	sweep := func(args ...string) result {
		return finish(t, program(append([]string{"sweep", "--path", dir}, args...)...))
	}
	left := func() string {
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range names {
			names[i] = filepath.Base(names[i])
		}
		return strings.Join(names, " ")
	}
	all := left()
	got := sweep("--older", "0s", "--dry-run")
	if got.status != 0 || !strings.Contains(got.out, "would remove") ||
		!strings.Contains(got.out, "nova-a") || left() != all {
		t.Errorf("--dry-run: %+v; left are %s", got, left())
	}
	if got := sweep("--older", "24h"); got.status != 0 || left() != all {
		t.Errorf("--older 24h: %+v; left are %s", got, left())
	}
	got = sweep("--older", "0s", "--prefix", "nova", "-o", "json")
	if got.status != 0 || left() != "cinder-a nova-b nova-database" {
		t.Errorf("--prefix nova: %+v; left are %s", got, left())
	}
	if got := sweep("--older", "0s", "--matching", "x*"); left() != "cinder-a nova-b nova-database" {
		t.Errorf("--matching: %+v; left are %s", got, left())
	}
	for _, args := range [][]string{
		{}, {"--older", "-1s"}, {"--older", "soon"}, {"--older", "1s", "--matching", "["},
	} {
		if got := sweep(args...); got.status != statusUsage {
			t.Errorf("%q: %+v", args, got)
		}
	}
}
