// Generate writes the manual pages and shell completions of lockutils below the directory that it is
// given.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra/doc"

	"github.com/lockutils/lockutils/cmd/lockutils/internal/command"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate DIR")
		os.Exit(2)
	}
	if err := generate(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// pages date from when the command began, so that they are the same on every day.
var pages = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

func generate(dir string) error {
	man, completions := filepath.Join(dir, "man"), filepath.Join(dir, "completions")
	for _, d := range []string{man, completions} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	root := command.New(nil, nil, nil)
	root.DisableAutoGenTag = true
	header := &doc.GenManHeader{Section: "1", Date: &pages, Source: "lockutils", Manual: "User Commands"}
	if err := doc.GenManTree(root, header, man); err != nil {
		return err
	}
	if err := root.GenBashCompletionFileV2(filepath.Join(completions, "lockutils.bash"), true); err != nil {
		return err
	}
	if err := root.GenZshCompletionFile(filepath.Join(completions, "_lockutils")); err != nil {
		return err
	}
	return root.GenFishCompletionFile(filepath.Join(completions, "lockutils.fish"), true)
}
