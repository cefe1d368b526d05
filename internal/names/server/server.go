package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"re6st/internal/names"
)

const (
	// retryEvery is how often an address is tried that could not be had.
	retryEvery = 5 * time.Second
	// askingMax bounds the questions of clients that wait for others at a time.
	askingMax = 256
)

// Config says where to listen and what to do.
type Config struct {
	Listen  []netip.AddrPort
	Forward []netip.AddrPort // resolvers for what is not of the mesh; may be empty
	// IsOurs says for whom others are asked. Called by many goroutines.
	IsOurs func(netip.Addr) bool
	Log    *slog.Logger
	Retry  time.Duration // zero: 5 s
}

// Server answers questions.
type Server struct {
	config    Config
	directory atomic.Pointer[names.Directory]
	resolver  *resolver
	limits    *limits
	asking    chan struct{} // slots

	mu       sync.Mutex // guards the fields below
	troubles map[netip.AddrPort]error
}

// New makes a server that knows nothing yet: see SetDirectory.
func New(c Config) *Server {
	if c.Retry == 0 {
		c.Retry = retryEvery
	}
	return &Server{
		config: c, resolver: newResolver(c.Forward), limits: newLimits(),
		asking: make(chan struct{}, askingMax), troubles: make(map[netip.AddrPort]error),
	}
}

// SetDirectory replaces what is answered from.
func (s *Server) SetDirectory(d *names.Directory) { s.directory.Store(d) }

// Trouble is an address on which nobody is answered.
type Trouble struct {
	Address netip.AddrPort
	Err     error
}

// Troubles lists what does not work now.
func (s *Server) Troubles() []Trouble {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Trouble
	for _, a := range s.config.Listen {
		if err := s.troubles[a]; err != nil {
			all = append(all, Trouble{a, err})
		}
	}
	return all
}

// setTrouble tells whether it is news.
func (s *Server) setTrouble(a netip.AddrPort, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.troubles[a]
	s.troubles[a] = err
	return (old == nil) != (err == nil) || err != nil && old.Error() != err.Error()
}

// Run serves until ctx ends; it returns nil then, and never before.
func (s *Server) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, a := range slices.Compact(slices.Clone(s.config.Listen)) {
		all.Go(func() { s.keep(ctx, a) })
	}
	all.Wait()
	<-ctx.Done()
	return nil
}

// keep serves one address, and tries again where that ends.
func (s *Server) keep(ctx context.Context, a netip.AddrPort) {
	for ctx.Err() == nil {
		err := s.serve(ctx, a)
		if ctx.Err() != nil {
			return
		}
		if s.setTrouble(a, explained(err)) {
			s.config.Log.Warn("answering DNS", "address", a, "err", explained(err))
		}
		pause(ctx, s.config.Retry)
	}
}

func explained(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return errors.New("the port is in use (see: ss -lnptu); stop the program that has it, or choose another with --dns ADDR:PORT")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return errors.New("the host has no such address")
	}
	return err
}

// serve opens both sockets and serves until one of them fails or ctx ends. The
// goroutines that it starts have ended when it returns.
func (s *Server) serve(ctx context.Context, a netip.AddrPort) error {
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(a))
	if err != nil {
		return fmt.Errorf("listening on %v (UDP): %w", a, err)
	}
	defer udp.Close()
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(a))
	if err != nil {
		return fmt.Errorf("listening on %v (TCP): %w", a, err)
	}
	defer tcp.Close()
	if s.setTrouble(a, nil) {
		s.config.Log.Info("answering DNS again", "address", a)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { udp.Close(); tcp.Close() })
	defer stop()
	var both sync.WaitGroup
	failures := make(chan error, 2) // one each
	both.Go(func() { failures <- s.serveUDP(ctx, udp); cancel() })
	both.Go(func() { failures <- s.serveTCP(ctx, tcp); cancel() })
	both.Wait()
	return errors.Join(<-failures, <-failures)
}

// answer works on one message. wait is nil where that is all; else it makes the
// answer, and takes as long as others do.
func (s *Server) answer(message []byte, from netip.Addr, isTCP bool) (reply *dns.Msg, wait func(context.Context) *dns.Msg) {
	d := s.directory.Load()
	if d == nil {
		return nil, nil
	}
	mayAsk := len(s.config.Forward) > 0 && s.config.IsOurs(from)
	out := d.Answer(message, names.Client{TCP: isTCP, Recursion: mayAsk})
	if out.Ask == nil {
		return out.Reply, nil
	}
	return nil, func(ctx context.Context) *dns.Msg { return s.inquire(ctx, out.Ask) }
}

// inquire asks others, unless too many wait for them already.
func (s *Server) inquire(ctx context.Context, i *names.Inquiry) *dns.Msg {
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	default:
		return i.Reply(nil, nil)
	}
	first := s.resolver.ask(ctx, i.First())
	var second *dns.Msg
	if q, ok := i.Second(first); ok {
		second = s.resolver.ask(ctx, q)
	}
	return i.Reply(first, second)
}
