package drivertest

// Torn reports whether a connection that is open has lost bytes to the Proxy.
func (p *Proxy) Torn() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		if c.torn && !isClosed(c.done) {
			return true
		}
	}
	return false
}
