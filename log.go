package lockutils

import (
	"context"
	"log/slog"
	"time"
)

// A trail writes the messages about one acquisition, and knows its times. A nil trail, which is what a call gets while
// debug messages are off, writes nothing and reads no clock.
type trail struct {
	log      *slog.Logger
	ctx      context.Context // of the acquisition, for handlers that log what a context carries
	lock, by string
	path     string
	start    time.Time // of the wait, and then of the hold
}

// newTrail returns nil unless debug messages are wanted.
func newTrail(ctx context.Context, name, by, path string, s *settings) *trail {
	if s.silent || !handler().Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	return &trail{log: logger(), ctx: ctx, lock: name, by: by, path: path, start: time.Now()}
}

func (t *trail) acquiring() {
	if t != nil {
		t.write("Acquiring lock")
	}
}

// acquired releases the lock again if the handler panics, since nobody would get the guard then.
func (t *trail) acquired(g Guard) {
	if t == nil {
		return
	}
	written := false
	defer func() {
		if !written {
			_ = g.Unlock()
		}
	}()
	waited := t.lap()
	t.write("Acquired lock", slog.Duration("waited", waited))
	written = true
}

func (t *trail) failed(err error) {
	if t != nil {
		t.write("Failed to acquire lock", slog.Duration("waited", t.lap()), slog.Any("error", err))
	}
}

func (t *trail) released() {
	if t != nil {
		t.write("Released lock", slog.Duration("held", t.lap()))
	}
}

// lap returns the time since start and starts anew.
func (t *trail) lap() time.Duration {
	now := time.Now()
	d := now.Sub(t.start)
	t.start = now
	return d
}

func (t *trail) write(msg string, more ...slog.Attr) {
	attrs := make([]slog.Attr, 0, 5)
	attrs = append(attrs, slog.String("lock", t.lock))
	if t.by != "" {
		attrs = append(attrs, slog.String("by", t.by))
	}
	if t.path != "" {
		attrs = append(attrs, slog.String("path", t.path))
	}
	t.log.LogAttrs(t.ctx, slog.LevelDebug, msg, append(attrs, more...)...)
}
