module github.com/lockutils/lockutils/examples/cluster

go 1.26.0

require (
	github.com/jackc/pgx/v5 v5.12.0
	github.com/lockutils/lockutils v0.0.0
	github.com/lockutils/lockutils/drivers/etcdlock v0.0.0
	github.com/lockutils/lockutils/drivers/pglock v0.0.0
	github.com/lockutils/lockutils/drivers/redislock v0.0.0
	github.com/redis/rueidis v1.0.79
)

require (
	github.com/coreos/go-semver v0.3.1 // indirect
	github.com/coreos/go-systemd/v22 v22.7.0 // indirect
	github.com/gofrs/flock v0.13.1 // indirect
	github.com/golang/protobuf v1.5.4 // indirect
	github.com/grpc-ecosystem/grpc-gateway/v2 v2.29.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	go.etcd.io/etcd/api/v3 v3.7.3 // indirect
	go.etcd.io/etcd/client/pkg/v3 v3.7.3 // indirect
	go.etcd.io/etcd/client/v3 v3.7.3 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	go.uber.org/zap v1.27.1 // indirect
	golang.org/x/net v0.61.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	google.golang.org/genproto/googleapis/api v0.0.0-20260803160001-6ac0973c030d // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260803160001-6ac0973c030d // indirect
	google.golang.org/grpc v1.83.2 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)

replace (
	github.com/lockutils/lockutils => ../..
	github.com/lockutils/lockutils/drivers/etcdlock => ../../drivers/etcdlock
	github.com/lockutils/lockutils/drivers/pglock => ../../drivers/pglock
	github.com/lockutils/lockutils/drivers/redislock => ../../drivers/redislock
)
