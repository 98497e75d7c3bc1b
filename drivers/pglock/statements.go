package pglock

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
)

// A key is what the server knows of a name: the numbers of two advisory locks. They are parts
// of a SHA-256 sum, and two names with the same number only exclude each other needlessly.
type key struct {
	lock   int64
	marker int64 // shared by the sessions that wait for the lock
}

func keyOf(namespace, name string) key {
	sum := sha256.New()
	sum.Write(binary.AppendUvarint(nil, uint64(len(namespace))))
	sum.Write([]byte(namespace))
	sum.Write([]byte(name))
	n := sum.Sum(nil)
	return key{
		lock:   int64(binary.BigEndian.Uint64(n)),
		marker: int64(binary.BigEndian.Uint64(n[8:])),
	}
}

// The channel on which releases are told, with the lock's number.
const channel = "lockutils"

// Each statement takes numbers of a key and returns one number. CASE fixes the order of its
// parts.
//
// No wake-up is lost: a waiter takes the marker and then tries the lock once more, and a
// release frees the lock and then tests the marker. The one that comes second sees the other.
// The marker is tested by trying to take it alone, for the moment of the statement.
// Notifications are sent by the commit, which need not wait for the disk.
//
// An acquisition returns a new number of the sequence, which is greater than 0, or one of these.
const (
	refused  = 0  // the lock is taken; the marker is held if the statement takes it
	unmarked = -1 // the lock is taken, and a release tests the marker just now
)

// A release returns one of these.
const (
	notHeld  = 0
	released = 1
	notified = 2 // released, and others have been told
)

// The names of the prepared statements.
type verbs struct {
	try    string // take the lock if it is free
	enter  string // the same, or else take the marker, and try once more
	retry  string // take the lock if it is free, and give back the marker that is held
	queue  string // take the lock in order of arrival
	unlock string // free the lock, and tell others if they wait
	free   string // free the lock
}

var (
	exclusive = verbs{"try", "enter", "retry", "queue", "unlock", "free"}
	sharing   = verbs{"try_shared", "enter_shared", "retry_shared", "queue_shared", "unlock_shared",
		"free_shared"}
)

func verbsFor(shared bool) verbs {
	if shared {
		return sharing
	}
	return exclusive
}

const (
	unmark = "unmark" // give back the marker
	rouse  = "rouse"  // tell others if they wait
	pid    = "pid"    // return the number of the server's process
	listen = "listen" // hear of releases
	deaf   = "deaf"   // hear of them no more
	cancel = "cancel" // end another session's wait for the lock
)

// statements has the text of the prepared statements, by name.
var statements = texts()

func texts() map[string]string {
	all := map[string]string{
		unmark: `select pg_catalog.pg_advisory_unlock_shared($1)::int::int8`,
		rouse:  `select ` + tell,
		pid:    `select pg_catalog.pg_backend_pid()::int8`,
		listen: `listen ` + channel,
		deaf:   `unlisten ` + channel,
		cancel: `select pg_catalog.count(pg_catalog.pg_cancel_backend(pid)) from pg_catalog.pg_locks
			where pid = $2::int8 and locktype = 'advisory' and not granted and objsubid = 1
				and classid::int8 << 32 | objid::int8 = $1`,
	}
	for mode, v := range map[string]verbs{"": exclusive, "_shared": sharing} {
		for name, text := range map[string]string{
			v.try: `select case when TRY then NEXT else 0 end`,
			v.enter: `select case when TRY then NEXT when MARK then
				case when TRY then case when UNMARK is not null then NEXT end else 0 end
				else -1 end`,
			v.retry: `select case when TRY then
				case when UNMARK is not null then NEXT end else 0 end`,
			v.queue:  `select case when WAIT is not null then NEXT end`,
			v.unlock: `select case when UNLOCK then TELL else 0 end`,
			v.free:   `select UNLOCK::int::int8`,
		} {
			all[name] = strings.NewReplacer(
				"TRY", "pg_catalog.pg_try_advisory_lock"+mode+"($1)",
				"WAIT", "pg_catalog.pg_advisory_lock"+mode+"($1)",
				"UNLOCK", "pg_catalog.pg_advisory_unlock"+mode+"($1)",
				"UNMARK", "pg_catalog.pg_advisory_unlock_shared($2)",
				"MARK", "pg_catalog.pg_try_advisory_lock_shared($2)",
				"NEXT", "pg_catalog.nextval('"+sequence+"')",
				"TELL", tell,
			).Replace(text)
		}
	}
	return all
}

const tell = `case when pg_catalog.pg_try_advisory_xact_lock($2) then 1
	when pg_catalog.set_config('synchronous_commit', 'off', true) is not null
		and pg_catalog.pg_notify('` + channel + `', $1::int8::text) is not null then 2 end::int8`
