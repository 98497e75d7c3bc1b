package queue

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/lockutils/lockutils/internal/queuetest"
)

func mustAcquire(t *testing.T, l *Lock, m Mode) Hold {
	t.Helper()
	h, ok := l.TryAcquire(m, Barging)
	if !ok {
		t.Fatalf("a free lock was not acquired in mode %d", m)
	}
	return h
}

func TestHoldersExcludeEachOther(t *testing.T) {
	const e, s = Exclusive, Shared
	for _, c := range []struct {
		permits int32
		held    []Mode
		asked   Mode
		want    bool
	}{
		{1, nil, e, true},
		{1, nil, s, true},
		{1, []Mode{e}, e, false},
		{1, []Mode{e}, s, false},
		{1, []Mode{s}, e, false},
		{1, []Mode{s}, s, true},
		{1, []Mode{s, s, s}, s, true},
		{1, []Mode{s, s, s}, e, false},
		{3, []Mode{e, e}, e, true},
		{3, []Mode{e, e, e}, e, false},
		{3, []Mode{e}, s, false},
		{3, []Mode{s}, e, false},
		{3, []Mode{s, s, s, s}, s, true},
	} {
		for _, o := range []Order{Barging, Fair} {
			l := &Lock{Permits: c.permits}
			for _, m := range c.held {
				mustAcquire(t, l, m)
			}
			if _, ok := l.TryAcquire(c.asked, o); ok != c.want {
				t.Errorf("%d permits, held %v: TryAcquire(%d, %d) = %t", c.permits, c.held, c.asked, o, ok)
			} else if ok {
				l.Release(c.asked)
			}
			for _, m := range c.held {
				if !l.Release(m) {
					t.Errorf("%d permits, held %v: could not be released", c.permits, c.held)
				}
			}
			l.checkIdle(t)
		}
	}
}

func TestEveryGenerationIsReleasedOnce(t *testing.T) {
	var l Lock
	var ended []Hold
	for range 100 {
		h := mustAcquire(t, &l, Exclusive)
		for _, old := range ended {
			if old == h || old.Held() || old.Release() {
				t.Fatalf("the hold %v passes for the holder's, %v", old, h)
			}
		}
		if !h.Held() || !h.Release() || h.Held() || h.Release() {
			t.Fatalf("the hold %v was not released exactly once", h)
		}
		ended = append(ended, h)
	}
}

func TestGenerationWrapsRoundWithinItsBits(t *testing.T) {
	var l Lock
	last := GenerationBits
	l.state.Store(uint64(last))
	h := mustAcquire(t, &l, Exclusive)
	if w := l.Load(); w != held {
		t.Errorf("the word after the last generation is %#x", w)
	}
	if !h.Release() {
		t.Error("the generation after the last one could not be released")
	}
	l.checkIdle(t)
}

// Take adds at once what next sets by parts.
func TestTakeAdmitsWhatIsFreeAndNothingElse(t *testing.T) {
	for flags := range oneGeneration {
		for _, g := range []Word{0, oneGeneration, GenerationBits - oneGeneration, GenerationBits} {
			for _, count := range []Word{0, oneHolder, lastHolder, countMask} {
				for _, o := range []Order{Barging, Fair} {
					w := flags | g | count
					admitted := flags&(busy|held|handoff) == 0 && count == 0 && (flags&waiting == 0 || o == Barging)
					var l Lock
					l.state.Store(uint64(w))
					taken, ok := l.Take(w, o)
					if ok != admitted {
						t.Errorf("in order %d the word %#x is taken: %t, want %t", o, w, ok, admitted)
					}
					want := w
					if admitted {
						want = w.next()
					}
					if now := l.Load(); now != want || ok && taken != want {
						t.Errorf("in order %d the word %#x becomes %#x, and %#x is returned", o, w, now, taken)
					}
				}
			}
		}
	}
}

func TestReleaseOfNothingIsRefusedAndDisturbsNobody(t *testing.T) {
	for _, permits := range []int32{1, 3} {
		l := &Lock{Permits: permits}
		for _, held := range []Mode{Exclusive, Shared} {
			other := 1 - held
			if l.Release(Exclusive) || l.Release(Shared) {
				t.Error("a free lock was released")
			}
			l.checkIdle(t)
			mustAcquire(t, l, held)
			if l.Release(other) {
				t.Errorf("a lock held in mode %d was released in mode %d", held, other)
			}
			if m, ok := l.Load().Holder(); !ok || m != held {
				t.Errorf("after that it is held: %t, in mode %d", ok, m)
			}
			l.Release(held)
			l.checkIdle(t)
		}
	}
}

// A release of what is not held makes the count of readers negative for a moment. A request in that
// moment must neither be admitted wrongly nor be forgotten.
func TestWrongReleasesAmongMany(t *testing.T) {
	var l Lock
	r := queuetest.Room{Permits: 1}
	var wrong, right sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		wrong.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if l.Release(Shared) {
					t.Error("a shared hold that does not exist was released")
					return
				}
				queuetest.Dawdle()
			}
		})
	}
	for range 4 {
		right.Go(func() {
			for range 2000 {
				_, _ = l.Acquire(background, Exclusive, Barging, Subject{})
				r.Write(queuetest.Dawdle)
				if !l.Release(Exclusive) {
					t.Error("a hold could not be released")
				}
			}
		})
	}
	right.Wait()
	close(done)
	wrong.Wait()
	if n := r.Overlaps.Load(); n != 0 {
		t.Errorf("%d overlaps", n)
	}
	l.checkIdle(t)
}

// A waiter that a reader kept out, which was counted without being admitted, is admitted when that
// reader leaves.
func TestReaderInVainLetsInWhomItHasKeptOut(t *testing.T) {
	for _, o := range []Order{Barging, Fair} {
		synctest.Test(t, func(t *testing.T) {
			var l Lock
			mustAcquire(t, &l, Exclusive)
			served := make(chan string, 1)
			queueUp(&l, served, "writer", Exclusive, o)
			found := l.add(oneHolder) - oneHolder
			l.Release(Exclusive)
			queuetest.ExpectServed(t, served)
			if l.LeaveAgain(found) {
				t.Error("a reader stays although it has gone")
			}
			queuetest.ExpectServed(t, served, "writer")
			l.Release(Exclusive)
			l.checkIdle(t)
		})
	}
}

// The moment itself: one has taken the count below zero and is about to mend it.
func TestRequestsThatMeetAWrongRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, m := range []Mode{Exclusive, Shared} {
			for _, waits := range []bool{false, true} {
				var l Lock
				wrong := l.add(minusHolder)
				if _, is := l.Load().Holder(); is {
					t.Error("a holder is shown whom there is not")
				}
				if l.Load().HeldAs(Shared) {
					t.Error("a second wrong release would pass for a right one")
				}
				if waits {
					served := make(chan string, 1)
					queueUp(&l, served, "waiter", m, Barging)
					queuetest.ExpectServed(t, served, "waiter")
					l.Release(m)
				} else if _, ok := l.TryAcquire(m, Barging); ok {
					t.Errorf("a request of mode %d was admitted that would not count", m)
				}
				if l.follow(wrong) {
					t.Error("the wrong release passed for a right one")
				}
				l.checkIdle(t)
			}
		}
	})
}

// A reader that has added itself to a count below zero has mended it, stays outside, and wakes the
// waiter if the lock is free now.
func TestReaderThatMayNotStayMendsAWrongRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, free := range []bool{true, false} {
			var l Lock
			mustAcquire(t, &l, Exclusive)
			served := make(chan string, 1)
			queueUp(&l, served, "writer", Exclusive, Barging)
			wrong := l.add(minusHolder)
			if free {
				l.Release(Exclusive)
			}
			if found, ok := l.Join(); ok || l.LeaveAgain(found) {
				t.Error("the reader was let in")
			}
			if free {
				queuetest.ExpectServed(t, served, "writer")
			}
			if l.follow(wrong) {
				t.Error("the wrong release passed for a right one")
			}
			l.Release(Exclusive)
			if !free {
				queuetest.ExpectServed(t, served, "writer")
				l.Release(Exclusive)
			}
			l.checkIdle(t)
		}
	})
}

// Readers that may not stay are counted for a moment. That neither makes a wrong release of a lock that
// is held exclusively a right one, nor takes the hold of a reader that comes meanwhile.
func TestReadersThatMayNotStayAreNoHolders(t *testing.T) {
	var l Lock
	mustAcquire(t, &l, Exclusive)
	found := l.add(oneHolder) - oneHolder
	if l.Release(Shared) {
		t.Error("a reader that may not stay was released as a holder")
	}
	l.LeaveAgain(found)
	l.Release(Exclusive)
	l.checkIdle(t)

	wrong := l.add(minusHolder)
	found, ok := l.Join()
	if ok {
		t.Error("a reader was let in that does not count")
	}
	mustAcquire(t, &l, Shared)
	l.LeaveAgain(found)
	l.follow(wrong)
	if !l.Release(Shared) {
		t.Error("a reader that had mended the count took the hold of another one")
	}
	l.checkIdle(t)
}

// A wrong release may end the hold of one who comes before the count is mended. That one's own
// release is the wrong one then, and the lock is free after it, in whatever order they look.
func TestWrongReleaseBesideAHoldLeavesTheLockFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, downgrades := range []bool{true, false} {
			for _, mendsFirst := range []bool{true, false} {
				var l Lock
				mustAcquire(t, &l, Exclusive)
				served := make(chan string, 1)
				if !downgrades {
					queueUp(&l, served, "reader", Shared, Barging)
				}
				wrong := l.add(minusHolder)
				if downgrades {
					l.Downgrade()
				} else {
					l.Mu.Lock() // as Release does, but that the count is not mended before it is published
					l.ReleaseLocked(l.LockState(), Exclusive)
					l.Mu.Unlock()
				}
				if mendsFirst {
					l.follow(wrong)
				}
				l.Release(Shared)
				if !mendsFirst {
					l.follow(wrong)
				}
				l.checkIdle(t)
			}
		}
	})
}

// Two may release a hold at once, one of them by mistake: one by addition, and one in a section
// that has seen the hold.
func TestHoldReleasedTwiceAtOnceLeavesTheLockFree(t *testing.T) {
	var l Lock
	mustAcquire(t, &l, Shared)
	l.Mu.Lock()
	w := l.LockState()
	if !l.Release(Shared) {
		t.Error("a reader could not leave while busy is set")
	}
	l.ReleaseLocked(w, Shared)
	l.Mu.Unlock()
	l.checkIdle(t)
}

// A waiter that was granted the lock when its context ended gives it back, but not if a wrong release
// has ended its hold: then it would give back another one's.
func TestWaiterRobbedOfItsGrantGivesNothingBack(t *testing.T) {
	for _, m := range []Mode{Exclusive, Shared} {
		synctest.Test(t, func(t *testing.T) {
			var l Lock
			mustAcquire(t, &l, Exclusive)
			ctx, cancel := context.WithCancel(t.Context())
			served := make(chan string, 1)
			queueUpContext(ctx, &l, served, "waiter", m, Fair)
			l.Mu.Lock() // the waiter cannot look before this test has come to the end
			cancel()
			l.ReleaseLocked(l.LockState(), Exclusive)
			if !l.Release(m) {
				t.Error("the waiter was not granted the lock")
			}
			other := mustAcquire(t, &l, Exclusive)
			l.Mu.Unlock()
			queuetest.ExpectServed(t, served, "waiter")
			if !other.Release() {
				t.Error("the waiter gave back the hold of another one")
			}
			l.checkIdle(t)
		})
	}
}

func TestHolderAndWaitingTellTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lock
		expect := func(when string, m Mode, is bool, writers, readers int) {
			t.Helper()
			synctest.Wait()
			if gotMode, got := l.Load().Holder(); got != is || gotMode != m {
				t.Errorf("%s: Holder() = %d, %t", when, gotMode, got)
			}
			if w, r := l.waiting(Exclusive), l.waiting(Shared); w != writers || r != readers {
				t.Errorf("%s: %d writers and %d readers wait", when, w, r)
			}
		}
		request := func(m Mode) { go func() { _, _ = l.Acquire(background, m, Fair, Subject{}) }() }
		expect("at first", Exclusive, false, 0, 0)
		request(Exclusive)
		expect("writer", Exclusive, true, 0, 0)
		request(Shared)
		expect("writer, then reader", Exclusive, true, 0, 1)
		request(Exclusive)
		expect("writer, then reader and writer", Exclusive, true, 1, 1)
		l.Release(Exclusive)
		expect("reader, then writer", Shared, true, 1, 0)
		l.Release(Shared)
		expect("writer again", Exclusive, true, 0, 0)
		l.Release(Exclusive)
		expect("at last", Exclusive, false, 0, 0)
		l.checkIdle(t)
	})
}

func TestDowngradeLetsInTheReadersInFrontOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lock
		if l.Downgrade() {
			t.Error("a free lock was downgraded")
		}
		mustAcquire(t, &l, Exclusive)
		served := make(chan string, 4)
		queueUp(&l, served, "reader 1", Shared, Fair)
		queueUp(&l, served, "reader 2", Shared, Barging)
		queueUp(&l, served, "writer", Exclusive, Barging)
		queueUp(&l, served, "reader 3", Shared, Fair)
		if !l.Downgrade() {
			t.Error("an exclusive hold was not downgraded")
		}
		queuetest.ExpectServed(t, served, "reader 1", "reader 2")
		if l.Downgrade() {
			t.Error("a shared hold was downgraded")
		}
		for range 3 {
			l.Release(Shared)
		}
		queuetest.ExpectServed(t, served, "writer")
		l.Release(Exclusive)
		queuetest.ExpectServed(t, served, "reader 3")
		l.Release(Shared)
		l.checkIdle(t)
	})
}

func TestJoiningPassesThoseWhoWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lock
		mustAcquire(t, &l, Shared)
		served := make(chan string, 1)
		queueUp(&l, served, "writer", Exclusive, Fair)
		if _, ok := l.TryAcquire(Shared, Fair); ok {
			t.Error("a reader passed a writer who waits")
		}
		if _, err := l.Acquire(background, Shared, Reentrant, Subject{}); err != nil {
			t.Error(err)
		}
		l.Release(Shared)
		queuetest.ExpectServed(t, served)
		l.Release(Shared)
		queuetest.ExpectServed(t, served, "writer")
		if _, ok := l.TryAcquire(Shared, Reentrant); ok {
			t.Error("a reader joined a writer")
		}
		l.Release(Exclusive)
		l.checkIdle(t)
	})
}

// fill has as many readers hold the lock as there can be.
func fill(t *testing.T, l *Lock) {
	t.Helper()
	l.add(lastHolder) // all but one, which would take minutes one by one
	mustAcquire(t, l, Shared)
}

// drain has the readers leave that fill has let in.
func drain(t *testing.T, l *Lock) {
	t.Helper()
	if !l.Release(Shared) {
		t.Fatal("a reader could not leave")
	}
	l.add(^lastHolder + 1)
}

func TestOneReaderTooManyWaitsForOneToLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lock
		fill(t, &l)
		if _, ok := l.TryAcquire(Shared, Barging); ok {
			t.Fatal("one reader too many was let in")
		}
		served := make(chan string, 2)
		queueUp(&l, served, "first", Shared, Barging)
		queueUp(&l, served, "second", Shared, Barging)
		queuetest.ExpectServed(t, served)
		l.Release(Shared)
		queuetest.ExpectServed(t, served, "first")
		l.Release(Shared)
		queuetest.ExpectServed(t, served, "second")
		drain(t, &l)
		l.checkIdle(t)
	})
}

// TestReaderThatQueuesWhileAnotherLeavesIsServed lets one of too many readers leave between the
// look at the word and the end of the decision to wait.
func TestReaderThatQueuesWhileAnotherLeavesIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lock
		fill(t, &l)
		l.Mu.Lock()
		w := l.LockState()
		l.Release(Shared)
		if _, err := l.AcquireLocked(t.Context(), w, Shared, Barging, Subject{}); err != nil {
			t.Error(err)
		}
		drain(t, &l)
		l.checkIdle(t)
	})
}

// Readers beside the holders of some permits are counted for a moment without being admitted. They
// must not keep out a request that finds a permit free in that moment.
func TestPermitsAreNotLostToReadersInVain(t *testing.T) {
	l := &Lock{Permits: 2}
	if _, ok := l.AcquireFast(Shared, Barging); ok {
		t.Fatal("a reader added itself without busy set")
	}
	mustAcquire(t, l, Exclusive)
	done := make(chan struct{})
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					l.TryAcquire(Shared, Barging)
				}
			}
		})
	}
	for range 20000 {
		if _, ok := l.TryAcquire(Exclusive, Barging); !ok {
			t.Error("the second permit was not acquired")
			break
		}
		l.Release(Exclusive)
	}
	close(done)
	group.Wait()
	l.Release(Exclusive)
	l.checkIdle(t)
}

// queueUp makes a request that is known to wait and reports to served when it has become a holder.
func queueUp(l *Lock, served chan<- string, name string, m Mode, o Order) {
	queueUpContext(background, l, served, name, m, o)
}

func queueUpContext(ctx context.Context, l *Lock, served chan<- string, name string, m Mode, o Order) {
	go func() {
		if _, err := l.Acquire(ctx, m, o, Subject{}); err == nil {
			served <- name
		} else {
			served <- name + ": " + err.Error()
		}
	}()
	synctest.Wait()
}
