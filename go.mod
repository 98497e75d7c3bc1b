module github.com/lockutils/lockutils

go 1.26.0

require (
	golang.org/x/sync v0.24.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/gofrs/flock v0.13.1
	go.uber.org/goleak v1.3.0
)
