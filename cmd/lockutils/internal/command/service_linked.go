//go:build !lockutils_split

package command

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/redis/rueidis"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/lockutils/lockutils/drivers/etcdlock"
	"github.com/lockutils/lockutils/drivers/pglock"
	"github.com/lockutils/lockutils/drivers/redislock"
)

// dialScheme connects to a lock service by the client library of its kind.
func dialScheme(ctx context.Context, u *url.URL, o serviceOptions) (service, error) {
	switch u.Scheme {
	case "etcd", "etcds":
		return dialEtcd(ctx, u, o)
	case "redis", "rediss":
		return dialRedis(ctx, u, o)
	}
	return dialPostgres(ctx, u, o)
}

// dialEtcd takes etcd://[user:password@]host[:port][,host[:port]...], and etcds:// for TLS with the
// parameters ca, cert and key, which name files.
func dialEtcd(ctx context.Context, u *url.URL, o serviceOptions) (service, error) {
	config := clientv3.Config{
		Context: context.WithoutCancel(ctx), DialTimeout: dialLimit, Logger: zap.NewNop(),
	}
	if u.Host == "" {
		return nil, usageError("--on: the URL names no server: want for example etcd://localhost:2379")
	}
	plain, known := "http", []string(nil)
	if u.Scheme == "etcds" {
		plain, known = "https", []string{"ca", "cert", "key"}
		var err error
		if config.TLS, err = tlsConfig(u.Query()); err != nil {
			return nil, err
		}
	}
	if err := checkParameters(u, known...); err != nil {
		return nil, err
	}
	for host := range strings.SplitSeq(u.Host, ",") {
		if !strings.Contains(host, ":") {
			host += ":2379"
		}
		config.Endpoints = append(config.Endpoints, plain+"://"+host)
	}
	if u.User != nil {
		config.Username = u.User.Username()
		config.Password, _ = u.User.Password()
	}
	client, err := clientv3.New(config)
	if err != nil {
		return nil, err
	}
	var opts []etcdlock.Option
	if o.ttl != 0 {
		opts = append(opts, etcdlock.WithTTL(o.ttl))
	}
	if o.namespace != "" {
		opts = append(opts, etcdlock.WithNamespace(o.namespace))
	}
	s, err := etcdlock.Dial(ctx, client, opts...)
	if err != nil {
		client.Close()
		return nil, err
	}
	return &etcdService{s, client}, nil
}

// checkParameters refuses parameters that mean nothing, such as a namespace that is misspelt.
func checkParameters(u *url.URL, known ...string) error {
	for name := range u.Query() {
		if !slices.Contains(known, name) {
			return usageError("--on: %s has no parameter %q", u.Scheme, name)
		}
	}
	return nil
}

// An etcdService owns its client.
type etcdService struct {
	*etcdlock.Service
	client *clientv3.Client
}

func (s *etcdService) Close() error { return errors.Join(s.Service.Close(), s.client.Close()) }

// tlsConfig reads the files that the parameters of a URL name.
func tlsConfig(query url.Values) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca := query.Get("ca"); ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate", ca)
		}
	}
	if cert := query.Get("cert"); cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, query.Get("key"))
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// dialPostgres takes the URLs that libpq does.
func dialPostgres(ctx context.Context, u *url.URL, o serviceOptions) (service, error) {
	config, err := pgx.ParseConfig(u.String())
	if err != nil {
		return nil, err
	}
	var opts []pglock.Option
	if o.ttl != 0 {
		opts = append(opts, pglock.WithTTL(o.ttl))
	}
	if o.namespace != "" {
		opts = append(opts, pglock.WithNamespace(o.namespace))
	}
	return pglock.Dial(ctx, config, opts...)
}

// dialRedis takes the URLs that rueidis does.
func dialRedis(ctx context.Context, u *url.URL, o serviceOptions) (service, error) {
	err := checkParameters(u, "addr", "client_cache", "client_name", "db", "dial_timeout", "master_set",
		"max_retries", "protocol", "skip_verify", "write_timeout")
	if err != nil {
		return nil, err
	}
	config, err := rueidis.ParseURL(u.String())
	if err != nil {
		return nil, err
	}
	var opts []redislock.Option
	if o.ttl != 0 {
		opts = append(opts, redislock.WithTTL(o.ttl))
	}
	if o.namespace != "" {
		opts = append(opts, redislock.WithNamespace(o.namespace))
	}
	return redislock.Dial(ctx, config, opts...)
}
