package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// describe lists the machine and the versions.
func describe(s *site) []fact {
	facts := []fact{
		{"processor", processor()},
		{"processors used", fmt.Sprintf("%d of %d", runtime.GOMAXPROCS(0), runtime.NumCPU())},
		{"system", system()},
		{"file system of the lock files", fileSystem(s.dir)},
		{"Go", strings.TrimPrefix(runtime.Version(), "go") + ", " + runtime.GOARCH},
	}
	return append(append(facts, moduleVersions()...), pythonVersions(s)...)
}

// processor returns the model of the processor, or "unknown" with the architecture.
func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown, " + runtime.GOARCH
}

// system returns the operating system and its release.
func system() string {
	release, err := exec.Command("uname", "-sr").Output()
	if err != nil {
		return runtime.GOOS
	}
	return strings.TrimSpace(string(release))
}

// fileSystem returns the type of the file system of dir: that of the longest mount point above it.
func fileSystem(dir string) string {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return "unknown"
	}
	kind, longest := "unknown", -1
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || len(fields[1]) < longest {
			continue
		}
		if below, err := filepath.Rel(fields[1], dir); err == nil && below != ".." &&
			!strings.HasPrefix(below, "../") {
			kind, longest = fields[2], len(fields[1])
		}
	}
	return kind
}

// moduleVersions lists the versions of the peers in this binary.
func moduleVersions() []fact {
	measured := []string{
		"github.com/alexflint/go-filemutex", "github.com/containerd/containerd", "github.com/gofrs/flock",
		"github.com/juju/mutex/v2",
		"github.com/moby/locker", "github.com/puzpuzpuz/xsync/v4", "github.com/rogpeppe/go-internal",
		"golang.org/x/sync",
		"k8s.io/utils",
	}
	var facts []fact
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	for _, dep := range info.Deps {
		if slices.Contains(measured, dep.Path) {
			facts = append(facts, fact{dep.Path, dep.Version})
		}
	}
	return facts
}

// pythonVersions lists the versions of the Python peers, or says that they are absent.
func pythonVersions(s *site) []fact {
	rep, err := s.call(pythonProgram, request{Do: doVersions})
	if err != nil {
		return []fact{{"Python", "absent"}}
	}
	var facts []fact
	for name, version := range rep.Versions {
		facts = append(facts, fact{name, version})
	}
	slices.SortFunc(facts, func(a, b fact) int { return strings.Compare(a.what, b.what) })
	return facts
}
