package etcdlock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/driver/boottime"
)

// tryTime is how long a try waits for its answer, at least, before the next one begins, at another
// endpoint. A leader that fails takes the tries under way with it, so it is short.
const tryTime = 500 * time.Millisecond

// errNoAnswer is the cause when the Service itself has set the time for an answer.
var errNoAnswer = errors.New("no answer in time")

// repeat calls do until it succeeds or fails for good. Requests that do sends must have the same
// effect if they are sent several times. Tries become longer, so that a slow etcd can answer one.
func (s *Service) repeat(ctx context.Context, do func(ctx context.Context) error) error {
	var last error
	begun := time.Now()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, tryTime) {
		if s.client.Ctx().Err() != nil {
			return s.failed(errClientClosed)
		}
		try, cancel := bounded(ctx, max(tryTime, time.Since(begun)/2))
		err := do(try)
		timedOut := try.Err() != nil
		cancel()
		if timedOut && (errors.Is(err, context.Canceled) || code(err) == codes.Canceled) {
			err = errNoAnswer
		}
		switch {
		case err == nil:
			return nil
		case s.client.Ctx().Err() != nil:
			return s.failed(errClientClosed)
		case ctx.Err() != nil:
			return s.interrupted(ctx, last)
		case errors.Is(err, driver.ErrLocked), errors.Is(err, errSessionEnded):
			return err
		case permanent(err):
			return s.failed(err)
		}
		last = err
		s.reconnect()
		if timedOut {
			continue
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return s.interrupted(ctx, last)
		}
	}
}

// bounded returns a context that ends with ctx, or after that time. It has no deadline, which gRPC would
// send with each call.
func bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	try, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	timer := time.AfterFunc(d, cancel)
	return try, func() {
		stop()
		timer.Stop()
		cancel()
	}
}

// reconnect has the client connect again at once, not after a pause that grows to minutes while etcd
// cannot be reached. It does so twice a second at most.
func (s *Service) reconnect() {
	now, last := boottime.Now(), s.reconnected.Load()
	if now-time.Duration(last) >= tryTime && s.reconnected.CompareAndSwap(last, int64(now)) {
		s.client.ActiveConnection().ResetConnectBackoff()
	}
}

// insist is repeat for what must not be left: it goes on also after an error that is not likely to
// go away, and reports it. It returns ctx's cause or nil.
func (s *Service) insist(ctx context.Context, do func(ctx context.Context) error, report func(error)) error {
	for {
		err := s.repeat(ctx, do)
		if err == nil || ctx.Err() != nil {
			return err
		}
		report(err)
		select {
		case <-time.After(tryTime):
		case <-ctx.Done():
		}
	}
}

// interrupted returns the error for a request whose ctx has ended, with the last error of etcd.
func (s *Service) interrupted(ctx context.Context, last error) error {
	cause := context.Cause(ctx)
	if cause == errSessionEnded {
		return cause
	}
	if last != nil {
		return s.failed(fmt.Errorf("%w; the last try: %w", cause, last))
	}
	return s.failed(cause)
}

// permanent reports whether a further try will most likely fail in the same way.
func permanent(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false
	}
	if errors.Is(err, rpctypes.ErrTooManyRequests) || errors.Is(err, rpctypes.ErrAuthOldRevision) {
		return false
	}
	switch code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted, codes.Internal, codes.Unknown:
		return false
	default:
		return true
	}
}

// refused reports whether the request has certainly changed nothing.
func refused(err error) bool {
	var answer rpctypes.EtcdError
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace): // etcd carries out the request that exhausts its space
		return false
	case errors.As(err, &answer):
		return permanent(err)
	default: // too large for the client to send or the server to receive
		return code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "larger than max")
	}
}

func code(err error) codes.Code {
	var answer rpctypes.EtcdError
	if errors.As(err, &answer) {
		return answer.Code()
	}
	return status.Code(err)
}
