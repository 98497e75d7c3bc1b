package redislock

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/lockutils/lockutils/driver"
	"github.com/redis/rueidis"
)

var _ driver.Inspector = (*Service)(nil)

// parties returns the requests of a lock: "W" or "R" and the id of each holder, "w" or "r" and the
// id of each waiter.
var parties = newScript(luaNow, `
local lock, shares, waiters, found = KEYS[1], KEYS[3], KEYS[4], {}
local holder = redis.call('GET', lock)
if not holder then return found end
if holder == 'shared' then
	local time, entries = now(), redis.call('HGETALL', shares)
	for i = 1, #entries, 2 do
		if entries[i]:sub(1, 1) == 'r' and tonumber(entries[i + 1]) > time then
			found[#found + 1] = 'R' .. entries[i]:sub(2)
		end
	end
else
	found[1] = 'W' .. holder
end
for _, entry in ipairs(redis.call('ZRANGE', waiters, 0, -1)) do found[#found + 1] = entry end
return found
`)

// Inspect implements driver.Inspector. It reads all keys of the database, and each lock at an
// instant of its own. A client is described by its host and process ID while it is connected. A
// waiter that has died is shown until a release finds that nobody hears it. The server does not tell
// since when. The user needs +scan, +zrange and +pubsub besides the rights of a Service.
func (s *Service) Inspect(ctx context.Context) ([]driver.Info, error) {
	if !s.begin() {
		return nil, ErrClosed
	}
	defer s.active.Done()
	names, clients, err := s.survey(ctx)
	if err != nil {
		return nil, s.failure(err)
	}
	var found []driver.Info
	for _, name := range names {
		q := s.newRequest(driver.Request{Name: name})
		entries, err := parties.do(ctx, s.client, q.keys, nil).AsStrSlice()
		if err != nil {
			return nil, s.failure(err)
		}
		if len(entries) > 0 {
			found = append(found, describeLock(name, entries, clients))
		}
	}
	return found, nil
}

// survey returns the names of the locks that are held, in order, and a description of each Service
// by its id. In a Cluster all nodes know a part of both.
func (s *Service) survey(ctx context.Context) (names []string, clients map[string]string, err error) {
	space := braces.Replace(s.namespace)
	clients = make(map[string]string)
	for _, node := range s.client.Nodes() {
		keys, err := scan(ctx, node, globs.Replace(space)+"{:*}")
		if err != nil {
			return nil, nil, err
		}
		for _, key := range keys {
			names = append(names, strings.TrimSuffix(strings.TrimPrefix(key, space+"{:"), "}"))
		}
		channels, err := node.Do(ctx, node.B().PubsubChannels().
			Pattern(globs.Replace(s.channels)+"*").Build()).AsStrSlice()
		if err != nil {
			return nil, nil, err
		}
		for _, channel := range channels {
			if id, client, ok := strings.Cut(strings.TrimPrefix(channel, s.channels), " "); ok {
				clients[id] = client
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), clients, nil
}

// globs has a text mean itself in a pattern.
var globs = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

func scan(ctx context.Context, node rueidis.Client, pattern string) (keys []string, err error) {
	for cursor := uint64(0); ; {
		page, err := node.Do(ctx, node.B().Scan().Cursor(cursor).Match(pattern).Count(1000).Build()).AsScanEntry()
		if err != nil {
			return nil, err
		}
		keys = append(keys, page.Elements...)
		if cursor = page.Cursor; cursor == 0 {
			return keys, nil
		}
	}
}

// describeLock sorts the entries that parties has returned.
func describeLock(name string, entries []string, clients map[string]string) driver.Info {
	lock := driver.Info{Name: name}
	for _, entry := range entries {
		kind, id := entry[:1], entry[1:]
		id = id[:min(len(id), idLength)]
		client := driver.ClientInfo{Client: clients[id], Shared: strings.ToLower(kind) == "r"}
		if client.Client == "" {
			client.Client = "unknown " + id
		}
		if kind == strings.ToUpper(kind) {
			lock.Holders = append(lock.Holders, client)
		} else {
			lock.Waiters = append(lock.Waiters, client)
		}
	}
	return lock
}

// introduction names the channel that tells which process a Service is in. Nobody sends to it.
func (s *Service) introduction() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown-host"
	}
	return fmt.Sprintf("%s%s %s %d", s.channels, s.id, host, os.Getpid())
}
