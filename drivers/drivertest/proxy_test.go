package drivertest_test

import (
	"bufio"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/lockutils/lockutils/drivers/drivertest"
)

// echo serves connections that send back each line.
func echo(t *testing.T) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for in := bufio.NewScanner(c); in.Scan(); {
					fmt.Fprintln(c, in.Text())
				}
			}()
		}
	}()
	return l.Addr().String()
}

// A caller sends lines through a proxy.
type caller struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Scanner
}

func call(t *testing.T, p *drivertest.Proxy, addr string) *caller {
	t.Helper()
	conn, err := p.Dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &caller{t, conn, bufio.NewScanner(conn)}
}

func (c *caller) send(line string) { fmt.Fprintln(c.conn, line) }

// answer returns the next line, or "" when the connection breaks.
func (c *caller) answer() string {
	c.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if c.in.Scan() {
		return c.in.Text()
	}
	return ""
}

func (c *caller) want(line string) {
	c.t.Helper()
	if got := c.answer(); got != line {
		c.t.Fatalf("got %q, want %q", got, line)
	}
}

func (c *caller) silent() {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.conn.Read(make([]byte, 1)); n > 0 || !err.(net.Error).Timeout() {
		c.t.Fatalf("read %d bytes, %v, want none and no end", n, err)
	}
}

func TestProxyPassesAndDisturbs(t *testing.T) {
	addr, p := echo(t), drivertest.NewProxy()
	defer p.Close()

	c := call(t, p, addr)
	c.send("pass")
	c.want("pass")

	p.Freeze()
	c.send("frozen")
	c.silent()
	p.Mend()
	c.want("frozen")

	p.Delay(20*time.Millisecond, 20*time.Millisecond)
	begun := time.Now()
	c.send("late")
	c.want("late")
	if d := time.Since(begun); d < 40*time.Millisecond {
		t.Errorf("an answer that is delayed twice by 20 ms came after %v", d)
	}
	p.Mend()

	p.DropReply()
	c.send("dropped")
	c.want("")

	for name, drop := range map[string]func(){"requests": p.DropRequests, "replies": p.DropReplies} {
		c = call(t, p, addr)
		drop()
		c.send(name)
		for !p.Torn() {
			time.Sleep(time.Millisecond)
		}
		c.silent()
		p.Mend()
		c.want("")
	}

	c = call(t, p, addr)
	c.send("pass")
	c.want("pass")
	p.Cut()
	c.want("")
	call(t, p, addr).want("")
	p.Mend()
	c = call(t, p, addr)
	c.send("again")
	c.want("again")
}

func TestProxyHasOneAddressPerTarget(t *testing.T) {
	p := drivertest.NewProxy()
	first, err := p.Addr("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := p.Addr("127.0.0.1:1"); again != first || err != nil {
		t.Errorf("%s, then %s, %v", first, again, err)
	}
	if other, err := p.Addr("127.0.0.1:2"); other == first || err != nil {
		t.Errorf("%s for both targets, %v", other, err)
	}
	p.Close()
	if _, err := p.Addr("127.0.0.1:3"); err == nil {
		t.Error("a closed proxy has an address")
	}
}
