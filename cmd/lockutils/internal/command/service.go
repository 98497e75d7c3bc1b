package command

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lockutils/lockutils/driver"
)

// A service is a lock service that this program has dialled.
type service interface {
	driver.Service
	Close() error
}

// dialLimit bounds how long a lock service may take to answer at first.
const dialLimit = 10 * time.Second

// serviceOptions are the parameters of every URL.
type serviceOptions struct {
	ttl       time.Duration // 0: the default
	namespace string
}

// schemes are those of the URLs of lock services.
var schemes = []string{"etcd", "etcds", "postgres", "postgresql", "redis", "rediss"}

// dial connects to the lock service that --on names. It returns nil without the option.
func (o *lockOptions) dial(ctx context.Context) (service, error) {
	if o.on == "" {
		return nil, nil
	}
	return dial(ctx, o.on)
}

// dial connects to the lock service of a URL.
func dial(ctx context.Context, text string) (service, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The error of package url would show a password.
		return nil, usageError("--on: not a URL: want for example etcd://localhost:2379")
	}
	if !slices.Contains(schemes, u.Scheme) {
		return nil, usageError("--on: unknown scheme %q: want one of %s", u.Scheme, strings.Join(schemes, ", "))
	}
	o, err := takeOptions(u)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	s, err := dialScheme(ctx, u, o)
	if _, known := errors.AsType[*statusError](err); known {
		return nil, err
	}
	if err != nil {
		return nil, &statusError{statusUnavailable, fmt.Errorf("no lock service at %s: %w", redacted(u), err)}
	}
	return s, nil
}

// redacted returns the URL without passwords. libpq takes them as parameters too.
func redacted(u *url.URL) string {
	shown, query := *u, u.Query()
	for _, secret := range []string{"password", "sslpassword"} {
		if query.Has(secret) {
			query.Set(secret, "xxxxx")
			shown.RawQuery = query.Encode()
		}
	}
	return shown.Redacted()
}

// takeOptions removes the parameters that all services have from the URL.
func takeOptions(u *url.URL) (o serviceOptions, err error) {
	query := u.Query()
	o.namespace = query.Get("namespace")
	if ttl := query.Get("ttl"); ttl != "" {
		if o.ttl, err = time.ParseDuration(ttl); err != nil {
			return o, usageError("--on: ttl=%s is not a duration such as 15s", visible(ttl))
		}
		if o.ttl < time.Second {
			return o, usageError("--on: ttl=%v is too short: want at least 1s", o.ttl)
		}
	}
	query.Del("namespace")
	query.Del("ttl")
	u.RawQuery = query.Encode()
	return o, nil
}

// A nameInspector is a service that tells of a lock whose name it is told.
type nameInspector interface {
	InspectName(ctx context.Context, name string) (driver.Info, error)
}

// tells reports whether a service tells of its locks, or of the one with that name.
func tells(at service, name string) bool {
	_, all := at.(driver.Inspector)
	_, one := at.(nameInspector)
	return all || one && name != ""
}

// inspect returns what a service tells of its locks, or at least of the one with that name. A service
// that tells nothing has no locks.
func inspect(ctx context.Context, at service, name string) ([]driver.Info, error) {
	switch at := at.(type) {
	case driver.Inspector:
		return at.Inspect(ctx)
	case nameInspector:
		info, err := at.InspectName(ctx, name)
		return []driver.Info{info}, err
	}
	return nil, nil
}
