package queue

// A Word is the whole state of a lock that nobody waits for.
//
//	bits   name        meaning
//	0      busy        one goroutine decides: it alone changes the other flags and what they guard
//	1      held        there is an exclusive holder, or there are several where the lock has several permits
//	2      waiting     the queue is not empty
//	3      woken       the first waiter is awake and about to try again: a release need not wake it
//	4      handoff     no request may barge: a release hands the lock to the first waiter
//	5      Overflowed  for what the lock is part of, see base.go: the lock keeps it
//	6      Fresh       the same, but it goes with the exclusive holder
//	7      sharing     one of the shared holders has the generation for its identity
//	8-37   generation  grows with every hold that has one, so that no two of a billion are equal
//	38-63  count       sharing holders, and requests that are about to find that they may not share
//
// The sharing holders are the shared ones or, where the lock has several permits, its exclusive
// ones.
//
// Shared holders come and go by atomic addition, even while another goroutine has set busy. Their
// count has the upper end of the word, where it disturbs nothing else if it passes its limits.
// Its two topmost bits are margins: 01 means that the lock is full, and further requests are
// about to leave; 11 means that the count is below zero, because a caller has released what it
// did not hold, and is about to notice.
type Word uint64

const (
	busy Word = 1 << iota
	held
	waiting
	woken
	handoff
	Overflowed
	Fresh
	sharing

	generationShift = 8
	countShift      = 38
	oneGeneration   = Word(1) << generationShift
	GenerationBits  = oneHolder - oneGeneration
	oneHolder       = Word(1) << countShift
	minusHolder     = ^oneHolder + 1
	countMask       = ^(oneHolder - 1)
	margins         = Word(3) << 62
	negative        = Word(1) << 63
	lastHolder      = countMask &^ margins // the greatest count that leaves room for one more
	MaxPermits      = int64(1) << (62 - countShift)

	// barred keeps shared requests out. They never barge: readers that did could keep a waiting
	// writer out for ever.
	barred = busy | held | waiting | margins
)

// InUse reports whether the lock is held or waited for.
func (w Word) InUse() bool { return w&(held|countMask|waiting) != 0 }

// HeldAs reports whether there is a holder of that mode.
func (w Word) HeldAs(m Mode) bool {
	if m == Shared {
		return w&countMask != 0 && w&(held|negative) == 0
	}
	return w&held != 0
}

// Holder reports whether the lock is held, and how.
func (w Word) Holder() (m Mode, held bool) {
	if w.HeldAs(Shared) {
		return Shared, true
	}
	return Exclusive, w.HeldAs(Exclusive)
}

// count returns how many holders share the lock.
func (w Word) count() int64 { return int64(w >> countShift) }

// next returns the word with an exclusive holder, of the next generation.
func (w Word) next() Word {
	return w&^GenerationBits | (w+oneGeneration)&GenerationBits | held
}

// released returns the word without its only exclusive holder.
func (w Word) released() Word { return w &^ (held | Fresh) }

// generation identifies the last hold that has one.
func (w Word) generation() Word { return w & GenerationBits }
