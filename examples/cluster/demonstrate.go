package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A show is the demonstration.
type show struct {
	engine engine
	setup  setup
	store  *store
	hosts  []*process
	images int
}

// demonstrate starts everything, shows it, and stops everything.
func demonstrate(ctx context.Context, name string, kind engineKind, hosts, images int) (err error) {
	fmt.Printf("starting %s, a store and %d hosts; a lock outlives its host by %v\n", name, hosts, ttl)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &show{images: images}
	defer func() { err = errors.Join(err, s.stop()) }()
	if s.engine, err = kind.start(ctx); err != nil {
		return err
	}
	if s.store, err = startStore(); err != nil {
		return err
	}
	s.setup = setup{Engine: name, Endpoints: s.engine.Endpoints(), Store: s.store.url}
	for i := range hosts {
		p, err := startHost(ctx, fmt.Sprint("host ", i+1), s.setup)
		if err != nil {
			return err
		}
		s.hosts = append(s.hosts, p)
	}
	fmt.Printf("started: %s\n", strings.Join(s.setup.Endpoints, ", "))
	for _, act := range []func(context.Context) error{s.fill, s.killHolder, s.failServer, s.stopHolder} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *show) stop() error {
	var errs []error
	for _, p := range s.hosts {
		errs = append(errs, p.kill())
	}
	if s.store != nil {
		errs = append(errs, s.store.close())
	}
	if s.engine != nil {
		errs = append(errs, s.engine.Stop())
	}
	return errors.Join(errs...)
}

// fill has all hosts fill the cache at once. One of them is killed meanwhile.
func (s *show) fill(ctx context.Context) error {
	begun := time.Now()
	for _, p := range s.hosts {
		if err := p.give(order{Do: "fill", Images: s.images}); err != nil {
			return err
		}
	}
	time.Sleep(300 * time.Millisecond)
	victim := s.hosts[len(s.hosts)-1]
	if err := victim.kill(); err != nil {
		return err
	}
	s.hosts = s.hosts[:len(s.hosts)-1]
	for _, p := range s.hosts {
		if _, err := p.report(ctx); err != nil {
			return err
		}
	}
	took := time.Since(begun)
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	writes := 0
	for i := range s.images {
		image := s.store.images[imageName(i)]
		if image == nil || image.accepted != 1 {
			return fmt.Errorf("%s was not stored exactly once: %+v", imageName(i), image)
		}
		writes += image.accepted
	}
	fmt.Printf("fill:    %d images, wanted by all hosts, were stored %d times in %v; %s was killed meanwhile\n",
		s.images, writes, took.Round(time.Millisecond), victim.name)
	return nil
}

// contend has one host hold the lock of an image and another one wait for it.
func (s *show) contend(ctx context.Context, image string) (holder, waiter *process, token uint64, err error) {
	holder, waiter = s.hosts[0], s.hosts[1]
	r, err := holder.carryOut(ctx, order{Do: "lock", Image: image})
	if err == nil {
		err = waiter.give(order{Do: "lock", Image: image})
	}
	time.Sleep(200 * time.Millisecond) // so that the waiter is one
	return holder, waiter, r.Token, err
}

// killHolder kills the host that holds a lock, and another one takes over.
func (s *show) killHolder(ctx context.Context) error {
	holder, waiter, token, err := s.contend(ctx, "killed")
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := holder.kill(); err != nil {
		return err
	}
	r, err := waiter.report(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("killed:  %s held the lock with token %d; %s has it with token %d after %v\n",
		holder.name, token, waiter.name, r.Token, time.Since(begun).Round(time.Millisecond))
	if _, err := waiter.carryOut(ctx, order{Do: "unlock"}); err != nil {
		return err
	}
	s.hosts[0], err = startHost(ctx, holder.name+" again", s.setup)
	return err
}

// failServer has a server of the lock service fail while a lock is held.
func (s *show) failServer(ctx context.Context) error {
	holder, waiter, _, err := s.contend(ctx, "failing")
	if err != nil {
		return err
	}
	begun := time.Now()
	what, err := s.engine.FailServer(ctx)
	if err != nil {
		return err
	}
	released, err := holder.carryOut(ctx, order{Do: "unlock"})
	if err != nil {
		return err
	}
	if _, err := waiter.report(ctx); err != nil {
		return err
	}
	outcome := "kept its lock and released it"
	switch {
	case released.Lost:
		outcome = "was told that its lock is lost"
	case released.Pending:
		outcome = "kept its lock and released it in the background"
	}
	fmt.Printf("failed:  %s; %s %s, and %s has it after %v\n",
		what, holder.name, outcome, waiter.name, time.Since(begun).Round(time.Millisecond))
	_, err = waiter.carryOut(ctx, order{Do: "unlock"})
	return err
}

// stopHolder stops a holder until another one has the lock. It writes late.
func (s *show) stopHolder(ctx context.Context) error {
	holder, waiter, token, err := s.contend(ctx, "stopped")
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := holder.stop(); err != nil {
		return err
	}
	next, err := s.replaceStopped(ctx, holder, waiter)
	took := time.Since(begun)
	if err == nil {
		_, err = waiter.carryOut(ctx, order{Do: "write", Image: "stopped"})
	}
	if err := errors.Join(err, holder.resume()); err != nil {
		return err
	}
	late, err := holder.carryOut(ctx, order{Do: "write", Image: "stopped"})
	if err != nil {
		return err
	}
	if !late.Refused || !late.Lost {
		return fmt.Errorf("a holder that was stopped wrote late: %+v", late)
	}
	fmt.Printf("stopped: %s held the lock with token %d; %s has it with token %d after %v; the late write "+
		"of %s was refused by the fence, and its guard said that the lock is lost\n",
		holder.name, token, waiter.name, next.Token, took.Round(time.Millisecond), holder.name)
	for _, p := range []*process{holder, waiter} {
		if _, err := p.carryOut(ctx, order{Do: "unlock"}); err != nil {
			return err
		}
	}
	return nil
}

// replaceStopped returns the report of the waiter once it has the lock of a holder that stands still.
// Not every service takes the lock away by itself.
func (s *show) replaceStopped(ctx context.Context, holder, waiter *process) (report, error) {
	patience, cancel := context.WithTimeout(ctx, 2*ttl)
	defer cancel()
	begun := time.Now()
	r, err := waiter.report(patience)
	if !errors.Is(err, context.DeadlineExceeded) {
		return r, err
	}
	what, err := s.engine.Expel(ctx)
	if err != nil || what == "" {
		return r, errors.Join(fmt.Errorf("%s has no lock after %v", waiter.name, time.Since(begun)), err)
	}
	fmt.Printf("stopped: %s kept its lock for %v, although it stands still; then %s\n",
		holder.name, time.Since(begun).Round(time.Millisecond), what)
	return waiter.report(ctx)
}
