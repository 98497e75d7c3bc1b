package etcdlock_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lockutils/lockutils/drivers/etcdlock"
)

// A lateStream holds its first message back until another stream has been refused.
type lateStream struct {
	grpc.ClientStream
	refused <-chan struct{}
}

func (s *lateStream) RecvMsg(m any) error {
	select {
	case <-s.refused:
	case <-s.Context().Done():
	}
	return s.ClientStream.RecvMsg(m)
}

// A member without a leader answers renewals when it has one. Until then it refuses new streams.
func TestLateAnswerRenewsTheLease(t *testing.T) {
	refused := make(chan struct{})
	var opened atomic.Int32
	client := intercepted(t, func(
		ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
		streamer grpc.Streamer, opts ...grpc.CallOption,
	) (grpc.ClientStream, error) {
		if method != "/etcdserverpb.Lease/LeaseKeepAlive" {
			return streamer(ctx, desc, cc, method, opts...)
		}
		switch opened.Add(1) {
		case 1:
			s, err := streamer(ctx, desc, cc, method, opts...)
			return &lateStream{s, refused}, err
		case 2:
			close(refused)
		}
		return nil, status.Error(codes.Unavailable, "no leader")
	})
	h := acquire(t, dial(t, client, etcdlock.WithTTL(6*time.Second)), "late")
	for range 3 {
		for deadline := h.Deadline(); h.Deadline() == deadline; time.Sleep(time.Millisecond) {
			if lost(h) {
				t.Fatal("the lock was lost")
			}
		}
	}
	release(t, h)
}
