package redislock

import (
	"context"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// wakeups tell waiters of releases. Each lock that somebody waits for has a channel at the
// server, and all channels come on one connection. A channel stays subscribed for a while after
// the last wait: a request that finds it so need not be repeated to be sure of the next release.
//
// Messages may get lost with the connection, so that nobody relies on them alone.
type wakeups struct {
	*Service
	own string // a channel that is always subscribed: in a Cluster, the first one makes the connection

	mu      sync.Mutex
	topics  map[string]*topic
	changed chan struct{}           // wakes the goroutine that subscribes; has room for one
	pending map[string]struct{}     // channels to subscribe, or to unsubscribe if they have no topic
	conn    rueidis.DedicatedClient // nil while there is none
}

// A topic is a channel with its waiters. wakeups.mu guards it.
type topic struct {
	waiters map[*waiter]struct{}
	heard   bool // it is subscribed
	idle    bool // it had no waiters when the goroutine last looked
}

// A waiter is an acquisition that waits for a release. It begins without a topic.
type waiter struct {
	*wakeups
	channel string
	topic   *topic
	wake    chan struct{} // has room for one
}

func (w *wakeups) init(s *Service) {
	w.Service = s
	w.topics = map[string]*topic{}
	w.pending = map[string]struct{}{}
	w.changed = make(chan struct{}, 1)
	w.own = braces.Replace(s.namespace) + "{service}" + s.id
}

// join has the waiter hear of releases if its channel is subscribed already.
func (x *waiter) join() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if t := x.topics[x.channel]; t != nil {
		x.enter(t)
	}
}

// enter makes the waiter one of the topic. mu is held.
func (x *waiter) enter(t *topic) {
	x.wake = make(chan struct{}, 1)
	x.topic = t
	t.waiters[x] = struct{}{}
	t.idle = false
}

// isHeard reports whether the waiter hears of every release from now on, but for lost messages.
func (x *waiter) isHeard() bool {
	if x.topic == nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.topic.heard
}

// listen has the waiter hear of releases. It is woken as soon as it does.
func (x *waiter) listen() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.topic == nil {
		t := x.topics[x.channel]
		if t == nil {
			t = &topic{waiters: map[*waiter]struct{}{}}
			x.topics[x.channel] = t
			x.request(x.channel)
		}
		x.enter(t)
	}
	if x.topic.heard {
		x.signal()
	}
}

func (x *waiter) leave() {
	if x.topic != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.topic.waiters, x)
	}
}

func (x *waiter) signal() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// request has the goroutine look at a channel. mu is held.
func (w *wakeups) request(channel string) {
	w.pending[channel] = struct{}{}
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// notify wakes the waiters of a channel. If heard is not nil, that is the news.
func (w *wakeups) notify(channel string, heard *bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.topics[channel]
	if t == nil {
		return
	}
	if heard != nil {
		t.heard = *heard
	}
	for x := range t.waiters {
		x.signal()
	}
}

// listenFor keeps the subscriptions until the Service is closed. It sends to
// first how the first connection ended.
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

// subscribed connects and keeps the subscriptions for as long as the connection lives.
func (w *wakeups) subscribed(ready func()) error {
	conn, _ := w.client.Dedicate()
	defer conn.Close()
	heard, unheard := true, false
	broken := conn.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(m rueidis.PubSubMessage) { w.notify(m.Channel, nil) },
		OnSubscription: func(m rueidis.PubSubSubscription) {
			if m.Kind == "subscribe" {
				w.notify(m.Channel, &heard)
			} else {
				w.notify(m.Channel, &unheard)
			}
		},
	})
	if !w.attach(conn) {
		return ErrClosed
	}
	defer w.detach()
	ctx := context.Background()
	// The first command has no effect but to show whether it is allowed.
	for _, c := range []rueidis.Completed{
		conn.B().Unsubscribe().Channel(w.own).Build(), conn.B().Subscribe().Channel(w.own).Build(),
	} {
		if err := conn.Do(ctx, c).Error(); err != nil {
			return err
		}
	}
	ready()
	tidy := time.NewTicker(w.ttl / 3)
	defer tidy.Stop()
	for {
		subscribe, unsubscribe := w.takePending()
		if len(subscribe) > 0 {
			if err := conn.Do(ctx, conn.B().Subscribe().Channel(subscribe...).Build()).Error(); err != nil {
				return err
			}
		}
		if len(unsubscribe) > 0 {
			if err := conn.Do(ctx, conn.B().Unsubscribe().Channel(unsubscribe...).Build()).Error(); err != nil {
				return err
			}
		}
		select {
		case <-w.changed:
		case <-tidy.C:
			w.dropIdle()
		case err := <-broken:
			return err
		case <-w.closing:
			return ErrClosed
		}
	}
}

// attach makes conn the connection, on which all topics are to be subscribed. It reports whether
// the Service is open.
func (w *wakeups) attach(conn rueidis.DedicatedClient) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = conn
	for channel := range w.topics {
		w.pending[channel] = struct{}{}
	}
	select {
	case <-w.closing:
		return false
	default:
		return true
	}
}

// detach notes that nothing is heard, and has the waiters try for themselves.
func (w *wakeups) detach() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = nil
	clear(w.pending)
	for _, t := range w.topics {
		t.heard = false
		for x := range t.waiters {
			x.signal()
		}
	}
}

// takePending returns what to subscribe and what to unsubscribe.
func (w *wakeups) takePending() (subscribe, unsubscribe []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for channel := range w.pending {
		if w.topics[channel] != nil {
			subscribe = append(subscribe, channel)
		} else {
			unsubscribe = append(unsubscribe, channel)
		}
	}
	clear(w.pending)
	return subscribe, unsubscribe
}

// dropIdle removes the topics that have had no waiters since it last looked.
func (w *wakeups) dropIdle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for channel, t := range w.topics {
		if len(t.waiters) > 0 {
			continue
		}
		if t.idle {
			delete(w.topics, channel)
			w.request(channel)
		}
		t.idle = true
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
