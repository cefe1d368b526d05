package router

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"time"

	"re6st/babel"
	"re6st/babel/speaker"
	"re6st/internal/kernel"
	"re6st/internal/status"
)

// An Error is one clear cause, and what to do about it.
type Error struct {
	Err  error
	Hint string
	// IsState: the state directory must be put right first.
	IsState bool
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// router is a running one: the parts, and what they share.
type router struct {
	Options
	state     *state
	id        babel.RouterID
	host      *kernel.Host
	installed *kernel.Installed
	speaker   *speaker.Speaker
}

// Run routes until ctx ends. What it put into the kernel is gone when it returns.
func Run(ctx context.Context, o Options) (err error) {
	if err := o.Check(); err != nil {
		return err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if os.Geteuid() != 0 {
		return &Error{Err: fmt.Errorf("no permission to change the routing tables (uid %d)", os.Geteuid()), Hint: "run it as root"}
	}
	r := &router{Options: o, id: o.RouterID}
	if r.state, err = openState(o.StateDir); err != nil {
		return err
	}
	defer r.state.close()
	if r.host, err = kernel.OpenAlone(); err != nil {
		return fmt.Errorf("opening netlink: %w", err)
	}
	defer func() { _ = r.host.Close() }()
	if err := r.install(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.installed.Remove()) }()
	if err := r.makeSpeaker(); err != nil {
		return err
	}
	listener, err := status.Listen(o.StateDir)
	if err != nil {
		return fmt.Errorf("making the local socket: %w", err)
	}
	o.Log.Info("Babel router is up", "router_id", r.id, "table", o.Table)
	// The first carry what the later ones rely on; they end last.
	return runTasks(ctx,
		func(ctx context.Context) error { return r.installed.Watch(ctx, o.Log) },
		r.speaker.Run,
		newLinks(r.host, r.speaker, o).run,
		func(ctx context.Context) error { return status.Serve(ctx, listener, r.views(), nil) },
	)
}

// install turns forwarding on, after taking away what a killed predecessor left.
func (r *router) install() error {
	plan := kernel.Plan{Table: r.Table, RoutePriority: Priority}
	installed, err := r.host.Install(plan, r.state.path(undoFile))
	if errors.Is(err, kernel.ErrClaimed) {
		return &Error{Err: err, Hint: "one re6stnode babel can serve all interfaces; or give this one another --table"}
	}
	if err != nil {
		return fmt.Errorf("preparing the kernel: %w", err)
	}
	r.installed = installed
	return nil
}

func (r *router) makeSpeaker() (err error) {
	if r.id == (babel.RouterID{}) {
		if r.id, err = r.state.routerID(); err != nil {
			return err
		}
	}
	seqno, err := r.state.seqno()
	if err != nil {
		return err
	}
	r.speaker = speaker.New(speaker.Config{
		Engine: babel.Config{RouterID: r.id, Seqno: seqno, Rand: newRand()},
		FIB:    &tidyFIB{FIB: r.host}, Table: r.Table, Priority: Priority, Protocol: kernel.Protocol,
		Reserve: r.state.reserve, Log: r.Log,
	})
	for _, a := range r.Announce {
		r.speaker.Originate(a.Prefix, a.From, 0)
	}
	return nil
}

// newRand seeds from the system: MAC nonces come from it, so it must not be
// guessed.
func newRand() *mathrand.Rand {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails (crypto/rand)
	return mathrand.New(mathrand.NewChaCha8(seed))
}

// stopPatience is how long one task may take to end before the next is told to.
const stopPatience = 5 * time.Second

// runTasks runs all until ctx ends or one of them fails, and stops them in the
// reverse order, each after the one before it has ended.
func runTasks(ctx context.Context, tasks ...func(context.Context) error) error {
	type running struct {
		stop context.CancelFunc
		done chan error
	}
	failed := make(chan error, len(tasks)) // each sends once at most
	var all []running
	for _, t := range tasks {
		own, stop := context.WithCancel(context.WithoutCancel(ctx))
		r := running{stop, make(chan error, 1)}
		all = append(all, r)
		go func() {
			err := t(own)
			if own.Err() == nil {
				failed <- errors.Join(err, errEnded)
			}
			r.done <- err
		}()
	}
	var cause error
	select {
	case <-ctx.Done():
	case cause = <-failed:
	}
	for i := len(all) - 1; i >= 0; i-- {
		all[i].stop()
		select {
		case err := <-all[i].done:
			if cause == nil {
				cause = err
			}
		case <-time.After(stopPatience):
			cause = errors.Join(cause, errStuck)
		}
	}
	return cause
}

var (
	errEnded = errors.New("a part of the router ended unasked")
	errStuck = errors.New("a part of the router does not stop")
)
