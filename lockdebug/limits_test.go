package lockdebug

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/lockutils/lockutils"
)

// crowd acquires n locks, or waits for them. It returns what ends that.
func crowd(t *testing.T, n int, name func(i int) string) (release func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			g, err := lockutils.LockContext(ctx, name(i), lockutils.WithPrefix("crowd"))
			if err != nil {
				return
			}
			<-ctx.Done()
			if err := g.Unlock(); err != nil {
				t.Error(err)
			}
		})
	}
	return func() {
		cancel()
		group.Wait()
	}
}

// rendered returns the page and the text, and checks that neither exceeds limit bytes.
func rendered(t *testing.T, r *Report, limit int) (page, text string) {
	t.Helper()
	var p, x strings.Builder
	if err := writePage(&p, r); err != nil {
		t.Fatal(err)
	}
	if err := writeText(&x, r); err != nil {
		t.Fatal(err)
	}
	if p.Len() > limit || x.Len() > limit {
		t.Errorf("the page has %d bytes and the text %d, more than %d", p.Len(), x.Len(), limit)
	}
	return p.String(), x.String()
}

func TestTenThousandWaitersShowInShort(t *testing.T) {
	const n = 10_000
	release := crowd(t, n+1, func(int) string { return "one" })
	defer release()
	awaitWaiters(t, "one", n)
	r := NewReport()
	page, text := rendered(t, r, 200<<10)
	inOrder(t, page, `crowd</span> one</td>`, `10000 waiters`, `<p>and 9980 more</p>`)
	inOrder(t, text, `crowd one +this process +writer +10000 `, `waiter 20 `, `waiters: and 9980 more`)
	if strings.Contains(text, "waiter 21 ") {
		t.Error("the text lists more than 20 waiters")
	}
	if len(r.Locks[0].Waiters) != n {
		t.Errorf("the report has %d waiters", len(r.Locks[0].Waiters))
	}
}

func TestTenThousandLocksShowInShort(t *testing.T) {
	const n = 10_000
	release := crowd(t, n, func(i int) string { return fmt.Sprint("lock-", i) })
	defer release()
	for len(lockutils.Snapshot()) < n {
	}
	r := NewReport()
	page, text := rendered(t, r, 200<<10)
	inOrder(t, page, `lock-\d+</td>`, `<td colspan="5">and 9900 more</td>`)
	inOrder(t, text, `crowd lock-\d+ `, `\nand 9900 more`)
	if shown := strings.Count(page, "crowd</span>"); shown != 100 {
		t.Errorf("the page shows %d locks", shown)
	}
	var whole strings.Builder
	if err := writeJSON(&whole, r); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal([]byte(whole.String()), &back); err != nil || len(back.Locks) != n {
		t.Errorf("the JSON has %d locks, %v", len(back.Locks), err)
	}
}

// Every list and every name is bounded.
func TestALargeReportShowsInShort(t *testing.T) {
	const n = 1_000
	long := strings.Repeat("ü", 1<<20)
	r := &Report{FileError: long}
	holds := make([]string, n)
	processes := make([]Process, n)
	for i := range n {
		holds[i], processes[i] = long, Process{PID: i + 1, Command: long}
	}
	members := make([]Wait, n)
	for i := range members {
		members[i] = Wait{Name: long, Path: long, Holds: holds}
	}
	for range n {
		r.Locks = append(r.Locks, Lock{Name: long, Holders: make([]Holder, n), Waiters: make([]Waiter, n)})
		r.Files = append(r.Files, File{Path: long, Holders: processes, Waiters: processes})
	}
	r.Locks[0].Waiters[0].Holds = holds
	r.Deadlocks = []Deadlock{{Message: long, Cycle: members}}
	page, text := rendered(t, r, 3<<20)
	inOrder(t, page, `ü… \(2097152 bytes\)`, `<p>and 980 more</p>`, `holds .* and 980 more`,
		`and 900 more</td>`, `and 980 more</p>`, `<div>and 980 more</div>`, `<td colspan="4">and 900 more</td>`)
	inOrder(t, text, `ü… \(2097152 bytes\)`, `holders: and 980 more`, `holds .* and 980 more`,
		`waiters: and 980 more`, `\nand 900 more`, `\ndeadlock.*ü… \(2097152 bytes\)`, `FILE`,
		`; 20 .* and 980 more`, `\nand 900 more`)
}
