package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lockutils/lockutils/drivers/drivertest"
)

// A target is what a scenario measures.
type target struct {
	server
	engine
	contender
}

// A scenario asks one question of all contenders. It returns one value for each of its figures.
type scenario struct {
	key     string
	figures []figure
	manner  manner
	measure func(ctx context.Context, t target) ([]float64, error)
}

// A manner is how contenders are measured.
type manner int

const (
	inTurns  manner = iota // once in each round, one after another
	once                   // one after another, since each round would give the same
	together               // once, at the same time, since they do little but wait
)

// A figure is what a value means. One with a caption is drawn. NaN stands for what none says.
type figure struct{ name, caption, none string }

const (
	less = "less is better"
	more = "more is better"
)

var fewest = figure{"the process with the fewest of them, of a fair share", "", ""}

var scenarios = []scenario{
	{"free", []figure{
		{"acquire a free lock, µs", less, ""}, {"release it, µs", less, ""},
	}, inTurns, free},
	{"handover", []figure{
		{"hand-over to a waiting client, p50 ms", less, ""}, {"hand-over p99, ms", "", ""},
	}, inTurns, handover},
	{"throughput-4", []figure{
		{"4 processes on one name, holds/s", more, ""}, fewest,
	}, inTurns, throughput(4)},
	{"throughput-16", []figure{
		{"16 processes on one name, holds/s", more, ""}, fewest,
	}, inTurns, throughput(16)},
	{"cost", []figure{
		{"requests at the server for each hold", less, ""}, {"connections of a client", "", ""},
	}, once, cost},
	{"takeover", []figure{{"take-over after SIGKILL, s", less, ""}}, together, takeover},
	{"cut", []figure{
		{"from a cut to the news of the loss, s", less, "never told"},
		{"from then to the next grant, s", "", "-"},
	}, together, cut},
}

// free measures the median of holds that nobody else wants: 1,000, or what two seconds suffice for.
func free(ctx context.Context, t target) ([]float64, error) {
	c, err := t.client(ctx, t.address())
	if err != nil {
		return nil, err
	}
	defer c.close()
	var acquires, releases []float64
	for started := time.Now(); len(acquires) < 1000 && time.Since(started) < 2*time.Second; {
		begun := time.Now()
		h, err := c.acquire(context.Background(), "free")
		if err != nil {
			return nil, err
		}
		got := time.Now()
		if err := h.release(context.Background()); err != nil {
			return nil, err
		}
		acquires = append(acquires, got.Sub(begun).Seconds()*1e6)
		releases = append(releases, time.Since(got).Seconds()*1e6)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return []float64{quantile(acquires, 0.5), quantile(releases, 0.5)}, nil
}

func quantile(values []float64, q float64) float64 {
	slices.Sort(values)
	return values[int(q*float64(len(values)-1))]
}

// handover measures from the call that releases until a client that waits has the lock.
func handover(ctx context.Context, t target) ([]float64, error) {
	a, err := t.client(ctx, t.address())
	if err != nil {
		return nil, err
	}
	defer a.close()
	b, err := t.client(ctx, t.address())
	if err != nil {
		return nil, err
	}
	defer b.close()
	var times []float64
	for range 40 {
		h, err := a.acquire(ctx, "handover")
		if err != nil {
			return nil, err
		}
		granted := begin(ctx, b, "handover")
		time.Sleep(5*time.Millisecond + rand.N(30*time.Millisecond))
		begun := time.Now()
		if err := h.release(ctx); err != nil {
			return nil, err
		}
		g := <-granted
		if g.err != nil {
			return nil, g.err
		}
		times = append(times, g.at.Sub(begun).Seconds()*1e3)
		if err := g.release(ctx); err != nil {
			return nil, err
		}
	}
	return []float64{quantile(times, 0.5), quantile(times, 0.99)}, nil
}

// A grant is the end of a wait.
type grant struct {
	hold
	at  time.Time
	err error
}

// begin begins to wait for a lock.
func begin(ctx context.Context, c client, name string) <-chan grant {
	granted := make(chan grant, 1)
	go func() {
		h, err := c.acquire(ctx, name)
		granted <- grant{h, time.Now(), err}
	}()
	return granted
}

// throughput measures how many holds processes have together that always want the same lock.
func throughput(processes int) func(context.Context, target) ([]float64, error) {
	return func(ctx context.Context, t target) ([]float64, error) {
		const length = 1500 * time.Millisecond
		var workers []*worker
		defer func() {
			for _, w := range workers {
				w.kill()
			}
		}()
		for range processes {
			w, err := startWorker(ctx, t, "rush", length.String())
			if err != nil {
				return nil, err
			}
			workers = append(workers, w)
		}
		for _, w := range workers {
			if _, err := w.line(); err != nil { // it is connected
				return nil, err
			}
		}
		for _, w := range workers {
			fmt.Fprintln(w.in)
		}
		sum, least := 0.0, math.Inf(1)
		for _, w := range workers {
			line, err := w.line()
			if err != nil {
				return nil, err
			}
			n, err := strconv.Atoi(line)
			if err != nil {
				return nil, err
			}
			sum, least = sum+float64(n), min(least, float64(n))
		}
		return []float64{sum / length.Seconds(), least * float64(processes) / sum}, nil
	}
}

// cost counts at the server. A client without holds is subtracted, as is what counting itself costs.
func cost(ctx context.Context, t target) ([]float64, error) {
	const holds = 200
	time.Sleep(time.Second) // a server may count late what others did before
	base, _, err := requests(ctx, t, 0)
	if err != nil {
		return nil, err
	}
	all, connections, err := requests(ctx, t, holds)
	return []float64{(all - base) / holds, connections}, err
}

// requests counts those of a client that has so many holds, and its connections.
func requests(ctx context.Context, t target, holds int) (n, connections float64, err error) {
	before, others, err := t.counts(ctx)
	if err != nil {
		return 0, 0, err
	}
	c, err := t.client(ctx, t.address())
	if err != nil {
		return 0, 0, err
	}
	for range holds {
		h, err := c.acquire(ctx, "cost")
		if err == nil {
			err = h.release(ctx)
		}
		if err != nil {
			c.close()
			return 0, 0, err
		}
	}
	_, connections, err = t.counts(ctx)
	c.close()
	if err != nil {
		return 0, 0, err
	}
	// The server may notice the end of the client late, and count its requests then.
	for begun := time.Now(); ; {
		time.Sleep(200 * time.Millisecond)
		after, left, err := t.counts(ctx)
		if err != nil || left <= others || time.Since(begun) > 10*time.Second {
			return after - before, connections - others, err
		}
	}
}

// takeover measures from the death of a holder until a client that waits has the lock.
func takeover(ctx context.Context, t target) ([]float64, error) {
	name := "takeover " + t.contender.name // contenders of the same library have one namespace
	w, err := startWorker(ctx, t, "hold", name)
	if err != nil {
		return nil, err
	}
	defer w.kill()
	if _, err := w.line(); err != nil {
		return nil, err
	}
	c, err := t.client(ctx, t.address())
	if err != nil {
		return nil, err
	}
	defer c.close()
	granted := begin(ctx, c, name)
	time.Sleep(2 * time.Second)
	begun := time.Now()
	w.kill()
	g := <-granted
	if g.err != nil {
		return nil, g.err
	}
	return []float64{g.at.Sub(begun).Seconds()}, g.release(ctx)
}

// cut measures when a holder is told that it is cut off, and how long before the next grant: a
// negative time means that two had the lock.
func cut(ctx context.Context, t target) ([]float64, error) {
	link := drivertest.NewProxy()
	defer link.Close()
	address, err := through(link, t.address())
	if err != nil {
		return nil, err
	}
	holder, err := t.client(ctx, address)
	if err != nil {
		return nil, err
	}
	defer holder.close()
	waiter, err := t.client(ctx, t.address())
	if err != nil {
		return nil, err
	}
	defer waiter.close()
	name := "cut " + t.contender.name
	h, err := holder.acquire(ctx, name)
	if err != nil {
		return nil, err
	}
	if h.lost == nil {
		return []float64{math.NaN(), math.NaN()}, h.release(ctx)
	}
	granted := begin(ctx, waiter, name)
	time.Sleep(2 * time.Second)
	begun := time.Now()
	link.Freeze()
	defer link.Mend()
	select {
	case <-h.lost:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	lost := time.Now()
	between := math.Inf(1)
	var g grant
	select {
	case g = <-granted:
		between = g.at.Sub(lost).Seconds()
	case <-time.After(grantTime): // the link has the connection to the server still open
		link.Mend()
		g = <-granted
	}
	if g.err != nil {
		return nil, g.err
	}
	return []float64{lost.Sub(begun).Seconds(), between}, g.release(ctx)
}

// grantTime is how long cut waits for the next grant.
const grantTime = 30 * time.Second

// through returns an address that leads by way of the link.
func through(link *drivertest.Proxy, address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return link.Addr(strings.TrimPrefix(address, "http://"))
	}
	u.Host, err = link.Addr(u.Host)
	return u.String(), err
}

const workerArg = "-worker"

// A worker is this program as another process.
type worker struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func startWorker(ctx context.Context, t target, task ...string) (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := append([]string{workerArg, t.engine.name, t.contender.name, t.address()}, task...)
	w := &worker{cmd: exec.CommandContext(ctx, self, args...)}
	w.cmd.Stderr = os.Stderr
	in, err := w.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	w.in, w.out = in, bufio.NewReader(out)
	return w, w.cmd.Start()
}

func (w *worker) line() (string, error) {
	line, err := w.out.ReadString('\n')
	return strings.TrimSpace(line), err
}

func (w *worker) kill() {
	w.cmd.Process.Kill()
	w.cmd.Wait()
}

// work is what a worker does: engine, contender, address and task are its arguments.
func work(args []string) error {
	var c contender
	for _, e := range engines {
		for _, x := range e.contenders {
			if e.name == args[0] && x.name == args[1] {
				c = x
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	l, err := c.client(ctx, args[2])
	if err != nil {
		return err
	}
	closed := sync.OnceFunc(l.close)
	defer closed()
	if args[3] == "hold" {
		if _, err := l.acquire(ctx, args[4]); err != nil {
			return err
		}
		fmt.Println("held")
		_, err := os.Stdin.Read(make([]byte, 1)) // until it is killed, or its parent ends
		return err
	}
	length, err := time.ParseDuration(args[4])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		return err
	}
	n, end := 0, time.Now().Add(length)
	rush, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	for time.Now().Before(end) {
		h, err := l.acquire(rush, "rush")
		if rush.Err() != nil {
			if err == nil {
				h.release(ctx)
			}
			break
		}
		if err != nil {
			return err
		}
		n++
		if err := h.release(ctx); err != nil {
			return err
		}
	}
	closed() // what it leaves would be in the way of the next ones
	fmt.Println(n)
	return nil
}
