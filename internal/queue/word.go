package queue

// A word is the whole state of an uncontended lock.
//
//	bits   name     meaning
//	0      busy     one goroutine is deciding: it alone changes the other flags and the fields that they guard
//	1      held     there is an exclusive holder, or there are several where the lock has several permits
//	2      waiting  the queue is not empty
//	3      woken    the first waiter is awake and about to compete: a release need not wake anybody
//	4      strict   nobody may overtake: a release hands the lock to the first waiter
//	5      crowded  other names of the slot have locks of their own (see slot)
//	6-21   readers  how many shared holders there are, and how many are just finding out that they may not enter
//	22-29  tag      eight bits of the hash of the slot's name
//	30-63  gen      generation: grows with every exclusive hold, so that no two look alike
//
// Only the readers change while another goroutine has set busy, by atomic addition.
type word uint64

const (
	busy word = 1 << iota
	held
	waiting
	woken
	strict
	crowded
	oneReader

	readersMask = 1<<22 - oneReader

	// maxReaders is how many readers may enter; the upper half of the count is for those that find out that they may not.
	maxReaders = readersMask / 2

	tagShift      = 22
	oneGeneration = word(1) << 30
	tagMask       = oneGeneration - 1<<tagShift
	genMask       = ^(oneGeneration - 1)
)

// occupied reports whether anybody holds the lock.
func (w word) occupied() bool { return w&(held|readersMask) != 0 }

// inUse reports whether anybody holds or wants the lock.
func (w word) inUse() bool { return w&(held|readersMask|waiting) != 0 }

// heldAs reports whether there is a holder of that mode.
func (w word) heldAs(m Mode) bool {
	if m == Shared {
		return w&readersMask != 0
	}
	return w&held != 0
}

// unserved reports whether the lock is free, somebody waits for it and nobody is on the way to let them in.
func (w word) unserved() bool {
	return w&(busy|held|readersMask|waiting) == waiting && w&(woken|strict) != woken
}

// generation identifies the exclusive hold, if there is one.
func (w word) generation() Generation { return Generation(w & genMask) }
