module github.com/lockutils/lockutils/bench

go 1.26.0

require (
	github.com/alexflint/go-filemutex v1.3.0
	github.com/containerd/containerd v1.7.35
	github.com/gofrs/flock v0.13.1
	github.com/juju/mutex/v2 v2.0.0-20220203023141-11eeddb42c6c
	github.com/lockutils/lockutils v0.0.0
	github.com/moby/locker v1.0.1
	github.com/puzpuzpuz/xsync/v4 v4.5.0
	github.com/rogpeppe/go-internal v1.16.0
	golang.org/x/image v0.30.0
	golang.org/x/sync v0.24.0
	golang.org/x/sys v0.49.0
	gonum.org/v1/plot v0.17.0
	k8s.io/utils v0.0.0-20260707023825-cf1189d6abe3
)

require (
	codeberg.org/go-fonts/liberation v0.5.0 // indirect
	codeberg.org/go-latex/latex v0.2.0 // indirect
	github.com/ajstarks/svgo v0.0.0-20211024235047-1546f124cd8b // indirect
	github.com/juju/errors v0.0.0-20220203013757-bd733f3c86b9 // indirect
	golang.org/x/text v0.37.0 // indirect
)

replace github.com/lockutils/lockutils => ../
