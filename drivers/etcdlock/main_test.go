package etcdlock_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lockutils/lockutils/drivers/etcdlock/etcdtest"
)

// One server of one member, for all tests that leave it as it is.
var (
	sharedOnce sync.Once
	sharedOne  *etcdtest.Cluster
	sharedErr  error
)

func server(t testing.TB) *etcdtest.Cluster {
	t.Helper()
	if err := etcdtest.Available(); err != nil {
		t.Skip(err)
	}
	sharedOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		sharedOne, sharedErr = etcdtest.Start(ctx, 1)
	})
	if sharedErr != nil {
		t.Fatal(sharedErr)
	}
	return sharedOne
}

func TestMain(m *testing.M) {
	code := m.Run()
	if sharedOne != nil {
		if err := sharedOne.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	for begun := time.Now(); code == 0; { // clients close their connections in the background
		err := goleak.Find()
		if err == nil {
			break
		}
		if time.Since(begun) > time.Minute {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
