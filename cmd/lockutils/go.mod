module github.com/lockutils/lockutils/cmd/lockutils

go 1.26.0

replace (
	github.com/lockutils/lockutils => ../..
	github.com/lockutils/lockutils/drivers/etcdlock => ../../drivers/etcdlock
	github.com/lockutils/lockutils/drivers/pglock => ../../drivers/pglock
	github.com/lockutils/lockutils/drivers/redislock => ../../drivers/redislock
)

require (
	github.com/gdamore/tcell/v2 v2.8.1
	github.com/jackc/pgx/v5 v5.12.0
	github.com/lockutils/lockutils v0.0.0
	github.com/lockutils/lockutils/drivers/etcdlock v0.0.0
	github.com/lockutils/lockutils/drivers/pglock v0.0.0
	github.com/lockutils/lockutils/drivers/redislock v0.0.0
	github.com/mattn/go-runewidth v0.0.16
	github.com/redis/rueidis v1.0.79
	github.com/rivo/tview v0.42.0
	github.com/spf13/cobra v1.10.2
	github.com/spf13/pflag v1.0.9
	go.etcd.io/etcd/client/v3 v3.7.3
	go.uber.org/zap v1.27.1
	golang.org/x/sys v0.50.0
	golang.org/x/term v0.48.0
)

require (
	github.com/coreos/go-semver v0.3.1 // indirect
	github.com/coreos/go-systemd/v22 v22.7.0 // indirect
	github.com/cpuguy83/go-md2man/v2 v2.0.6 // indirect
	github.com/gdamore/encoding v1.0.1 // indirect
	github.com/gofrs/flock v0.13.1 // indirect
	github.com/golang/protobuf v1.5.4 // indirect
	github.com/grpc-ecosystem/grpc-gateway/v2 v2.29.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/lucasb-eyer/go-colorful v1.2.0 // indirect
	github.com/rivo/uniseg v0.4.7 // indirect
	github.com/russross/blackfriday/v2 v2.1.0 // indirect
	go.etcd.io/etcd/api/v3 v3.7.3 // indirect
	go.etcd.io/etcd/client/pkg/v3 v3.7.3 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/net v0.61.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	google.golang.org/genproto/googleapis/api v0.0.0-20260803160001-6ac0973c030d // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260803160001-6ac0973c030d // indirect
	google.golang.org/grpc v1.83.2 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)
