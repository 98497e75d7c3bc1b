package etcdlock

import (
	"context"
	"net/url"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lockutils/lockutils/driver"
)

var _ driver.Inspector = (*Service)(nil)

// Inspect implements driver.Inspector. It reads all keys of the namespace at one revision, so what it
// returns was true at one instant. A client is described by its host and process ID. etcd does not
// tell since when.
func (s *Service) Inspect(ctx context.Context) ([]driver.Info, error) {
	if !s.isDialed() {
		return nil, errNotDialed
	}
	prefix := s.keyPrefix()
	reply, err := s.client.Get(ctx, prefix, clientv3.WithPrefix(),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		return nil, s.failed(err)
	}
	var found []driver.Info
	places := make(map[string]int) // in found, by name
	for _, kv := range reply.Kvs {
		name, shared, ok := parseKey(strings.TrimPrefix(string(kv.Key), prefix))
		if !ok {
			continue
		}
		place, known := places[name]
		if !known {
			place = len(found)
			places[name] = place
			found = append(found, driver.Info{Name: name})
		}
		enter(&found[place], kv, shared)
	}
	return found, nil
}

// keyPrefix returns what the keys of all requests of the namespace begin with.
func (s *Service) keyPrefix() string { return namespaceEscaper.Replace(s.namespace) + ":" }

// parseKey returns what a key says, without its namespace. Keys of others are not ok.
func parseKey(key string) (name string, shared, ok bool) {
	escaped, request, ok := strings.Cut(key, "/")
	if !ok || !strings.HasPrefix(request, writers) && !strings.HasPrefix(request, readers) {
		return "", false, false
	}
	name, err := url.QueryUnescape(escaped)
	return name, strings.HasPrefix(request, readers), err == nil
}

// enter adds a request to those of a lock that came before it.
func enter(lock *driver.Info, kv *mvccpb.KeyValue, shared bool) {
	client := driver.ClientInfo{Client: string(kv.Value), Shared: shared}
	if admits(lock, shared) {
		lock.Holders = append(lock.Holders, client)
	} else {
		lock.Waiters = append(lock.Waiters, client)
	}
}

// admits reports whether a request holds the lock, given those that came before it.
func admits(lock *driver.Info, shared bool) bool {
	exclusive := func(clients []driver.ClientInfo) bool {
		for _, c := range clients {
			if !c.Shared {
				return true
			}
		}
		return false
	}
	if !shared {
		return len(lock.Holders) == 0
	}
	return !exclusive(lock.Holders) && !exclusive(lock.Waiters)
}
