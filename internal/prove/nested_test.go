package prove

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
)

// Goroutines hold several locks with Do inside Do while the search for deadlocks is as busy as
// can be. In one order of the locks it must report nothing. In random order it must end every
// deadlock.

var nestedFlag = flag.Int("prove.nested", 0, "least number of operations of each trial of nested locks")

var nested = trials("goroutines, nested locks",
	trial{"Do in one order", 2, func(t *testing.T, st *stats) { nestUntilEnd(t, st, true) }},
	trial{"Do in random order", 1, func(t *testing.T, st *stats) { nestUntilEnd(t, st, false) }},
)

func TestDeadlocksAreEndedAndNothingElseIs(t *testing.T) { nested.run(t) }

const (
	nestedGoroutines = 64
	nestedLocks      = 12
	nestedDeepest    = 4
	nestedOperations = 5 // of each goroutine in each round
	// nestedCheck is far below the length of the waits, so that all of them are examined.
	nestedCheck  = time.Millisecond
	defaultCheck = 50 * time.Millisecond
)

// nestedKinds are the kinds of the locks, by number of the lock.
func nestedKinds(dir string) [nestedLocks][]lockutils.Option {
	permits := []lockutils.Option{lockutils.WithSemaphores(lockutils.NewSemaphores(3))}
	file := []lockutils.Option{lockutils.External(), lockutils.WithLockPath(dir),
		lockutils.WithDelay(time.Millisecond)}
	scope := []lockutils.Option{lockutils.WithPrefix("p")}
	return [...][]lockutils.Option{nil, permits, file, nil, scope, permits, nil, file, scope, permits, nil, file}
}

func nestUntilEnd(t *testing.T, st *stats, inOrder bool) {
	lockutils.SetDeadlockCheck(nestedCheck)
	defer lockutils.SetDeadlockCheck(defaultCheck)
	kinds := nestedKinds(t.TempDir())
	var done, ended atomic.Int64
	for n := 0; (st.timeLeft() || int(done.Load()) < *nestedFlag) && !t.Failed(); n++ {
		var begun sync.WaitGroup
		finished := make(chan struct{})
		for i := range nestedGoroutines {
			begun.Go(func() {
				random := rand.New(rand.NewPCG(st.seed, uint64(n)<<8|uint64(i)))
				for range nestedOperations {
					locks := random.Perm(nestedLocks)[:1+random.IntN(nestedDeepest)]
					if inOrder {
						slices.Sort(locks)
					}
					err := nest(context.Background(), random, kinds, locks)
					switch {
					case err != nil && (inOrder || !errors.Is(err, lockutils.ErrDeadlock)):
						st.found(t, violations, 1, "%v", err)
					case err != nil:
						ended.Add(1)
					}
					done.Add(1)
				}
			})
		}
		go func() {
			begun.Wait()
			close(finished)
		}()
		if _, ok := await(finished, waitLimit); !ok {
			st.found(t, hangs, 1, "after %v some goroutines still wait:\n%s", waitLimit, stacks())
			return
		}
		st.count(operations, nestedGoroutines*nestedOperations)
	}
	st.count(deadlocks, int(ended.Load()))
}

// nest acquires the locks one inside the other.
func nest(
	ctx context.Context, random *rand.Rand, kinds [nestedLocks][]lockutils.Option, locks []int,
) error {
	if len(locks) == 0 {
		if random.IntN(4) == 0 {
			time.Sleep(time.Duration(random.IntN(1000)) * time.Microsecond)
		}
		return nil
	}
	i, opts := locks[0], slices.Clone(kinds[locks[0]])
	if random.IntN(3) == 0 {
		opts = append(opts, lockutils.Shared())
	}
	return lockutils.Do(ctx, fmt.Sprint("nested-", i), func(ctx context.Context) error {
		return nest(ctx, random, kinds, locks[1:])
	}, opts...)
}
