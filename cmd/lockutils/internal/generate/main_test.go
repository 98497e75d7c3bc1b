package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestTheManualPagesAndCompletionsAreCurrent(t *testing.T) {
	dir := t.TempDir()
	if err := generate(dir); err != nil {
		t.Fatal(err)
	}
	made := files(t, dir)
	if len(made) < 9 {
		t.Errorf("only %d files are made", len(made))
	}
	present := make(map[string]string)
	for _, d := range []string{"man", "completions"} {
		for name, text := range files(t, filepath.Join("../..", d)) {
			present[filepath.Join(d, name)] = text
		}
	}
	for name, text := range made {
		if present[name] != text {
			t.Errorf("%s is not current: run make command-docs", name)
		}
		delete(present, name)
	}
	for name := range present {
		t.Errorf("%s is made no more: remove it", name)
	}
}

// files returns the texts of all files below dir, by their paths there.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, path))
		texts[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}
