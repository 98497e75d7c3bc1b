// Released checks that the modules of this repository can be used without it: it publishes them
// to a proxy in a temporary directory, and builds a program there that requires them, with no
// replace directive. Other modules come from the module cache, so it needs no network.
//
//	go run ./released .. . drivers/etcdlock
//
// The first argument is the repository, the others are the directories of modules in it.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// version is what the modules of the repository require of each other.
const version = "v0.0.0"

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: released repository module...")
		os.Exit(2)
	}
	if err := check(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "released:", err)
		os.Exit(1)
	}
}

func check(repository string, modules []string) error {
	dir, err := os.MkdirTemp("", "released-")
	if err != nil {
		return err
	}
	defer removeAll(dir)
	proxy := filepath.Join(dir, "proxy")
	var paths []string
	for _, m := range modules {
		path, err := publish(proxy, repository, m)
		if err != nil {
			return fmt.Errorf("publish %s: %w", m, err)
		}
		paths = append(paths, path)
	}
	consumer := filepath.Join(dir, "consumer")
	if err := writeConsumer(consumer, paths); err != nil {
		return err
	}
	if err := build(consumer, proxy, filepath.Join(dir, "cache")); err != nil {
		return err
	}
	fmt.Println("a program builds with", strings.Join(paths, ", "))
	return nil
}

// publish puts a module into the proxy, and returns its path.
func publish(proxy, repository, dir string) (path string, err error) {
	text, err := os.ReadFile(filepath.Join(repository, dir, "go.mod"))
	if err != nil {
		return "", err
	}
	path = modfile.ModulePath(text)
	escaped, err := module.EscapePath(path)
	if err != nil {
		return "", err
	}
	versions := filepath.Join(proxy, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(versions, 0o777); err != nil {
		return "", err
	}
	info, err := json.Marshal(map[string]string{"Version": version})
	if err != nil {
		return "", err
	}
	for suffix, content := range map[string][]byte{".mod": text, ".info": info} {
		if err := os.WriteFile(filepath.Join(versions, version+suffix), content, 0o666); err != nil {
			return "", err
		}
	}
	archive, err := os.Create(filepath.Join(versions, version+".zip"))
	if err != nil {
		return "", err
	}
	err = zip.CreateFromDir(archive, module.Version{Path: path, Version: version},
		filepath.Join(repository, dir))
	return path, errors.Join(err, archive.Close())
}

// writeConsumer writes a program that imports all modules.
func writeConsumer(dir string, paths []string) error {
	var imports, requires strings.Builder
	for _, path := range paths {
		fmt.Fprintf(&imports, "\t_ %q\n", path)
		fmt.Fprintf(&requires, "\t%s %s\n", path, version)
	}
	return errors.Join(
		os.MkdirAll(dir, 0o777),
		os.WriteFile(filepath.Join(dir, "main.go"),
			fmt.Appendf(nil, "package main\n\nimport (\n%s)\n\nfunc main() {}\n", &imports), 0o666),
		os.WriteFile(filepath.Join(dir, "go.mod"),
			fmt.Appendf(nil, "module consumer\n\ngo 1.26.0\n\nrequire (\n%s)\n", &requires), 0o666),
	)
}

func build(dir, proxy, cache string) error {
	known, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		return err
	}
	downloads := filepath.Join(strings.TrimSpace(string(known)), "cache", "download")
	cmd := exec.Command("go", "build", "-mod=mod", "-o", os.DevNull, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"GOPROXY=file://"+filepath.ToSlash(proxy)+",file://"+filepath.ToSlash(downloads),
		"GOMODCACHE="+cache, "GOSUMDB=off", "GONOSUMDB=", "GONOPROXY=", "GOPRIVATE=", "GOFLAGS=", "GOWORK=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	return nil
}

// removeAll removes a directory that has a module cache, which is read-only.
func removeAll(dir string) {
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			os.Chmod(path, 0o777)
		}
		return nil
	})
	os.RemoveAll(dir)
}
