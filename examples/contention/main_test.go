package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestThePageShowsTheLocks(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	urls := make(chan string, 1)
	done := make(chan error, 1)
	go func() { done <- run(ctx, "127.0.0.1:0", func(url string) { urls <- url }) }()
	select {
	case url := <-urls:
		for page := ""; !strings.Contains(page, "instance-4711"); {
			reply, err := http.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(reply.Body)
			reply.Body.Close()
			if err != nil || reply.StatusCode != http.StatusOK {
				t.Fatalf("%s: %v", reply.Status, err)
			}
			page = string(text)
		}
	case err := <-done:
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
