package redislock

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/redis/rueidis"
)

// The state of a lock is in four keys, which share a hash slot:
//
//	lock     string: the id of its exclusive holder, or "shared"; expires with the hold
//	counter  string: the latest fencing token; expires after a day
//	shares   hash: "r" and id of each shared holder, "w" and id of each exclusive request that
//	         waits for shared holders; the value is when the entry ends, in ms of the server's clock
//	waiters  sorted set: "r" or "w" and id of each request to be woken, in order of arrival
//
// A refused request that waits enters waiters, with each refusal. A release takes the first ones
// out and wakes them: one that is woken and refused enters again, at the end.
//
// While there are shared holders, lock exists until the last of their entries ends. An exclusive
// request therefore needs to look at no other key to see that a lock is free. Entries that have
// ended count for nothing.
//
// A script that fails leaves nothing held: what can fail comes first or is undone. A script may
// run twice with the same id.
const (
	// token returns a number larger than all that it has returned for the key, also if the key was
	// lost meanwhile: it begins at the time in µs, and nobody acquires a lock once per µs for long.
	luaToken = `
local function token(key)
	local n = redis.pcall('INCR', key)
	if type(n) == 'number' and n < 1e15 then
		local t = redis.call('TIME')
		n = t[1] * 1e6 + t[2]
		redis.call('SET', key, string.format('%.0f', n), 'PX', 86400000)
	end
	return n
end
`
	luaNow = `
local function now()
	local t = redis.call('TIME')
	return t[1] * 1000 + math.floor(t[2] / 1000)
end
`
	// refused returns how long the lock stays taken, in ms, as a negative number; 0: not known.
	luaRefused = `
local function refused(left)
	if left == -1 then return 0 end
	return -(math.max(left, 0) + 1)
end
`
	// extend has the key last for at least ttl from now on.
	luaExtend = `
local function extend(key, ttl)
	redis.call('PEXPIRE', key, math.max(ttl, redis.call('PTTL', key)))
end
`
	// enter has a request be woken. The entry of a process that dies stays until a release finds
	// that nobody hears it.
	luaEnter = `
local function enter(waiters, entry)
	redis.call('ZADD', waiters, 'NX', now(), entry)
	redis.call('PEXPIRE', waiters, 86400000)
end
`
	// wake wakes those who have waited longest, until so many exclusive requests have heard it. The
	// channel of a request is that of its Service, whose id begins the request's. Requests of one Service
	// that follow each other count as one: if its process stands still, none of them comes.
	luaWake = `
local function wake(channels, waiters, most)
	local last
	while most > 0 do
		local wanted, entries = most, redis.call('ZPOPMIN', waiters, most)
		for i = 1, #entries, 2 do
			local id = entries[i]:sub(2)
			local service = id:sub(1, 16)
			local heard = redis.call('PUBLISH', channels .. service, id)
			if heard > 0 and entries[i]:sub(1, 1) == 'w' and service ~= last then
				most, last = most - 1, service
			end
		end
		if #entries < 2 * wanted then return end
	end
end
`
	// leave ends a shared hold, and the lock with the last one. It returns how many holds there were:
	// 1 or 0.
	luaLeave = `
local function leave(lock, shares, id)
	if redis.call('HDEL', shares, 'r' .. id) == 0 then return 0 end
	local time, last, entries = now(), 0, redis.call('HGETALL', shares)
	for i = 1, #entries, 2 do
		if entries[i]:sub(1, 1) == 'r' then last = math.max(last, tonumber(entries[i + 1])) end
	end
	if redis.call('GET', lock) ~= 'shared' then return 1 end
	if last > time then
		redis.call('PEXPIRE', lock, last - time)
	else
		redis.call('DEL', lock)
	end
	return 1
end
`
)

var (
	// acquireExclusive returns the token, or what refused returns. A request that has been refused
	// because of shared holders, and waits, keeps new ones out (ARGV[3]).
	acquireExclusive = newScript(luaToken+luaNow+luaRefused+luaExtend+luaEnter, `
local lock, counter, shares, waiters = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, ttl, wait, again = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if redis.call('SET', lock, id, 'NX', 'PX', ttl) then
	local n = token(counter)
	if type(n) ~= 'number' then redis.call('DEL', lock) end
	if again == '1' then
		redis.pcall('HDEL', shares, 'w' .. id)
		redis.pcall('ZREM', waiters, 'w' .. id)
	end
	return n
end
local holder = redis.call('GET', lock)
if holder == id then
	redis.call('PEXPIRE', lock, ttl)
	return tonumber(redis.call('GET', counter)) or token(counter)
end
if wait == '1' then
	enter(waiters, 'w' .. id)
	if holder == 'shared' then
		redis.call('HSET', shares, 'w' .. id, now() + ttl)
		extend(shares, ttl)
	end
end
return refused(redis.call('PTTL', lock))
`)

	// acquireShared returns the token, or what refused returns.
	acquireShared = newScript(luaToken+luaNow+luaRefused+luaExtend+luaEnter, `
local lock, counter, shares, waiters = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, ttl, wait, again = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local holder = redis.call('GET', lock)
if holder and holder ~= 'shared' then
	if wait == '1' then enter(waiters, 'r' .. id) end
	return refused(redis.call('PTTL', lock))
end
local time, entries, wanted, mine = now(), redis.call('HGETALL', shares), 0, false
for i = 1, #entries, 2 do
	local entry, ends = entries[i], tonumber(entries[i + 1])
	if ends <= time then
		redis.call('HDEL', shares, entry)
	elseif entry == 'r' .. id then
		mine = true
	elseif entry:sub(1, 1) == 'w' then
		wanted = math.max(wanted, ends)
	end
end
if wanted > 0 and not mine then
	if wait == '1' then enter(waiters, 'r' .. id) end
	return refused(wanted - time)
end
local n = token(counter)
if type(n) ~= 'number' then return n end
redis.call('HSET', shares, 'r' .. id, time + ttl)
extend(shares, ttl)
if holder then extend(lock, ttl) else redis.call('SET', lock, 'shared', 'PX', ttl) end
if again == '1' then redis.pcall('ZREM', waiters, 'r' .. id) end
return n
`)

	// renewExclusive returns 1, or 0 if the hold has ended.
	renewExclusive = newScript("", `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
`)

	// renewShared returns 1, or 0 if the hold has ended. It writes expiries first: a server that
	// is out of memory lets a script go on that has begun to write, and the entry needs no more
	// memory.
	renewShared = newScript(luaNow+luaExtend, `
local lock, shares, entry, ttl = KEYS[1], KEYS[3], 'r' .. ARGV[1], tonumber(ARGV[2])
local ends, time = redis.call('HGET', shares, entry), now()
if not ends or tonumber(ends) <= time or redis.call('GET', lock) ~= 'shared' then return 0 end
extend(lock, ttl)
extend(shares, ttl)
redis.call('HSET', shares, entry, time + ttl)
return 1
`)

	// releaseExclusive returns 1, or 0 if there was nothing to release.
	releaseExclusive = newScript(luaWake, `
local lock, waiters, id, channels, most = KEYS[1], KEYS[4], ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('GET', lock) ~= id then return 0 end
redis.call('DEL', lock)
wake(channels, waiters, most)
return 1
`)

	// releaseShared returns 1, or 0 if there was nothing to release.
	releaseShared = newScript(luaNow+luaWake+luaLeave, `
local lock, shares, waiters = KEYS[1], KEYS[3], KEYS[4]
local id, channels, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
if leave(lock, shares, id) == 0 then return 0 end
if not redis.call('GET', lock) then wake(channels, waiters, most) end
return 1
`)

	// withdrawExclusive releases the lock if the request holds it, and takes back its wait: if it
	// was woken, others are in its place. It returns 1 if there was something to release, or 0.
	withdrawExclusive = newScript(luaWake, `
local lock, shares, waiters = KEYS[1], KEYS[3], KEYS[4]
local id, channels, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local holder = redis.call('GET', lock)
if holder == id then redis.call('DEL', lock) end
local wanted = redis.call('HDEL', shares, 'w' .. id)
redis.call('ZREM', waiters, 'w' .. id)
if not holder or holder == id or wanted > 0 then wake(channels, waiters, most) end
return holder == id and 1 or 0
`)

	// withdrawShared is withdrawExclusive for a shared request.
	withdrawShared = newScript(luaNow+luaWake+luaLeave, `
local lock, shares, waiters = KEYS[1], KEYS[3], KEYS[4]
local id, channels, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local left = leave(lock, shares, id)
redis.call('ZREM', waiters, 'r' .. id)
if not redis.call('GET', lock) then wake(channels, waiters, most) end
return left
`)
)

// A script is run by its hash. Its text follows if the server does not know that, as after a
// restart.
type script struct{ text, sha string }

func newScript(functions, body string) *script {
	text := functions + body
	sum := sha1.Sum([]byte(text))
	return &script{text: text, sha: hex.EncodeToString(sum[:])}
}

func (x *script) byHash(c rueidis.Client, keys, args []string) rueidis.Completed {
	return c.B().Evalsha().Sha1(x.sha).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
}

func (x *script) byText(c rueidis.Client, keys, args []string) rueidis.Completed {
	return c.B().Eval().Script(x.text).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
}

// do returns the script's answer.
func (x *script) do(ctx context.Context, c rueidis.Client, keys, args []string) rueidis.RedisResult {
	answer := c.Do(ctx, x.byHash(c, keys, args))
	if isNoScript(answer.Error()) {
		answer = c.Do(ctx, x.byText(c, keys, args))
	}
	return answer
}

// run returns the answer of a script that returns a number.
func (x *script) run(ctx context.Context, c rueidis.Client, keys, args []string) (int64, error) {
	return x.do(ctx, c, keys, args).AsInt64()
}

// runAll runs scripts together, each with keys and args of its own.
func runAll(ctx context.Context, c rueidis.Client, calls []call) []rueidis.RedisResult {
	commands := make(rueidis.Commands, len(calls))
	for i, x := range calls {
		commands[i] = x.byHash(c, x.keys, x.args)
	}
	results := c.DoMulti(ctx, commands...)
	for i, x := range calls {
		if isNoScript(results[i].Error()) {
			results[i] = c.Do(ctx, x.byText(c, x.keys, x.args))
		}
	}
	return results
}

// A call is a script with what it is to run on.
type call struct {
	*script
	keys, args []string
}

func isNoScript(err error) bool { return kind(err) == "NOSCRIPT" }

// kind returns the first word of an error that the server has answered, or "" for other errors.
func kind(err error) string {
	var answer *rueidis.RedisError
	if !errors.As(err, &answer) {
		return ""
	}
	word, _, _ := strings.Cut(answer.Error(), " ")
	return word
}
