package etcdlock

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lockutils/lockutils/driver"
)

// A request is one key, in the queue of its lock. The keys of a lock in the order of their create
// revisions are its queue. An exclusive request holds the lock when there is no key before its own, a
// shared one when there is no exclusive key before its own.
type request struct {
	session *session
	prefix  string // of the keys of the lock
	others  string // prefix of the keys that this request has to wait for
	key     string
	noWait  bool

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
	q := &request{session: n, prefix: n.service.namePrefix(r.Name), noWait: r.NoWait}
	if r.Shared {
		q.others, q.key = q.prefix+writers, n.newKey(q.prefix, readers)
	} else {
		q.others, q.key = q.prefix, n.newKey(q.prefix, writers)
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

// tryEnqueue tries to create the key. It returns false if the gate was not the right one.
func (q *request) tryEnqueue(ctx context.Context) (bool, error) {
	n, gate := q.session, q.session.gate.Load()
	conditions := []clientv3.Cmp{
		clientv3.Compare(clientv3.CreateRevision(q.key), "=", 0),
		clientv3.Compare(clientv3.ModRevision(n.gateKey()), "=", gate),
	}
	if q.noWait {
		conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(q.others).WithPrefix(), "=", 0))
	}
	reply, err := n.service.client.Txn(ctx).If(conditions...).Then(
		clientv3.OpGet(q.others, options(clientv3.WithLastCreate())...),
		clientv3.OpGet(q.others, options(clientv3.WithFirstCreate())...),
		clientv3.OpPut(q.key, n.service.owner, clientv3.WithLease(n.id)),
	).Else(
		clientv3.OpGet(q.key, clientv3.WithKeysOnly()),
		clientv3.OpGet(n.gateKey(), clientv3.WithKeysOnly()),
	).Commit()
	if err != nil {
		q.unclear = q.unclear || !refused(err)
		return false, err
	}
	first, second := reply.Responses[0].GetResponseRange().Kvs, reply.Responses[1].GetResponseRange().Kvs
	switch {
	case reply.Succeeded:
		q.revision = reply.Header.Revision
		q.wait(first, second)
		return true, nil
	case len(first) > 0: // an earlier try has created it
		q.revision = first[0].CreateRevision
		return true, q.look(ctx)
	case len(second) == 0:
		n.gate.CompareAndSwap(gate, 0)
		return false, nil
	case second[0].ModRevision != gate:
		n.gate.CompareAndSwap(gate, second[0].ModRevision)
		return false, nil
	default:
		return false, driver.ErrLocked
	}
}

// options returns the options of a read of one key of a prefix.
func options(order []clientv3.OpOption) []clientv3.OpOption {
	return append(order, clientv3.WithKeysOnly())
}

// wait notes what is ahead, from the last and the first key before the request's own.
func (q *request) wait(last, first []*mvccpb.KeyValue) {
	q.ahead = ahead{}
	if len(last) > 0 {
		q.ahead.key = string(last[0].Key)
		q.ahead.only = last[0].CreateRevision == first[0].CreateRevision
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
	q.wait(reply.Responses[0].GetResponseRange().Kvs, reply.Responses[1].GetResponseRange().Kvs)
	return nil
}

// pollInterval is how often a request that waits looks for itself, in case its watch is stuck.
const pollInterval = 2 * time.Second

// await waits until the key ahead may be gone, and notes what is ahead then.
//
// The watch begins at the present revision, so that etcd serves it at once: one that begins in the
// past is served from a loop that runs every 100 ms. Once etcd has confirmed the watch, one read
// tells whether the key went before.
func (q *request) await(ctx context.Context) error {
	s, was := q.session.service, q.ahead
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := q.watch(ctx)
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for q.ahead.key == was.key {
		select {
		case reply, ok := <-watch:
			switch err := reply.Err(); {
			case err != nil && permanent(err) && ctx.Err() == nil:
				return s.failed(err)
			case !ok || err != nil:
				watch = nil // until the next poll
				continue
			case len(reply.Events) > 0 && was.only:
				q.ahead = ahead{} // nobody comes in before a key that is there
				return nil
			}
		case <-poll.C:
			if watch == nil {
				watch = q.watch(ctx)
			}
		case <-ctx.Done():
			return s.interrupted(ctx, nil)
		}
		if err := s.repeat(ctx, q.look); err != nil {
			return err
		}
	}
	return nil
}

func (q *request) watch(ctx context.Context) clientv3.WatchChan {
	return q.session.service.client.Watch(clientv3.WithRequireLeader(ctx), q.ahead.key,
		clientv3.WithCreatedNotify(), clientv3.WithFilterPut())
}

// withdraw removes the key, or whatever may become of the request. It goes on in the background until
// etcd has confirmed it or the session ends.
func (q *request) withdraw() {
	if q.revision == 0 && !q.unclear {
		return
	}
	n := q.session
	n.service.goBackground(func() {
		n.service.insist(n.ctx, func(ctx context.Context) error {
			_, err := n.service.client.Txn(ctx).Then(q.remove()...).Commit()
			return err
		}, func(error) {})
	})
}

// remove returns the operations that remove the key for good.
func (q *request) remove() []clientv3.Op {
	ops := []clientv3.Op{clientv3.OpDelete(q.key)}
	if q.unclear {
		ops = append(ops, clientv3.OpDelete(q.session.gateKey()))
	}
	return ops
}
