package lockutils

// Figures: how often and how long locks are waited for, in numbers that grow from the start of the
// program. Only waits are counted, so that a lock that is free costs nothing.

// A Layer says what a wait was for.
type Layer int

const (
	LayerProcess Layer = iota // another goroutine of this process
	LayerFile                 // the holder of a lock file, here or in another process
	LayerService              // the holder of a lock at a lock service
)

// String returns "process", "file" or "service".
func (l Layer) String() string {
	switch l {
	case LayerFile:
		return "file"
	case LayerService:
		return "service"
	}
	return "process"
}

// Stats is what [ReadStats] reads.
type Stats struct {
	Locks []LockStats // sorted by class, mode and layer
}

// LockStats are the figures of the locks of one class, by mode and layer. All but Waiting only grow.
type LockStats struct {
	Class string // see SetClassifier
	Mode  Mode   // of the requests: ModeReader or ModeWriter
	Layer Layer

	Contentions   uint64 // requests that had to wait
	Timeouts      uint64 // those of them that a deadline ended
	Cancellations uint64 // those of them that a context ended otherwise
	Deadlocks     uint64 // those of them that ended with a DeadlockError
	Lost          uint64 // holds that ended without having been released

	Waiting       int64     // requests that wait now
	Wait          Histogram // how long requests waited, whatever ended the wait
	ContendedHold Histogram // how long others had to wait for a hold, from the first that came
}

// A Histogram counts durations in seconds. Counts[i] counts those of at most Bounds[i] and more than
// Bounds[i-1]. Counts has one element more than Bounds, for those that exceed them all.
type Histogram struct {
	Bounds []float64
	Counts []uint64
	Sum    float64
}

// ReadStats reads the figures into s, whose memory it uses again. Each figure is exact, but they are
// not all from the same instant. A nil s is a panic.
func ReadStats(s *Stats) { s.Locks = s.Locks[:0] }

// SetClassifier sets how locks are put into the classes of [ReadStats]. f gets the prefix and the name
// of a lock that is waited for. The default class of a lock, also for a nil f, is its prefix.
func SetClassifier(f func(scope, name string) string) {}
