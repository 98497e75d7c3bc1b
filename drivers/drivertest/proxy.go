package drivertest

import (
	"context"
	"net"
	"sync"
	"time"
)

// A Proxy is a Link made of TCP: a Service that connects through it reaches its server by way of
// loopback ports of the Proxy. It does not know the protocol: it passes, holds back or swallows
// bytes, as a network does.
type Proxy struct {
	mu        sync.Mutex
	changed   chan struct{} // closed, and replaced, by each change of state
	state     linkState
	listeners map[string]net.Listener // by target
	pairs     map[*pair]struct{}
	closed    bool
	running   sync.WaitGroup
}

var _ Link = (*Proxy)(nil)

// NewProxy returns a Proxy that passes everything. Close ends it.
func NewProxy() *Proxy {
	return &Proxy{
		changed:   make(chan struct{}),
		listeners: map[string]net.Listener{},
		pairs:     map[*pair]struct{}{},
	}
}

// Addr returns a loopback address, host:port, that leads to the address target. It is the same for
// each call with that target.
func (p *Proxy) Addr(target string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return "", net.ErrClosed
	}
	if l, ok := p.listeners[target]; ok {
		return l.Addr().String(), nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	p.listeners[target] = l
	p.running.Go(func() { p.serve(l, target) })
	return l.Addr().String(), nil
}

// Dial connects to the address target by way of the Proxy. Client libraries take it as their
// dialer.
func (p *Proxy) Dial(ctx context.Context, network, target string) (net.Conn, error) {
	addr, err := p.Addr(target)
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// Close breaks all connections and ends the Proxy.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	for _, l := range p.listeners {
		l.Close()
	}
	p.breakAll(func(*pair) bool { return true })
	p.mu.Unlock()
	p.running.Wait()
	return nil
}

// Cut implements Link.
func (p *Proxy) Cut() {
	p.set(func(s *linkState) { s.cut = true })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.breakAll(func(*pair) bool { return true })
}

// Freeze implements Link.
func (p *Proxy) Freeze() { p.set(func(s *linkState) { s.frozen = true }) }

// DropRequests implements Link.
func (p *Proxy) DropRequests() { p.set(func(s *linkState) { s.dropRequests = true }) }

// DropReplies implements Link.
func (p *Proxy) DropReplies() { p.set(func(s *linkState) { s.dropReplies = true }) }

// DropReply implements Link.
func (p *Proxy) DropReply() { p.set(func(s *linkState) { s.dropReply = true }) }

// Delay implements Link.
func (p *Proxy) Delay(requests, replies time.Duration) {
	p.set(func(s *linkState) { s.delayRequests, s.delayReplies = requests, replies })
}

// Mend implements Link.
func (p *Proxy) Mend() {
	p.set(func(s *linkState) { *s = linkState{} })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.breakAll(func(c *pair) bool { return c.torn })
}

func (p *Proxy) set(change func(*linkState)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.state)
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) get() (linkState, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.changed
}

// breakAll closes the connections that are chosen. The mutex is held.
func (p *Proxy) breakAll(chosen func(*pair) bool) {
	for c := range p.pairs {
		if chosen(c) {
			c.reset()
		}
	}
}

func (p *Proxy) serve(l net.Listener, target string) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.connect(client, target) })
	}
}

// connect carries one connection until it ends.
func (p *Proxy) connect(client net.Conn, target string) {
	defer client.Close()
	if state, _ := p.get(); state.cut {
		return
	}
	server, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	c := &pair{
		proxy: p, done: make(chan struct{}),
		client: client.(*net.TCPConn), server: server.(*net.TCPConn),
	}
	if !p.register(c) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { c.carry(c.server, c.client, requests) })
	both.Go(func() { c.carry(c.client, c.server, replies) })
	both.Wait()
	p.mu.Lock()
	delete(p.pairs, c)
	p.mu.Unlock()
}

func (p *Proxy) register(c *pair) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.state.cut {
		return false
	}
	p.pairs[c] = struct{}{}
	return true
}

// A direction is where bytes go.
type direction int

const (
	requests direction = iota
	replies
)

// A pair is a connection to the Proxy and the one that leads on.
type pair struct {
	proxy          *Proxy
	client, server *net.TCPConn
	once           sync.Once
	done           chan struct{} // closed by reset
	torn           bool          // bytes have been swallowed; guarded by the Proxy's mutex
}

// reset breaks the connection.
func (c *pair) reset() {
	c.once.Do(func() {
		close(c.done)
		for _, conn := range []*net.TCPConn{c.client, c.server} {
			conn.SetLinger(0)
			conn.Close()
		}
	})
}

// A chunk is what one read returned, and when.
type chunk struct {
	bytes []byte
	at    time.Time
}

// carry passes bytes on in one direction until that ends, and the end as well. Reading goes on
// while bytes are delayed, so that delays do not add up.
func (c *pair) carry(to, from *net.TCPConn, d direction) {
	chunks := make(chan chunk, 1024)
	var writer sync.WaitGroup
	writer.Go(func() {
		for chunk := range chunks {
			if !c.pass(to, chunk, d) {
				c.reset()
				return
			}
		}
		to.CloseWrite()
	})
	defer writer.Wait()
	defer close(chunks)
	for {
		buffer := make([]byte, 16<<10)
		n, err := from.Read(buffer)
		if n > 0 {
			select {
			case chunks <- chunk{buffer[:n], time.Now()}:
			case <-c.done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass passes a chunk on when its time has come, or swallows it. It reports whether the
// connection is still of use.
func (c *pair) pass(to net.Conn, chunk chunk, d direction) bool {
	for {
		state, changed := c.proxy.get()
		delay := state.delayRequests
		if d == replies {
			delay = state.delayReplies
		}
		wait := time.Until(chunk.at.Add(delay))
		switch {
		case state.frozen:
			wait = time.Hour
		case d == replies && state.dropReply:
			c.proxy.set(func(s *linkState) { s.dropReply = false })
			return false
		case d == replies && state.dropReplies, d == requests && state.dropRequests:
			c.proxy.mu.Lock()
			c.torn = true
			c.proxy.mu.Unlock()
			return true
		case wait <= 0:
			_, err := to.Write(chunk.bytes)
			return err == nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
		case <-c.done:
			timer.Stop()
			return false
		}
		timer.Stop()
	}
}
