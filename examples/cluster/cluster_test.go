package main

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/lockutils/lockutils/drivers/etcdlock/etcdtest"
)

// TestMain lets the test program act as a host.
func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) != "" {
		if err := work(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestEachImageIsStoredOnce(t *testing.T) {
	if err := etcdtest.Available(); err != nil {
		t.Skip(err)
	}
	if err := demonstrate(t.Context(), "etcd", engines["etcd"], 4, 12); err != nil {
		t.Error(err)
	}
}
