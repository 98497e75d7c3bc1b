package lockutils_test

// specialFiles are what can be in a lock file's place on this system, besides the usual.
var specialFiles map[string]func(path string) error
