package etcdlock

import (
	"context"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/lockutils/lockutils/driver"
)

// A request is one key, in the queue of its lock. The keys of a lock in the order of their create
// revisions are its queue. An exclusive request holds the lock when there is no key before its
// own, a shared one when there is no exclusive key before its own.
type request struct {
	session *session
	others  string // prefix of the keys that this request has to wait for
	key     string
	number  int // that of the key
	noWait  bool

	again    bool  // it is not the first try
	revision int64 // create revision of the key; 0 as long as it is not known to exist
	unclear  bool  // a transaction that creates the key may be on its way
	ahead    ahead
}

// ahead is the last key that a request waits for.
type ahead struct {
	key  string // "" if the request holds the lock
	only bool   // no other key is before the request's
}

func (n *session) newRequest(r driver.Request) *request {
	prefix := n.service.namePrefix(r.Name)
	q := &request{session: n, others: prefix, number: n.takeNumber(), noWait: r.NoWait}
	if r.Shared {
		q.others, q.key = prefix+writers, n.key(prefix, readers, q.number)
	} else {
		q.key = n.key(prefix, writers, q.number)
	}
	return q
}

// enqueue creates the key, in one transaction that also returns what is ahead.
func (q *request) enqueue(ctx context.Context) error {
	for done := false; !done; {
		err := q.session.service.repeat(ctx, func(ctx context.Context) (err error) {
			if err := q.session.openGate(ctx); err != nil {
				return err
			}
			done, err = q.tryEnqueue(ctx)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tryEnqueue tries to create the key. It returns false if that has to be tried again.
//
// The first try of a request that may wait can fail only by the gate, so it does without the
// comparisons and the reads that tell the reasons of others apart.
func (q *request) tryEnqueue(ctx context.Context) (bool, error) {
	n, gate := q.session, q.session.gate.Load()
	if gate == 0 { // another request has just found it gone; 0 would compare equal to that
		return false, nil
	}
	conditions := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(n.gateKey()), "=", gate)}
	var reasons []clientv3.Op
	if q.again || q.noWait {
		conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(q.key), "=", 0))
		reasons = []clientv3.Op{
			clientv3.OpGet(q.key, clientv3.WithKeysOnly()),
			clientv3.OpGet(n.gateKey(), clientv3.WithKeysOnly()),
		}
	}
	q.again = true
	if q.noWait {
		conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(q.others).WithPrefix(), "=", 0))
	}
	reply, err := n.service.client.Txn(ctx).If(conditions...).Then(
		clientv3.OpGet(q.others, options(clientv3.WithLastCreate())...),
		clientv3.OpPut(q.key, n.service.owner, clientv3.WithLease(n.id)),
	).Else(reasons...).Commit()
	if err != nil {
		q.unclear = q.unclear || !refused(err)
		return false, err
	}
	if reply.Succeeded {
		before := reply.Responses[0].GetResponseRange()
		q.revision = reply.Header.Revision
		q.wait(before.Kvs, before.Count == 1)
		return true, nil
	}
	if reasons == nil {
		return false, nil
	}
	own, gates := reply.Responses[0].GetResponseRange().Kvs, reply.Responses[1].GetResponseRange().Kvs
	switch {
	case len(own) > 0: // an earlier try has created it
		q.revision = own[0].CreateRevision
		return true, q.look(ctx)
	case len(gates) == 0:
		n.gate.CompareAndSwap(gate, 0)
		return false, nil
	case gates[0].ModRevision != gate:
		n.gate.CompareAndSwap(gate, gates[0].ModRevision)
		return false, nil
	default:
		return false, driver.ErrLocked
	}
}

// options returns the options of a read of one key of a prefix.
func options(order []clientv3.OpOption) []clientv3.OpOption {
	return append(order, clientv3.WithKeysOnly())
}

// wait notes what is ahead: the last key before the request's own, if there is one.
func (q *request) wait(last []*mvccpb.KeyValue, only bool) {
	q.ahead = ahead{}
	if len(last) > 0 {
		q.ahead = ahead{key: string(last[0].Key), only: only}
	}
}

// look reads what is ahead now.
func (q *request) look(ctx context.Context) error {
	before := clientv3.WithMaxCreateRev(q.revision - 1)
	reply, err := q.session.service.client.Txn(ctx).Then(
		clientv3.OpGet(q.others, options(append(clientv3.WithLastCreate(), before))...),
		clientv3.OpGet(q.others, options(append(clientv3.WithFirstCreate(), before))...),
		clientv3.OpGet(q.key, clientv3.WithKeysOnly()),
	).Commit()
	if err != nil {
		return err
	}
	if len(reply.Responses[2].GetResponseRange().Kvs) == 0 {
		return errSessionEnded // the key is gone: the request has to be made again
	}
	last, first := reply.Responses[0].GetResponseRange().Kvs, reply.Responses[1].GetResponseRange().Kvs
	q.wait(last, len(last) > 0 && last[0].CreateRevision == first[0].CreateRevision)
	return nil
}

// pollInterval is how often a request that waits looks for itself, in case its watch is stuck.
const pollInterval = 2 * time.Second

// minPause is how long a request leaves its watch broken, at first.
const minPause = 20 * time.Millisecond

// await waits until the key ahead may be gone, and notes what is ahead then.
//
// The watch begins at the present revision, so that etcd serves it at once: one that begins in the
// past is served from a loop that runs every 100 ms. Once etcd has confirmed the watch, one read
// tells whether the key went before. A watch that fails is replaced. The reads tell whether its
// error is one that lasts.
func (q *request) await(ctx context.Context) error {
	s, was := q.session.service, q.ahead
	w := q.startWatch()
	defer func() { w.stop() }()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	var events clientv3.WatchChan // nil until etcd has confirmed the watch, and once it has failed
	var replace <-chan time.Time  // receives when a watch that has failed is to be replaced
	pause := minPause
	for q.ahead.key == was.key {
		select {
		case events = <-w.confirmed:
			continue
		case reply, ok := <-events:
			switch {
			case !ok || reply.Err() != nil:
				w.failed(reply.Err())
				events, replace = nil, time.After(pause)
				pause = min(2*pause, tryTime)
			case len(reply.Events) > 0 && was.only:
				q.ahead = ahead{} // nobody comes in before a key that is there
				return nil
			}
		case <-replace:
			w.stop()
			w, replace = q.startWatch(), nil
			continue
		case <-poll.C:
		case <-ctx.Done():
			return s.interrupted(ctx, nil)
		}
		if err := s.repeat(ctx, q.look); err != nil {
			return err
		}
	}
	return nil
}

// A watch is one of the key ahead of a request.
type watch struct {
	session   *session
	stream    int64                   // the number of its stream
	confirmed chan clientv3.WatchChan // receives once, when etcd has confirmed the watch or it failed
	stopped   chan struct{}
}

func (w *watch) stop() { close(w.stopped) }

// failed has the watches to come use another stream, if etcd has refused this one: a stream keeps the
// token with which it was opened, which may have expired. The client opens a broken stream anew.
func (w *watch) failed(refusal error) {
	if refusal != nil {
		w.session.watchStream.CompareAndSwap(w.stream, w.stream+1)
	}
}

// startWatch starts a watch, which goes on until it is stopped or the session ends. It fails if etcd
// does not confirm it within a TTL.
//
// The client forgets a watch whose context ends before etcd has confirmed it, and etcd would keep it.
// So a watch that is stopped before is ended only then, and the request does not wait for that.
func (q *request) startWatch() *watch {
	n, key := q.session, q.ahead.key
	w := &watch{n, n.watchStream.Load(), make(chan clientv3.WatchChan, 1), make(chan struct{})}
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(n.ctx))
	// The client has a stream for each value of the metadata.
	ctx = metadata.AppendToOutgoingContext(ctx, "lockutils-stream", strconv.FormatInt(w.stream, 10))
	n.service.goBackground(func() {
		defer cancel()
		late := time.AfterFunc(n.ttl, cancel)
		w.confirmed <- n.service.client.Watch(ctx, key, clientv3.WithCreatedNotify(), clientv3.WithFilterPut())
		late.Stop()
		select {
		case <-w.stopped:
		case <-ctx.Done():
		}
	})
	return w
}

// withdraw removes the key, or whatever may become of the request. It goes on in the background
// until etcd has confirmed it or the session ends.
func (q *request) withdraw() {
	n := q.session
	if q.revision == 0 && !q.unclear {
		n.returnNumber(q.number)
		return
	}
	n.service.goBackground(func() {
		tries := 0
		err := n.service.insist(n.ctx, func(ctx context.Context) error {
			tries++
			_, err := q.remove(ctx)
			return err
		}, func(error) {})
		if err == nil {
			q.retire(tries)
		}
	})
}

// retire gives the number of the key back, after its removal with so many tries. Transactions and
// deletions whose answer was lost may still arrive; their key is not used again.
func (q *request) retire(tries int) {
	if tries == 1 && !q.unclear {
		q.session.returnNumber(q.number)
	}
}

// remove removes the key for good, and reports whether it was there. It compares nothing: no other
// request has the key while this may be on its way.
func (q *request) remove(ctx context.Context) (was bool, err error) {
	client := q.session.service.client
	if !q.unclear { // etcd deletes one key faster than it does a transaction
		reply, err := client.Delete(ctx, q.key)
		return err == nil && reply.Deleted > 0, err
	}
	reply, err := client.Txn(ctx).
		Then(clientv3.OpDelete(q.key), clientv3.OpDelete(q.session.gateKey())).Commit()
	return err == nil && reply.Responses[0].GetResponseDeleteRange().Deleted > 0, err
}
