package filelock

import "errors"

// This system's ways with files.
const (
	supportsModes    = false
	removesOpenFiles = false
)

func makePipe(string) error { return errors.ErrUnsupported }
