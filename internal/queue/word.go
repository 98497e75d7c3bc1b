package queue

// A word is the whole state of an uncontended lock.
//
//	bits   name     meaning
//	0      busy     one goroutine is deciding: it alone changes the other flags and the fields that they guard
//	1      held     there is an exclusive holder, or there are several where the lock has several permits
//	2      waiting  the queue is not empty
//	3      woken    the first waiter is awake and about to try again: a release need not wake anybody
//	4      handoff  nobody may barge: a release hands the lock to the first waiter
//	5      overflowed other names of the slot have locks of their own (see slot)
//	6      biased   readers may come in without counting themselves here (see stand)
//	7      fresh    the holder has taken the slot by its tag, and may still be reading or writing the name (see slot)
//	8-14   tag      seven bits of the hash of the slot's name
//	15-45  gen      generation: grows with every exclusive hold, so that no two of two billion look alike
//	46-63  readers  how many shared holders there are, and how many are just finding out that they may not enter
//
// Only the readers change while another goroutine has set busy, by atomic addition. They have the upper end of the
// word, where a count that passes its limits disturbs nothing else. Its two topmost bits are its margins: with 01 there
// are all the readers that may enter, and some that will find that they may not; with 11 the count is below zero,
// because somebody has released what he did not hold and is about to notice.
type word uint64

const (
	busy word = 1 << iota
	held
	waiting
	woken
	handoff
	overflowed
	biased
	fresh

	tagShift      = 8
	genShift      = 15
	readersShift  = 46
	oneGeneration = word(1) << genShift
	oneReader     = word(1) << readersShift
	minusReader   = ^oneReader + 1
	minusBiased   = ^biased + 1
	tagMask       = oneGeneration - 1<<tagShift
	genMask       = oneReader - oneGeneration
	readersMask   = ^(oneReader - 1)

	margins    = word(3) << 62
	negative   = word(1) << 63
	maxReaders = readersMask &^ margins // as many as may be there when another one enters
	manyStand  = word(1) << 61          // set if there are so many that one more who counts itself ends a bias

	// barred is what keeps readers out. They never barge, as readers that did could keep a waiting writer out for ever.
	barred = busy | held | waiting | margins
)

// occupied reports whether anybody holds the lock.
func (w word) occupied() bool { return w&(held|readersMask) != 0 }

// inUse reports whether anybody holds or wants the lock, as far as the word can tell: with the bit biased set, somebody may.
func (w word) inUse() bool { return w&(held|readersMask|waiting|biased) != 0 }

// heldAs reports whether there is a holder of that mode.
func (w word) heldAs(m Mode) bool {
	if m == Shared {
		return w&readersMask != 0
	}
	return w&held != 0
}

// needsGrant reports whether the lock is free, somebody waits for it and nobody is on the way to let them in.
func (w word) needsGrant() bool {
	return w&(busy|held|readersMask|waiting|woken) == waiting
}

// hasRoom reports whether somebody waits who may be a reader that had to wait because there were too many.
func (w word) hasRoom() bool {
	return w&(busy|held|waiting|margins) == waiting
}

// taken is the word with an exclusive holder, of the next generation.
func (w word) taken() word {
	return w&^genMask | (w+oneGeneration)&genMask | held
}

// released is the word without its exclusive holder.
func (w word) released() word { return w &^ (held | fresh) }

// generation identifies the exclusive hold, if there is one.
func (w word) generation() Generation { return Generation(w & genMask) }
