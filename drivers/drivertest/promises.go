package drivertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/lockutils/lockutils/driver"
	"github.com/lockutils/lockutils/driver/boottime"
)

func exclusive(s *stage) error {
	a, b, r := s.process(0), s.process(1), driver.Request{Name: s.name()}
	h, err := s.acquire(a, r)
	if err != nil {
		return err
	}
	if err := s.refused(b, r); err != nil {
		return err
	}
	if err := s.release(h); err != nil {
		return err
	}
	if h, err = s.acquire(b, r); err != nil {
		return err
	}
	if err := s.refused(a, r); err != nil {
		return err
	}
	return s.release(h)
}

func oneService(s *stage) error {
	a, b, r := s.process(0), s.process(1), driver.Request{Name: s.name()}
	first, err := s.acquire(a, r)
	if err != nil {
		return err
	}
	if err := s.refused(a, r); err != nil {
		return err
	}
	waiter := s.start(s.ctx, a, r)
	if err := s.arrived(a, r.Name, 2); err != nil {
		return err
	}
	if err := s.release(first); err != nil {
		return err
	}
	second, err := s.granted(waiter)
	if err != nil {
		return err
	}
	if err := s.refused(b, r); err != nil {
		return err
	}
	return s.release(second)
}

func noWait(s *stage) error {
	a, b, r := s.process(0), s.process(1), driver.Request{Name: s.name()}
	h, err := s.try(a, r)
	if err != nil {
		return fmt.Errorf("a free lock: %w", err)
	}
	if err := s.refused(b, r); err != nil {
		return err
	}
	if err := s.release(h); err != nil {
		return err
	}
	return s.free(b, r.Name)
}

func contextEnds(s *stage) error {
	a, b, r := s.process(0), s.process(1), driver.Request{Name: s.name()}
	h, err := s.acquire(a, r)
	if err != nil {
		return err
	}
	cause := errors.New("cause")
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	waiter := s.start(ctx, b, r)
	if err := s.arrived(a, r.Name, 2); err != nil {
		return err
	}
	cancel(cause)
	if err := s.ended(waiter, context.Canceled, cause); err != nil {
		return err
	}
	cancelled, cancel2 := context.WithCancel(s.ctx)
	cancel2()
	if err := s.ended(s.start(cancelled, b, r), context.Canceled); err != nil {
		return err
	}
	late, cancel3 := context.WithDeadline(s.ctx, time.Now().Add(10*time.Millisecond))
	defer cancel3()
	if err := s.ended(s.start(late, b, r), context.DeadlineExceeded); err != nil {
		return err
	}
	if err := s.release(h); err != nil {
		return err
	}
	return errors.Join(s.free(a, r.Name), s.free(b, r.Name))
}

// ended returns an error unless the request has failed with one of the errors.
func (s *stage) ended(c <-chan grant, want ...error) error {
	g, err := receive(s, c, "end of a wait whose ctx has ended")
	if err != nil {
		return err
	}
	if g.hold != nil {
		return errors.New("a request returned a hold after its ctx had ended, while the lock was held")
	}
	for _, w := range want {
		if errors.Is(g.err, w) {
			return nil
		}
	}
	return fmt.Errorf("a request whose ctx ended returned %w, want %v", g.err, want[0])
}

func handover(s *stage) error {
	r := driver.Request{Name: s.name()}
	for range rounds(50) {
		h, err := s.acquire(s.process(0), r)
		if err != nil {
			return err
		}
		waiter := s.start(s.ctx, s.process(1), r)
		time.Sleep(time.Duration(s.random.IntN(3000)) * time.Microsecond)
		if err := s.release(h); err != nil {
			return err
		}
		if h, err = s.granted(waiter); err != nil {
			return err
		}
		if err := s.release(h); err != nil {
			return err
		}
	}
	return nil
}

// waits has the ways of processes to the server disturbed while they wait. The locks become free before
// or after that ends. There is nobody else: a wait that does not end was not woken.
func waits(s *stage) error {
	ways := map[string]func(Link){
		"cut":           Link.Cut,
		"frozen":        Link.Freeze,
		"not heard":     Link.DropRequests,
		"without reply": Link.DropReplies,
		"cut once":      Link.DropReply,
	}
	errs := make(chan error, 2*len(ways))
	holder := s.process(0)
	for way, disturb := range ways {
		for _, mended := range []bool{false, true} {
			p, name := s.process(len(s.processes)), s.name(way, mended)
			pause := time.Duration(s.random.Int64N(int64(p.TTL * 5 / 4)))
			go func() {
				err := s.waitAcross(holder, p, name, pause, disturb, mended)
				if err != nil {
					err = fmt.Errorf("a request that is %s for %v, with a release after that: %v: %w",
						way, pause, mended, err)
				}
				errs <- err
			}()
		}
	}
	var all error
	for range cap(errs) {
		all = errors.Join(all, <-errs)
	}
	return all
}

func (s *stage) waitAcross(
	holder, p Process, name string, pause time.Duration, disturb func(Link), mended bool,
) error {
	r := driver.Request{Name: name}
	h, err := s.acquire(holder, r)
	if err != nil {
		return err
	}
	waiter := s.start(s.ctx, p, r)
	time.Sleep(p.TTL / 4)
	disturb(p.Link)
	time.Sleep(pause)
	if mended {
		p.Link.Mend()
		time.Sleep(p.TTL / 4)
	}
	err = s.release(h)
	p.Link.Mend()
	if err != nil {
		return err
	}
	if h, err = s.granted(waiter); err != nil {
		return err
	}
	return s.release(h)
}

func names(s *stage) error {
	base := s.name()
	all := []string{
		"", base, base + "/", base + "/a", base + "/a/b", base + "a", base + " ", base + "-0", base + "\x00",
		base + "\x00a", base + "\xff", base + "\xff\xfe", base + "%", base + "%2f", base + "%2Fa", base + "\n",
		base + "*", base + "{a}", base + "{}", base + "'", base + `"; --`, base + "ä", base + "a\u0308",
		strings.ToUpper(base), base + "/../" + base, "/" + base, base + "//a",
		base + strings.Repeat("x", 4096-len(base)), base + strings.Repeat("x", 4095-len(base)) + "y",
		base + strings.Repeat("\x00", 4096-len(base)),
	}
	a, b := s.process(0), s.process(1)
	var holds []driver.Hold
	for _, name := range all {
		h, err := s.try(a, driver.Request{Name: name})
		if err != nil {
			return fmt.Errorf("acquire %q beside other names: %w", name, err)
		}
		holds = append(holds, h)
	}
	for _, name := range all {
		if err := s.refused(b, driver.Request{Name: name}); err != nil {
			return err
		}
	}
	for i, h := range holds {
		if err := s.release(h); err != nil {
			return err
		}
		if err := s.free(b, all[i]); err != nil {
			return err
		}
	}
	return nil
}

func sharedHolds(s *stage) error {
	a, b, c := s.process(0), s.process(1), s.process(2)
	read, write := driver.Request{Name: s.name(), Shared: true}, driver.Request{Name: s.name()}
	var readers []driver.Hold
	for _, p := range []Process{a, b, a} {
		h, err := s.acquire(p, read)
		if err != nil {
			return err
		}
		readers = append(readers, h)
	}
	for _, h := range readers {
		for _, p := range []Process{a, c} {
			if err := s.refused(p, write); err != nil {
				return err
			}
		}
		if err := s.release(h); err != nil {
			return err
		}
	}
	writer, err := s.acquire(c, write)
	if err != nil {
		return err
	}
	if err := errors.Join(s.refused(a, read), s.refused(c, read)); err != nil {
		return err
	}
	waiters := []<-chan grant{s.start(s.ctx, a, read), s.start(s.ctx, b, read)}
	if err := s.arrived(a, read.Name, 3); err != nil {
		return err
	}
	if err := s.release(writer); err != nil {
		return err
	}
	for _, w := range waiters {
		h, err := s.granted(w)
		if err != nil {
			return err
		}
		readers = append(readers, h)
	}
	return errors.Join(s.release(readers[3]), s.release(readers[4]), s.free(c, write.Name))
}

func order(s *stage) error {
	name := s.name()
	h, err := s.acquire(s.process(0), driver.Request{Name: name})
	if err != nil {
		return err
	}
	type turn struct {
		place int
		hold  driver.Hold
		err   error
	}
	const waiters = 6
	turns := make(chan turn, waiters)
	for i := range waiters {
		p := s.process(1 + i%3)
		go func() {
			h, err := s.acquire(p, driver.Request{Name: name, Fair: true})
			turns <- turn{i, h, err}
		}()
		if err := s.arrived(p, name, 2+i); err != nil {
			return err
		}
	}
	for i := range waiters {
		if err := s.release(h); err != nil {
			return err
		}
		got, err := receive(s, turns, "grant for a waiter")
		if err = errors.Join(err, got.err); err != nil {
			return err
		}
		if got.place != i {
			return fmt.Errorf("request %d was granted before request %d", got.place, i)
		}
		h = got.hold
	}
	return s.release(h)
}

func tokens(s *stage) error {
	last, name := uint64(0), s.name()
	for i := range 12 {
		p := s.process(i % 3)
		if i%4 == 3 && p.Can().Has(driver.Shared) {
			h, err := s.acquire(p, driver.Request{Name: name, Shared: true})
			if err != nil {
				return err
			}
			last = max(last, h.Token())
			if err := s.release(h); err != nil {
				return err
			}
			continue
		}
		h, err := s.acquire(p, driver.Request{Name: name})
		if err != nil {
			return err
		}
		if h.Token() <= last {
			return fmt.Errorf("token %d after %d", h.Token(), last)
		}
		last = h.Token()
		if err := s.release(h); err != nil {
			return err
		}
		if h.Token() != last {
			return fmt.Errorf("token %d became %d by the release", last, h.Token())
		}
	}
	return nil
}

func release(s *stage) error {
	a, b, r := s.process(0), s.process(1), driver.Request{Name: s.name()}
	for _, next := range []Process{a, b} {
		first, err := s.acquire(a, r)
		if err != nil {
			return err
		}
		if err := s.release(first); err != nil {
			return err
		}
		if err := s.release(first); err != nil {
			return fmt.Errorf("a second time: %w", err)
		}
		second, err := s.acquire(next, r)
		if err != nil {
			return err
		}
		if err := s.release(first); err != nil {
			return fmt.Errorf("while the next one holds the lock: %w", err)
		}
		if err := errors.Join(s.refused(a, r), s.refused(b, r)); err != nil {
			return fmt.Errorf("after a stale release: %w", err)
		}
		var both sync.WaitGroup
		errs := make([]error, 2)
		for i := range errs {
			both.Go(func() { errs[i] = s.release(second) })
		}
		both.Wait()
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("two at once: %w", err)
		}
		select {
		case <-second.Lost():
			return errors.New("Lost was closed by a release")
		default:
		}
	}
	return nil
}

func unsupported(s *stage) error {
	p := s.process(0)
	for _, r := range []driver.Request{{Name: s.name(), Shared: true}, {Name: s.name(), Fair: true}} {
		if r.Shared && p.Can().Has(driver.Shared) || r.Fair && p.Can().Has(driver.Fair) {
			continue
		}
		h, err := s.try(p, r)
		if !errors.Is(err, errors.ErrUnsupported) {
			return fmt.Errorf("acquire %s returned %v, %v, want errors.ErrUnsupported", describe(r), h, err)
		}
	}
	if p.Name() == "" {
		return errors.New("the service has no name")
	}
	return nil
}

// cancel has a process acquire and release while another one's requests end at random instants.
func cancel(s *stage) error {
	b, name := s.process(1), s.name()
	took := time.Now()
	if err := s.free(b, name); err != nil {
		return err
	}
	trip := max(time.Since(took), 100*time.Microsecond)
	for range rounds(100) {
		if err := s.cancelOnce(name, 2*trip, func() {}, func() {}); err != nil {
			return err
		}
	}
	return s.nothingLeft(name)
}

// cancelAcross does the same while the way of that process to the server is bad.
func cancelAcross(s *stage) error {
	b, name := s.process(1), s.name()
	troubles := []func(){
		b.Link.DropReply, b.Link.DropReplies, b.Link.DropRequests, b.Link.Cut, b.Link.Freeze,
		func() { b.Link.Delay(0, 20*time.Millisecond) },
		func() { b.Link.Delay(20*time.Millisecond, 0) },
	}
	for range rounds(3) {
		for _, trouble := range troubles {
			if err := s.cancelOnce(name, 50*time.Millisecond, trouble, b.Link.Mend); err != nil {
				return err
			}
		}
	}
	return s.nothingLeft(name)
}

// cancelOnce has a request of the second process end within d, while the first holds the lock and
// releases it. The request is made and ends between trouble and mend.
func (s *stage) cancelOnce(name string, d time.Duration, trouble, mend func()) error {
	r := driver.Request{Name: name}
	h, err := s.acquire(s.process(0), r)
	if err != nil {
		return err
	}
	trouble()
	defer mend()
	ctx, cancel := context.WithTimeout(s.ctx, time.Duration(s.random.Int64N(int64(d))))
	defer cancel()
	waiter := s.start(ctx, s.process(1), r)
	time.Sleep(time.Duration(s.random.Int64N(int64(d))))
	if err := s.release(h); err != nil {
		return err
	}
	g, err := receive(s, waiter, "end of a request")
	mend()
	switch {
	case err != nil:
		return err
	case g.err == nil:
		return s.release(g.hold)
	case !errors.Is(g.err, context.DeadlineExceeded):
		return fmt.Errorf("a request whose ctx ended returned %w", g.err)
	}
	return nil
}

// nothingLeft returns an error if a request stays at the server.
func (s *stage) nothingLeft(name string) error {
	a := s.process(0)
	if a.Requests != nil {
		return s.eventually("the server knows no request", func() bool { return a.Requests(name) == 0 })
	}
	return s.free(a, name)
}

func closing(s *stage) error {
	a, b, r := s.process(0), s.process(1), driver.Request{Name: s.name()}
	if _, ok := a.Service.(interface{ Close() error }); !ok {
		return nil
	}
	h, err := s.acquire(a, r)
	if err != nil {
		return err
	}
	own, other := s.start(s.ctx, a, r), s.start(s.ctx, b, r)
	if err := s.arrived(b, r.Name, 3); err != nil {
		return err
	}
	if err := a.close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	g, err := receive(s, own, "end of a wait at a closed Service")
	if err != nil {
		return err
	}
	if g.err == nil {
		return errors.New("a closed Service granted a lock")
	}
	next, err := s.granted(other)
	if err != nil {
		return err
	}
	if h.Lost() != nil && !isClosed(h.Lost()) {
		return errors.New("the next one is granted a lock of a closed Service whose holder was not told")
	}
	_, err = s.try(a, driver.Request{Name: s.name("other")})
	if err == nil || errors.Is(err, driver.ErrLocked) {
		return fmt.Errorf("a closed Service returned %v", err)
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.patience)
	defer cancel()
	h.Release(ctx)
	if err := s.refused(b, r); err != nil {
		return fmt.Errorf("after a release by a closed Service: %w", err)
	}
	if err := a.close(); err != nil {
		return fmt.Errorf("close a second time: %w", err)
	}
	return s.release(next)
}

// lost cuts a holder off in each way, and has another process wait for its lock.
func lost(s *stage) error {
	ways := map[string]func(Link){
		"cut":           Link.Cut,
		"frozen":        Link.Freeze,
		"not heard":     Link.DropRequests,
		"without reply": Link.DropReplies,
	}
	errs := make(chan error, len(ways))
	other := s.process(0)
	for way, disturb := range ways {
		p := s.process(len(s.processes))
		go func() {
			err := s.loseBy(p, other, way, disturb)
			if err != nil {
				err = fmt.Errorf("a holder that is %s: %w", way, err)
			}
			errs <- err
		}()
	}
	var all error
	for range ways {
		all = errors.Join(all, <-errs)
	}
	return all
}

func (s *stage) loseBy(p, other Process, way string, disturb func(Link)) error {
	name := s.name(way)
	r := driver.Request{Name: name}
	// The hold of a Service that survives a pause ends with its connection. Both ends learn at the
	// same time that it is cut, and either may be the first to act on it.
	bothLearn := way == "cut" && p.Can().Has(driver.SurvivesPause)
	h, err := s.acquire(p, r)
	if err != nil {
		return err
	}
	if h.Lost() == nil {
		return errors.New("Lost is nil, although holds have a TTL")
	}
	disturb(p.Link)
	if p.Can().Has(driver.SurvivesPause) {
		// The server frees the lock when it hears that the holder has given up its connection.
		go func() {
			<-h.Lost()
			p.Link.Mend()
		}()
	}
	next, err := s.acquire(other, r)
	if err != nil {
		p.Link.Mend()
		return err
	}
	select {
	case <-h.Lost():
	default:
		if d := h.Deadline(); !bothLearn && (d == 0 || d > boottime.Now()) {
			p.Link.Mend()
			return fmt.Errorf("the next one is granted the lock before it is lost; "+
				"the deadline is in %v", d-boottime.Now())
		}
		if _, err := receive(s, h.Lost(), "closed Lost"); err != nil {
			return err
		}
	}
	if next.Token() <= h.Token() && p.Can().Has(driver.Fenced) {
		return fmt.Errorf("token %d after the lost one %d", next.Token(), h.Token())
	}
	p.Link.Mend()
	ctx, cancel := context.WithTimeout(s.ctx, s.patience)
	defer cancel()
	if err := h.Release(ctx); !errors.Is(err, driver.ErrLost) {
		return fmt.Errorf("the release of a lost hold returned %v, want ErrLost", err)
	}
	if err := s.refused(other, r); err != nil {
		return fmt.Errorf("after the release of a lost hold: %w", err)
	}
	if err := s.release(next); err != nil {
		return err
	}
	if err := s.free(p, name); err != nil {
		return fmt.Errorf("after the way to the server is mended: %w", err)
	}
	return nil
}

// deadline cuts the requests of several holders at random instants, while replies are late.
// Nothing that was sent later than the cut can have been confirmed, so the deadlines are at most
// a TTL after it, less the margin.
func deadline(s *stage) error {
	const holders = 8
	errs := make(chan error, holders)
	for i := range holders {
		p := s.process(i)
		// The phases are spread, so that for some a renewal is on its way when the link is cut.
		part := p.TTL / 3 / holders
		phase := time.Duration(i)*part + time.Duration(s.random.Int64N(int64(part)))
		go func() { errs <- s.deadlineOf(p, s.name(i), phase) }()
	}
	var all error
	for range holders {
		all = errors.Join(all, <-errs)
	}
	return all
}

func (s *stage) deadlineOf(p Process, name string, phase time.Duration) error {
	h, err := s.acquire(p, driver.Request{Name: name})
	if err != nil {
		return err
	}
	defer p.Link.Mend()
	if h.Deadline() == 0 {
		return errors.New("a hold with a TTL has no deadline")
	}
	lag := p.TTL/6 - p.TTL/60
	p.Link.Delay(0, lag)
	time.Sleep(p.TTL/3 + phase)
	p.Link.DropRequests()
	cut := boottime.Now()
	time.Sleep(2 * lag)
	if late := h.Deadline() - (cut + p.TTL - Margin(p.TTL)); late > 0 {
		return fmt.Errorf("the deadline is %v too late: it has to count from when the confirmed renewal "+
			"was sent, and leave a margin of a tenth of the TTL, at least 500 ms", late)
	}
	return nil
}

func lostReply(s *stage) error {
	a, b, r := s.process(0), s.process(1), driver.Request{Name: s.name()}
	for range rounds(3) {
		if err := s.free(a, r.Name); err != nil { // now it is connected
			return err
		}
		a.Link.DropReply()
		h, err := s.acquire(a, r)
		if err != nil {
			return err
		}
		if err := s.refused(b, r); err != nil {
			return err
		}
		a.Link.DropReply()
		if err := s.release(h); err != nil {
			return err
		}
		if err := s.free(b, r.Name); err != nil {
			return err
		}
	}
	return nil
}
