// Package lockdebug serves a page about the named locks of a program: the locks that are held and
// waited for, with their queues, holders and stacks; how long waits took; the lock files of the
// host; and deadlocks that were found.
//
// Importing the package registers the page at /debug/lockutils on [http.DefaultServeMux], as
// package net/http/pprof does:
//
//	import _ "github.com/lockutils/lockutils/lockdebug"
//
// A program that uses another mux mounts [Handler] there. The page shows the names of locks,
// command lines of processes that hold lock files, and positions in the program's source, so it
// is for its operators only.
//
// The page refreshes itself, and works without JavaScript too. With the parameter format=json it
// is a [Report], for programs. With format=text it is a table for a terminal:
//
//	curl 'http://localhost:6060/debug/lockutils?format=text'
//
// The page and the table show the first of very many locks, holders, waiters and files, and how
// many more there are. The report for programs is whole.
//
// More is known of holders with [lockutils.SetTracking].
package lockdebug

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Path is where importing the package registers the page.
const Path = "/debug/lockutils"

func init() { http.Handle(Path, Handler()) }

// Handler returns a handler that serves the page, whatever path it is mounted at. It answers GET
// and HEAD. Requests may come concurrently.
func Handler() http.Handler { return http.HandlerFunc(serve) }

// formats are the values of the parameter format.
var formats = map[string]struct {
	contentType string
	write       func(io.Writer, *Report) error
}{
	"":     {"text/html; charset=utf-8", writePage},
	"html": {"text/html; charset=utf-8", writePage},
	"json": {"application/json", writeJSON},
	"text": {"text/plain; charset=utf-8", writeText},
}

func serve(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "lockdebug: only GET and HEAD are served", http.StatusMethodNotAllowed)
		return
	}
	format, ok := formats[r.FormValue("format")]
	if !ok {
		http.Error(w, "lockdebug: the formats are html, json and text", http.StatusBadRequest)
		return
	}
	var page bytes.Buffer // so that an error does not come in the middle of a page
	if err := format.write(&page, NewReport()); err != nil {
		http.Error(w, fmt.Sprintf("lockdebug: %v", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", format.contentType)
	w.Write(page.Bytes())
}

var (
	//go:embed page.css
	style string
	//go:embed page.js
	script string

	policy = fmt.Sprintf("default-src 'none'; style-src %s; script-src %s; connect-src 'self'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'", source(style), source(script))
)

// source allows one inline text, and no other, in a content security policy.
func source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// setHeaders forbids framing, caching, and all content but the page's own.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
}

func writeJSON(w io.Writer, r *Report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
