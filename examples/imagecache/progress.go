package main

import (
	"fmt"
	"os"
	"time"
)

// progress shows the state of the work: in one line that is redrawn on a terminal, in a line
// every few seconds elsewhere.
type progress struct {
	out      *os.File
	format   string
	interval time.Duration

	requests, answered, built, failed int
	begun, shown                      time.Time
}

func newProgress(out *os.File, requests int) *progress {
	p := &progress{out: out, format: "%s\n", interval: time.Second, requests: requests, begun: time.Now()}
	p.shown = p.begun
	if info, err := out.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		p.format, p.interval = "\r%s\x1b[K", 50*time.Millisecond
	}
	return p
}

func (p *progress) add(o outcome) {
	p.answered++
	if o.Visit.Built {
		p.built++
	}
	if o.Failed != "" {
		p.failed++
	}
	if now := time.Now(); now.Sub(p.shown) >= p.interval {
		p.shown = now
		p.show()
	}
}

// end shows the last state and ends the line.
func (p *progress) end() {
	p.show()
	fmt.Fprintln(p.out)
}

func (p *progress) show() {
	fmt.Fprintf(p.out, p.format, fmt.Sprintf("%6.1f s  %d of %d requests answered, %d builds, %d failures",
		time.Since(p.begun).Seconds(), p.answered, p.requests, p.built, p.failed))
}
