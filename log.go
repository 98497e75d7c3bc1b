package lockutils

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// An acquireLog writes the messages about one acquisition, and knows its times. A call gets a nil
// acquireLog while debug messages are off. A nil acquireLog writes nothing and reads no clock.
type acquireLog struct {
	log      *slog.Logger
	ctx      context.Context // of the acquisition, for handlers that log what a context carries
	lock, by string
	scope    string
	path     string
	service  string
	start    time.Time // of the wait, and then of the hold
}

// newAcquireLog returns nil unless debug messages are wanted.
func newAcquireLog(ctx context.Context, name, by, path string, s *settings) *acquireLog {
	if s.silent || !handler().Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	return &acquireLog{log: logger(), ctx: ctx, lock: name, by: by, scope: s.scope(), path: path,
		service: s.serviceKind(), start: time.Now()}
}

func (l *acquireLog) acquiring() {
	if l != nil {
		l.write("Acquiring lock")
	}
}

// acquired releases the lock again if the handler panics, since nobody would get the guard then.
func (l *acquireLog) acquired(g Guard) {
	if l == nil {
		return
	}
	written := false
	defer func() {
		if !written {
			_ = g.Unlock()
		}
	}()
	waited := l.lap()
	l.write("Acquired lock", slog.Duration("waited", waited))
	written = true
}

func (l *acquireLog) failed(err error) {
	if l != nil {
		l.write("Failed to acquire lock", slog.Duration("waited", l.lap()), slog.Any("error", err))
	}
}

func (l *acquireLog) released() {
	if l != nil {
		l.write("Released lock", slog.Duration("held", l.lap()))
	}
}

// lap returns the time since start and starts anew.
func (l *acquireLog) lap() time.Duration {
	now := time.Now()
	d := now.Sub(l.start)
	l.start = now
	return d
}

func (l *acquireLog) write(msg string, more ...slog.Attr) {
	attrs := make([]slog.Attr, 0, 7)
	if l.lock != "" || l.path == "" {
		attrs = append(attrs, slog.String("lock", l.lock))
	}
	if l.scope != "" {
		attrs = append(attrs, slog.String("scope", l.scope))
	}
	if l.by != "" {
		attrs = append(attrs, slog.String("by", l.by))
	}
	if l.path != "" {
		attrs = append(attrs, slog.String("path", l.path))
	}
	if l.service != "" {
		attrs = append(attrs, slog.String("service", l.service))
	}
	l.log.LogAttrs(l.ctx, slog.LevelDebug, msg, append(attrs, more...)...)
}

// warnLost tells of the loss of a lock where no error can.
func (s *settings) warnLost(name, by string, err error) {
	if errors.Is(err, ErrLost) && !s.silent {
		logger().LogAttrs(context.Background(), slog.LevelWarn, "Lost lock", slog.String("lock", name),
			slog.String("scope", s.scope()), slog.String("by", by), slog.String("service", s.serviceKind()))
	}
}
