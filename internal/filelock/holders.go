package filelock

// Holder is a process that holds a lock.
type Holder struct {
	PID     int    // 0 if the system does not tell it
	Command string // the command line, or "" if the system does not tell it
	Mode    Mode
}
