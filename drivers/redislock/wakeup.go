package redislock

import (
	"context"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// wakeups tell waiters of releases. Each Service has a channel at the server, on a connection of
// its own. A message is the id of the request that is woken.
//
// Messages may get lost with the connection, so that nobody relies on them alone.
type wakeups struct {
	*Service
	channel string

	mu      sync.Mutex
	waiters map[string]chan struct{} // by the id of the request; each has room for one
	conn    rueidis.DedicatedClient  // nil while there is none
}

func (w *wakeups) init(s *Service) {
	w.Service = s
	w.waiters = map[string]chan struct{}{}
	w.channel = s.channels + s.id
}

// join returns a channel that has a value after each message for the request.
func (w *wakeups) join(id string) <-chan struct{} {
	wake := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiters[id] = wake
	return wake
}

func (w *wakeups) leave(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiters, id)
}

func (w *wakeups) wake(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if wake := w.waiters[id]; wake != nil {
		signal(wake)
	}
}

// wakeAll has all waiters try, since messages may have been lost.
func (w *wakeups) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, wake := range w.waiters {
		signal(wake)
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// listenFor keeps the subscription until the Service is closed. It sends to first how the first
// connection ended, or nil once it is subscribed.
func (w *wakeups) listenFor(first chan<- error) {
	var once sync.Once
	report := func(err error) { once.Do(func() { first <- err }) }
	for pause := time.Duration(0); ; {
		began := time.Now()
		report(w.subscribed(func() { report(nil) }))
		if time.Since(began) > time.Second {
			pause = 0
		}
		select {
		case <-w.closing:
			return
		case <-time.After(pause):
		}
		pause = min(max(2*pause, 10*time.Millisecond), w.ttl/12)
	}
}

// subscribed connects and listens for as long as the connection lives.
func (w *wakeups) subscribed(ready func()) error {
	conn, _ := w.client.Dedicate()
	defer conn.Close()
	broken := conn.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(m rueidis.PubSubMessage) { w.wake(m.Message) },
	})
	if !w.attach(conn) {
		return ErrClosed
	}
	defer w.attach(nil)
	subscribe := conn.B().Subscribe().Channel(w.channel, w.introduction()).Build()
	if err := conn.Do(context.Background(), subscribe).Error(); err != nil {
		return err
	}
	ready()
	w.wakeAll()
	select {
	case err := <-broken:
		return err
	case <-w.closing:
		return ErrClosed
	}
}

// attach makes conn the connection. It reports whether the Service is open.
func (w *wakeups) attach(conn rueidis.DedicatedClient) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = conn
	select {
	case <-w.closing:
		return false
	default:
		return true
	}
}

// close breaks the connection, for Close.
func (w *wakeups) close() {
	w.mu.Lock()
	conn := w.conn
	w.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
}
