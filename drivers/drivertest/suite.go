// Package drivertest checks implementations of package driver, and has one in memory for tests.
//
// TestService is the suite that every driver has to pass, and TestFlaws shows that it would catch
// what drivers get wrong. Memory is a lock server in memory, with controls for what can go wrong;
// Proxy does the same to the connections of a real one.
package drivertest

import (
	"cmp"
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lockutils/lockutils/driver"
)

var (
	seedFlag   = flag.Uint64("drivertest.seed", 0, "repeat the run of TestService with this seed")
	roundsFlag = flag.Int("drivertest.rounds", 1, "multiply the rounds of TestService's random tests")
	timeFlag   = flag.Duration("drivertest.time", 0, "repeat the checks of histories and ledgers for that long")
)

// A Process is a Service as one process has it, with what the suite may do to it. It is a
// driver.Service itself.
type Process struct {
	driver.Service

	// Link is the way to the server. Nil means that the suite cannot disturb it: it then skips what
	// needs that.
	Link Link

	// TTL is how long a hold lasts that is not renewed. Zero means that holds have no deadline. The
	// server of a Service that survives a pause keeps a hold for as long as it has the connection.
	TTL time.Duration

	// Requests returns how many requests the server knows for the lock of that name, held and
	// waiting ones together. Nil means that it cannot tell; the suite then pauses instead, where it
	// needs a request to have arrived.
	Requests func(name string) int
}

// TestService checks that the Services that open returns keep the promises of package driver.
// Each call of open returns one more, with connections of its own, for the same namespace of the
// same server, as another process would have it. The tests run in parallel. It may be a Process;
// any other driver.Service is checked as far as that goes. If it has a method Close() error the
// suite calls it, also in the middle of things.
//
// The names of locks are different for each run, but for the empty one: no two runs may use one
// namespace together.
//
// A failure says which promise is broken, and with which seed it was seen. These flags repeat and
// extend a run:
//
//	go test -run TestMyService -drivertest.seed=12345 -drivertest.rounds=100
//	go test -run 'TestMyService/(History|Ledger)' -drivertest.time=10m -v
func TestService(t *testing.T, open func(t *testing.T) driver.Service) {
	seed := cmp.Or(*seedFlag, rand.Uint64())
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, seed, open, 30*time.Second)
			if missing := s.missing(c); missing != "" {
				t.Logf("not checked: the service has no %s", missing)
				return
			}
			if err := c.run(s); err != nil {
				t.Errorf("%s: %v\nrepeat it with -run '^%s$' -drivertest.seed=%d",
					c.promise, err, t.Name(), seed)
			}
		})
	}
}

// A check is one test of the suite.
type check struct {
	name    string
	promise string // a sentence, for the message
	needs   driver.Capability
	link    bool // needs a Link
	ttl     bool // needs a TTL
	run     func(*stage) error
}

var checks = []check{
	{name: "Exclusive", promise: "one exclusive holder at a time", run: exclusive},
	{name: "OneService", promise: "two requests of one Service exclude each other", run: oneService},
	{name: "NoWait", promise: "a request that must not wait is refused while the lock is taken", run: noWait},
	{name: "ContextEnds", promise: "a wait ends with ctx, and leaves nothing", run: contextEnds},
	{name: "Handover", promise: "a release wakes a waiter", run: handover},
	{name: "Names", promise: "different names are different locks, whatever their bytes", run: names},
	{name: "Shared", promise: "shared holders are together, and exclude exclusive ones",
		needs: driver.Shared, run: sharedHolds},
	{name: "Order", promise: "requests are served in order of arrival", needs: driver.Fair, run: order},
	{name: "Tokens", promise: "each later exclusive hold has a larger token", needs: driver.Fenced, run: tokens},
	{name: "Release", promise: "a release ends its own hold only", run: release},
	{name: "Unsupported", promise: "what a service cannot do is an error, never a weaker lock",
		run: unsupported},
	{name: "Cancel", promise: "a cancelled request leaves nothing, at whichever instant it ends", run: cancel},
	{name: "CancelAcross", promise: "a cancelled request leaves nothing, however bad the way to the server",
		link: true, run: cancelAcross},
	{name: "Close", promise: "Close releases all holds and ends all waits", run: closing},
	{name: "History", promise: "there is an order of all grants and releases that a lock allows",
		run: histories},
	{name: "Lost", promise: "a holder learns of its loss before the next one is granted the lock",
		link: true, ttl: true, run: lost},
	{name: "Deadline", promise: "the deadline follows the rule of the lease", link: true, ttl: true,
		run: deadline},
	{name: "LostReply", promise: "a request whose answer got lost is one request", link: true, run: lostReply},
	{name: "Wait", promise: "a wait outlasts a disturbance of the way to the server", link: true, ttl: true,
		run: waits},
	{name: "Ledger", promise: "holders that are cut off do no harm: they know, or the fence refuses them",
		link: true, ttl: true, run: ledgers},
}
