package filelock

import "errors"

// What this system does to files.
const (
	supportsModes    = false
	removesOpenFiles = false
)

func makePipe(string) error { return errors.ErrUnsupported }
