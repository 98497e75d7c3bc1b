package queue

import (
	"sync/atomic"

	"golang.org/x/sys/cpu"
)

// A stand is where a reader of a biased lock leaves its mark, instead of counting itself in the lock's word. Readers of one
// lock stand in different places, and so write to different cache lines: they do not slow each other down.
//
// A lock becomes biased when readers are seen to meet in it while nobody waits, and stays so until anybody freezes the
// word. That counts the marks that there are, and takes them away: a reader that leaves and finds its mark gone knows
// that it has been counted. The marks of a lock are all alike, so it does not matter whose mark it is that a reader finds.
//
// Whoever never releases a hold never leaves its stand either, which keeps the lock in memory.
//
// No reader is missed: it leaves its mark first and looks then whether the word is still biased, while whoever ends the bias
// clears the bit first and looks for marks then. The idea is that of BRAVO (Dice and Kogan, Biased Locking for
// Reader-Writer Locks, USENIX ATC 2019).
type stand struct {
	lock atomic.Pointer[Lock] // that a reader is in; nil if nobody stands here
	_    cpu.CacheLinePad
}

// stands are few enough to look through, as a writer has to that ends a bias. Readers that find theirs taken count
// themselves in the word.
var (
	stands    [64]stand
	lastStand atomic.Uint32
)

// nextStand returns the stands in turn.
func nextStand() *stand {
	return &stands[lastStand.Add(1)%uint32(len(stands))]
}

// enter leaves the mark of a reader of l, if there is room and the word is biased and tagged so still.
func (s *stand) enter(l *Lock, tag word) bool {
	if !s.lock.CompareAndSwap(nil, l) {
		return false
	}
	if l.load()&(biased|tagMask) == biased|tag {
		return true
	}
	s.leave(l)
	return false
}

// leave takes a reader of l away from here, or from the word if it has been counted there.
func (s *stand) leave(l *Lock) bool {
	return s.lock.CompareAndSwap(l, nil) || l.releaseShared()
}

// countStanding adds to the word, from which biased has been cleared, the readers that stand somewhere. It returns what
// has become of w.
func (l *Lock) countStanding(w word) word {
	for i := range stands {
		if stands[i].lock.Load() != l {
			continue
		}
		l.add(oneReader) // first, since the reader may be gone as soon as its mark is
		if stands[i].lock.CompareAndSwap(l, nil) {
			w += oneReader
		} else {
			l.add(minusReader)
		}
	}
	return w
}

// favourReaders makes the lock biased if there are readers, but not too many, and nobody waits.
func (l *Lock) favourReaders() {
	l.mu.Lock()
	w := l.lockState()
	if w&(held|waiting|margins|manyStand) == 0 && w&readersMask != 0 {
		w |= biased
	}
	l.unlockState(w)
	l.mu.Unlock()
}
