package command

// stopJob does nothing: Windows has no job control.
func stopJob() {}
