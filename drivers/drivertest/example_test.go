package drivertest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/drivers/drivertest"
)

// dial stands for Dial of the driver that is tested.
func dial(addr string) (driver.Service, error) {
	return nil, fmt.Errorf("dial %s: %w", addr, errors.ErrUnsupported)
}

func ExampleTestService() {
	testSuite := func(t *testing.T) {
		drivertest.TestService(t, func(t *testing.T) driver.Service {
			service, err := dial("localhost:4711")
			if err != nil {
				t.Fatal(err)
			}
			return service
		})
	}
	_ = testSuite // go test runs it, by the name TestSuite
}

// Four processes contend for the locks of one server.
func ExampleTestProcesses() {
	testProcesses := func(t *testing.T) {
		start := func(t *testing.T) string { return "localhost:4711" }
		drivertest.TestProcesses(t, start, func(t *testing.T, addr string) driver.Service {
			service, err := dial(addr)
			if err != nil {
				t.Fatal(err)
			}
			return service
		})
	}
	_ = testProcesses // go test runs it, by the name TestProcesses
}

// With a proxy in between, the suite also cuts and freezes the connections of each Service.
func ExampleProcess() {
	open := func(t *testing.T) driver.Service {
		proxy := drivertest.NewProxy()
		t.Cleanup(func() { proxy.Close() })
		addr, err := proxy.Addr("localhost:4711")
		if err != nil {
			t.Fatal(err)
		}
		service, err := dial(addr)
		if err != nil {
			t.Fatal(err)
		}
		return drivertest.Process{Service: service, Link: proxy, TTL: 4 * time.Second}
	}
	testSuite := func(t *testing.T) { drivertest.TestService(t, open) }
	_ = testSuite // go test runs it, by the name TestSuite
}

func ExampleTestFlaws() {
	testFlawsAreCaught := func(t *testing.T) {
		server := drivertest.NewMemory()
		drivertest.TestFlaws(t, func(t *testing.T) driver.Service {
			service := server.Open()
			return drivertest.Process{Service: service, Link: service}
		})
	}
	_ = testFlawsAreCaught // go test runs it, by the name TestFlawsAreCaught
}

// A test of a program whose locks are at a service needs no server.
func ExampleMemory() {
	server := drivertest.NewMemory()
	service := server.Open()
	defer service.Close()
	err := lockutils.Do(context.Background(), "instance-4711", func(context.Context) error {
		fmt.Println("holders:", server.Holding("instance-4711"))
		return nil
	}, lockutils.On(service))
	fmt.Println("holders:", server.Holding("instance-4711"), err)
	// Output:
	// holders: 1
	// holders: 0 <nil>
}

// Two hosts contend for one lock.
func ExampleNewMemory() {
	server := drivertest.NewMemory()
	host, another := server.Open(), server.Open()
	defer host.Close()
	defer another.Close()

	ctx := context.Background()
	hold, _ := host.Acquire(ctx, driver.Request{Name: "instance-4711"})
	_, err := another.Acquire(ctx, driver.Request{Name: "instance-4711", NoWait: true})
	fmt.Println(err)
	_ = hold.Release(ctx)
	// Output: locked by another holder
}

// A service may fail, and a test can see what the program does then.
func ExampleMemoryService() {
	service := drivertest.NewMemory().Open()
	defer service.Close()
	service.Fail(errors.New("out of memory"))
	_, err := lockutils.Lock("instance-4711", lockutils.On(service))
	fmt.Println(err)

	service.Mend()
	guard, _ := lockutils.Lock("instance-4711", lockutils.On(service))
	service.Lose("instance-4711")
	<-guard.Lost()
	fmt.Println(guard.Unlock())
	// Output:
	// lockutils: cannot acquire lock "instance-4711" at memory: out of memory
	// lockutils: lock lost
}

func ExampleMemoryOption() {
	redis := []drivertest.MemoryOption{ // a server that can do what Redis can
		drivertest.WithCapability(driver.Shared | driver.Fenced),
		drivertest.WithTTL(15 * time.Second),
	}
	service := drivertest.NewMemory(redis...).Open()
	defer service.Close()
	fmt.Println(service.Can())
	// Output: Shared|Fenced
}

func ExampleWithCapability() {
	service := drivertest.NewMemory(drivertest.WithCapability(driver.Fenced)).Open()
	defer service.Close()
	_, err := lockutils.Lock("cache", lockutils.On(service), lockutils.Shared())
	fmt.Println(errors.Is(err, errors.ErrUnsupported))
	// Output: true
}

func ExampleWithTTL() {
	service := drivertest.NewMemory(drivertest.WithTTL(15 * time.Second)).Open()
	defer service.Close()
	hold, err := service.Acquire(context.Background(), driver.Request{Name: "instance-4711"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("has a deadline:", hold.Deadline() > 0)
	fmt.Println("survives a pause:", service.Can().Has(driver.SurvivesPause))
	// Output:
	// has a deadline: true
	// survives a pause: false
}

func ExampleMargin() {
	fmt.Println(drivertest.Margin(15*time.Second), drivertest.Margin(2*time.Second))
	// Output: 1.5s 500ms
}

// A client library takes the proxy as its dialer.
func ExampleProxy() {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	proxy := drivertest.NewProxy()
	defer proxy.Close()
	client := http.Client{Transport: &http.Transport{DialContext: proxy.Dial}}
	defer client.CloseIdleConnections()

	get := func() error {
		reply, err := client.Get(server.URL)
		if err != nil {
			return err
		}
		return reply.Body.Close()
	}
	fmt.Println("connected:", get() == nil)
	proxy.Cut()
	fmt.Println("connected:", get() == nil)
	proxy.Mend()
	fmt.Println("connected:", get() == nil)
	// Output:
	// connected: true
	// connected: false
	// connected: true
}

// A client without a dialer connects to an address of the proxy.
func ExampleNewProxy() {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	proxy := drivertest.NewProxy()
	defer proxy.Close()
	addr, err := proxy.Addr(server.Listener.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	reply, err := http.Get("http://" + addr)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reply.Body.Close()
	fmt.Println(reply.Status)
	// Output: 404 Not Found
}

// The way to a server breaks, whatever it is made of.
func ExampleLink() {
	interrupt := func(link drivertest.Link, during func()) {
		link.Cut()
		defer link.Mend()
		during()
	}
	service := drivertest.NewMemory().Open()
	defer service.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	interrupt(service, func() {
		_, err := service.Acquire(ctx, driver.Request{Name: "instance-4711"})
		fmt.Println(err)
	})
	// Output: context deadline exceeded
}
