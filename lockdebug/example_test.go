package lockdebug_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/lockdebug"
)

// A program with a mux of its own mounts the page where its operators look.
func ExampleHandler() {
	mux := http.NewServeMux()
	mux.Handle("/ops/locks", lockdebug.Handler())
	server := httptest.NewServer(mux)
	defer server.Close()

	reply, err := http.Get(server.URL + "/ops/locks?format=text")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reply.Body.Close()
	fmt.Println(reply.Status, reply.Header.Get("Content-Type"))
	// Output: 200 OK text/plain; charset=utf-8
}

// place returns the file of the innermost call.
func place(stack []lockdebug.Frame) string {
	if len(stack) == 0 {
		return "an unknown place"
	}
	return path.Base(stack[0].File)
}

// A tool shows the locks of another program.
func ExampleReport() {
	lockutils.SetTracking(1)
	defer lockutils.SetTracking(0)
	guard, _ := lockutils.Lock("instance-4711", lockutils.WithPrefix("example"))
	defer guard.Unlock()
	server := httptest.NewServer(lockdebug.Handler())
	defer server.Close()

	reply, err := http.Get(server.URL + "?format=json")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reply.Body.Close()
	var report lockdebug.Report
	if err := json.NewDecoder(reply.Body).Decode(&report); err != nil {
		fmt.Println(err)
		return
	}
	for _, lock := range report.Locks {
		for _, holder := range lock.Holders {
			fmt.Println(lock.Name, "is held in", place(holder.Stack))
		}
		for _, waiter := range lock.Waiters {
			fmt.Println(lock.Name, "is waited for in", place(waiter.Stack))
		}
	}
	// Output: instance-4711 is held in example_test.go
}

// The report without a server, for a crash handler for instance.
func ExampleNewReport() {
	guard, _ := lockutils.Lock("instance-4711", lockutils.WithPrefix("example"))
	defer guard.Unlock()

	for _, lock := range lockdebug.NewReport().Locks {
		if lock.Scope == "example" {
			fmt.Println(lock.Name, lock.Mode, len(lock.Waiters))
		}
	}
	// Output: instance-4711 writer 0
}

func ExampleFile() {
	report := lockdebug.Report{Files: []lockdebug.File{{
		Path:    "/run/lock/nova/nova-lvm",
		Holders: []lockdebug.Process{{PID: 4711, Command: "lvcreate -L 10G vg0", Mode: "writer"}},
	}}}
	for _, file := range report.Files {
		for _, p := range file.Holders {
			fmt.Printf("%s: process %d (%s) holds it\n", path.Base(file.Path), p.PID, p.Command)
		}
	}
	// Output: nova-lvm: process 4711 (lvcreate -L 10G vg0) holds it
}

func ExampleStats() {
	report := lockdebug.Report{Stats: []lockdebug.Stats{{
		Class: "nova", Mode: "writer", Layer: "file", Contentions: 200, Wait: lockdebug.Histogram{Sum: 12.5},
	}}}
	for _, s := range report.Stats {
		fmt.Printf("%s (%s, %s): %d waits of %g s on average\n",
			s.Class, s.Mode, s.Layer, s.Contentions, s.Wait.Sum/float64(s.Contentions))
	}
	// Output: nova (writer, file): 200 waits of 0.0625 s on average
}

func ExampleDeadlock() {
	report := lockdebug.Report{Deadlocks: []lockdebug.Deadlock{{Cycle: []lockdebug.Wait{
		{Name: "volume-42", Mode: "writer", Holds: []string{"instance-4711"}},
		{Name: "instance-4711", Mode: "writer", Holds: []string{"volume-42"}},
	}}}}
	for _, deadlock := range report.Deadlocks {
		for _, wait := range deadlock.Cycle {
			fmt.Printf("%s: waited for with %v held\n", wait.Name, wait.Holds)
		}
	}
	// Output:
	// volume-42: waited for with [instance-4711] held
	// instance-4711: waited for with [volume-42] held
}
