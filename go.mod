module github.com/lockutils/lockutils

go 1.26.0

// What the library imports. These are the oldest versions that work, and the ones that its tests run
// with: Go selects what go.mod says unless another module asks for more. bench/ tests newer ones.
require (
	github.com/gofrs/flock v0.13.1
	golang.org/x/sync v0.22.0
	golang.org/x/sys v0.47.0
)

// What the tests import, and drivers/drivertest, the suite for drivers.
require (
	github.com/anishathalye/porcupine v1.3.1
	go.uber.org/goleak v1.3.0
)
