// Imagecache fills a cache of derived files from several processes at once, and shows that each
// file is built exactly once.
//
// A host of virtual machines caches converted disk images. Several worker processes want the same
// image at once, and converting it is expensive: one of them should do it while the others wait.
// Here the images are archives of the Go standard library's packages or of the subdirectories of
// a directory. Every goroutine of every worker requests every archive; with an external lock for
// each archive, the first one builds it.
//
//	go run ./examples/imagecache                  the work with locks
//	go run ./examples/imagecache -locks=off       the same work without locks, and the damage
//	go run ./examples/imagecache /usr/share/doc   the work on another directory
//
// The result that it prints does not depend on the locks: each build writes a line to a log, and
// each reader of an archive compares its checksum with those of the builds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// workerVariable is set in the environment of a worker process.
const workerVariable = "IMAGECACHE_WORKER"

// settings are the command line.
type settings struct {
	directory  string // input; "" for the Go standard library
	archives   int    // greatest number of archives
	workers    int    // processes
	goroutines int    // of each process
	protection protection
}

func main() {
	if os.Getenv(workerVariable) != "" {
		exitOn(work(context.Background(), os.Stdin, os.Stdout, pack))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := demonstrate(ctx, parseFlags(), os.Stderr)
	exitOn(err)
	exitOn(r.print(os.Stdout))
	if r.protection == locksOn {
		exitOn(r.failure())
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "imagecache:", err)
		os.Exit(1)
	}
}

func parseFlags() settings {
	s := settings{protection: locksOn}
	flag.IntVar(&s.workers, "workers", 4, "number of worker `processes`")
	flag.IntVar(&s.goroutines, "goroutines", 4, "number of `goroutines` of each worker")
	flag.IntVar(&s.archives, "archives", 400, "greatest `number` of archives")
	flag.Var(&s.protection, "locks", "`on|off`: whether each build holds an external lock")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: imagecache [flags] [directory]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 1 || s.workers < 1 || s.goroutines < 1 || s.archives < 1 {
		flag.Usage()
		os.Exit(2)
	}
	s.directory = flag.Arg(0)
	return s
}

// demonstrate does the work in a temporary directory and returns the report.
func demonstrate(ctx context.Context, s settings, terminal *os.File) (report, error) {
	in, err := readInput(ctx, s.directory, s.archives)
	if err != nil {
		return report{}, err
	}
	dir, err := os.MkdirTemp("", "imagecache-")
	if err != nil {
		return report{}, err
	}
	defer os.RemoveAll(dir)

	fmt.Fprintf(terminal, "input  %s\n", in)
	fmt.Fprintf(terminal,
		"work   %d processes of %d goroutines, each of which requests each archive\n", s.workers,
		s.goroutines)
	fmt.Fprintf(terminal, "locks  %s\n\n", s.protection)

	begun := time.Now()
	requests := len(in.Images) * s.workers * s.goroutines
	p := newProgress(terminal, requests)
	t := newTally(len(in.Images))
	j := job{Images: in.Images, Directory: dir, Goroutines: s.goroutines, Protection: s.protection}
	failures := runWorkers(ctx, j, s.workers, func(o outcome) {
		t.add(o)
		p.add(o)
	})
	p.end()
	if ctx.Err() != nil {
		return report{}, errors.New("interrupted")
	}

	builds, err := readBuildLog(dir)
	if err != nil {
		return report{}, err
	}
	return newReport(j, t, builds, failures, time.Since(begun)), nil
}
