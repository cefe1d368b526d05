package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"re6st/addressing"
	"re6st/internal/identity"
	"re6st/tunnel"
	"re6st/tunnel/control"
	"re6st/tunnel/wg"
)

// Config is what an Agent is made of.
type Config struct {
	Authority   *identity.Authority
	Certificate tls.Certificate
	Self        identity.Node    // what the certificate says
	Now         func() time.Time // by which certificates are judged; nil: time.Now

	Backend   wg.Backend
	Routing   Routing
	Documents Documents
	// Certificates are those that the node has; nil: none.
	Certificates Certificates
	// NextHop says where a packet goes from this node; nil: that is not told.
	NextHop func(to, from netip.Addr) (control.NextHop, error)

	Port      uint16 // of the control API
	Mark      uint32 // of all sockets towards the underlay
	MTU       int    // of every tunnel; 0: wg.DefaultMTU
	Keepalive time.Duration
	Alias     func(peer string) string // ifalias of a tunnel to a peer; nil: none
	Group     uint32                   // of the tunnels' interfaces; 0: the kernel's default

	Parameters tunnel.Parameters
	NoTransit  bool             // from the beginning; see SetNoTransit
	Seeds      []netip.AddrPort // control APIs of nodes whose identity is not known yet (--peer)
	Rand       *rand.Rand
	Log        *slog.Logger

	transport transport // tests have their own
}

// Documents is what the node does with the signed documents. It is called from several goroutines.
type Documents interface {
	// Accept verifies a document, keeps and applies it if it is newer than the one that the node has, and returns its
	// version.
	Accept(jws string) (version uint64, err error)
}

const (
	defaultKeepalive  = 10 * time.Second
	silentKeepalives  = 3 // intervals without a packet, after which a tunnel is dead
	callsMax          = 32
	stopNotify        = 700 * time.Millisecond
	stopDevices       = time.Second
	handshakePoll     = 100 * time.Millisecond
	statsPoll         = 5 * time.Second
	routesPoll        = 10 * time.Second
	routesPollYoung   = time.Second
	routesYoungAge    = 2 * time.Minute
	housekeepingEvery = 10 * time.Second
	exchangeEvery     = 5 * time.Minute // each one is a TLS handshake at both ends; news of documents does not wait for it
)

var errNotRunning = errors.New("the agent is not running")

// Agent owns the tunnels of a node.
type Agent struct {
	config    Config
	log       *slog.Logger
	transport transport
	linkLocal netip.Addr
	box       *mailbox
	ready     chan struct{}

	workers sync.WaitGroup // calls and device operations; Run waits for them
	calls   chan struct{}  // one slot for each call under way

	// Everything below belongs to the loop.
	ctx        context.Context // of the calls
	manager    *tunnel.Manager
	started    time.Time
	devices    map[control.TunnelID]*device
	byIndex    map[int]*device
	pending    map[uint64]*offerCall
	nextCall   uint64
	endpoints  []netip.AddrPort // of our control API, as we know them
	noTransit  bool             // this node carries nothing for others
	neighbours map[tunnel.PeerID]tunnel.Peer
	routed     map[tunnel.PeerID]bool
	links      map[int]Link
	gossip     gossip
	due        timetable
}

// timetable is when the loop's own chores are due.
type timetable struct {
	handshakes, stats, routes, housekeeping, exchange time.Time
}

// New makes an agent; Run starts it. Methods may be called at once, and take effect when it runs.
func New(c Config) *Agent {
	if c.MTU == 0 {
		c.MTU = wg.DefaultMTU
	}
	if c.Keepalive == 0 {
		c.Keepalive = defaultKeepalive
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Parameters == (tunnel.Parameters{}) {
		c.Parameters = tunnel.DefaultParameters()
	}
	a := &Agent{
		config: c, log: c.Log, transport: c.transport, linkLocal: addressing.LinkLocal(c.Self.RouterID),
		box: newMailbox(), ready: make(chan struct{}), calls: make(chan struct{}, callsMax),
		devices: make(map[control.TunnelID]*device), byIndex: make(map[int]*device),
		pending: make(map[uint64]*offerCall), neighbours: make(map[tunnel.PeerID]tunnel.Peer),
		routed: make(map[tunnel.PeerID]bool), gossip: newGossip(),
	}
	if a.transport == nil {
		a.transport = newTransport(transportConfig{
			Authority: c.Authority, Certificate: c.Certificate, Now: c.Now, Port: c.Port, Mark: c.Mark,
			Address: c.Self.Address, Met: met(c.Certificates), Log: c.Log,
		})
	}
	var networks []netip.Prefix
	if c.Authority != nil {
		networks = c.Authority.Networks()
	}
	a.manager = tunnel.New(tunnel.Config{
		Self: c.Self.RouterID, Networks: networks, MTU: c.MTU, Silence: silentKeepalives * c.Keepalive,
		Rand: c.Rand, Parameters: c.Parameters,
	})
	a.noTransit = c.NoTransit
	a.manager.SetNoTransit(time.Time{}, c.NoTransit)
	return a
}

func (a *Agent) String() string { return "tunnels" }

// Ready is closed when the control API can be called.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Run serves and keeps the tunnels until ctx ends; then it closes all of them, which takes two seconds at most. It
// returns an error only if the control API cannot be served.
func (a *Agent) Run(ctx context.Context) error {
	defer a.box.close()
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	served := make(chan error, 1) // Serve's result; read once
	go func() { served <- a.transport.Serve(serving, api{a}, func() { close(a.ready) }) }()
	select {
	case <-a.ready:
	case err := <-served:
		return fmt.Errorf("serving the control API: %w", cause(err))
	}

	var cancelCalls context.CancelFunc
	a.ctx, cancelCalls = context.WithCancel(context.WithoutCancel(ctx))
	err := a.loop(ctx, served)
	a.stop()
	cancelCalls()
	stopServing()
	a.finish()
	a.box.close()
	if err == nil {
		<-served
	}
	return err
}

// finish waits for all workers and takes what they still have to say: a device that was being made is removed then.
func (a *Agent) finish() {
	for {
		a.workers.Wait()
		posts := a.box.take()
		if len(posts) == 0 {
			return
		}
		for _, f := range posts {
			f(time.Now())
		}
	}
}

func cause(err error) error {
	if err == nil {
		return errors.New("it stopped by itself")
	}
	return err
}

// loop is the only place that reads the clock and touches the machine.
func (a *Agent) loop(ctx context.Context, served <-chan error) error {
	a.started = time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		for _, f := range a.box.take() {
			f(now)
		}
		a.chores(now)
		a.manager.Advance(now)
		a.carryOut(now)
		timer.Reset(max(0, a.nextWake(now).Sub(now)))
		select {
		case <-ctx.Done():
			return nil
		case err := <-served:
			return fmt.Errorf("serving the control API: %w", cause(err))
		case <-a.box.filled:
		case <-timer.C:
		}
	}
}

// nextWake is the earliest of what the machine and the loop itself want.
func (a *Agent) nextWake(now time.Time) time.Time {
	d := a.manager.Deadline()
	for _, x := range []time.Time{a.due.stats, a.due.routes, a.due.housekeeping, a.due.exchange} {
		if x.Before(d) {
			d = x
		}
	}
	if a.hasHandshakes() && a.due.handshakes.Before(d) {
		d = a.due.handshakes
	}
	if least := now.Add(time.Millisecond); d.Before(least) {
		return least // whatever goes wrong, the loop does not spin
	}
	return d
}

// chores does what is due of the loop's own.
func (a *Agent) chores(now time.Time) {
	if !now.Before(a.due.stats) {
		a.due.stats = now.Add(statsPoll)
		a.pollStats(func(*device) bool { return true })
	}
	if !now.Before(a.due.handshakes) {
		a.due.handshakes = now.Add(handshakePoll)
		a.pollStats(func(d *device) bool { return d.connected && !d.attached })
	}
	if !now.Before(a.due.routes) {
		a.due.routes = now.Add(a.routesInterval(now))
		a.pollRoutes(now)
	}
	if !now.Before(a.due.housekeeping) {
		a.due.housekeeping = now.Add(housekeepingEvery)
		a.callSeeds()
	}
	if !now.Before(a.due.exchange) {
		a.due.exchange = now.Add(a.jitter(exchangeEvery))
		a.exchangePeers()
	}
}

func (a *Agent) jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.75 + 0.5*a.config.Rand.Float64()))
}

// stop closes everything in order: first the routing leaves the tunnels, then the peers are told, then the devices go.
func (a *Agent) stop() {
	now := time.Now()
	a.manager.Stop(now)
	out := a.manager.Output()
	var detached, told, destroyed sync.WaitGroup
	notifyCtx, cancel := context.WithTimeout(a.ctx, stopNotify)
	defer cancel()
	for _, x := range out.Actions {
		switch x := x.(type) {
		case tunnel.Detach:
			a.detach(x, &detached)
		case tunnel.Reply:
			a.reply(now, x)
		default:
		}
	}
	waitFor(&detached, stopDevices)
	for _, x := range out.Actions {
		if n, ok := x.(tunnel.Notify); ok {
			told.Go(func() { a.notify(notifyCtx, n, control.Versions{}) })
		}
	}
	told.Wait()
	for id := range a.devices {
		a.destroy(id, &destroyed)
	}
	waitFor(&destroyed, stopDevices)
	for _, c := range a.pending {
		c.finish(control.Answer{}, control.Refuse(control.Closing, "the node is stopping"))
	}
	a.logEvents(out.Events)
}

// waitFor waits for a group, but not for ever: a kernel that does not answer must not keep the daemon.
func waitFor(g *sync.WaitGroup, most time.Duration) {
	done := make(chan struct{})
	go func() { g.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(most):
	}
}

// The methods below may be called from any goroutine.

// SetPeers tells of nodes, as the registry, a cache or the operator knows them.
func (a *Agent) SetPeers(peers []tunnel.Peer) {
	a.box.post(func(now time.Time) { a.manager.LearnPeers(now, peers, false) })
}

// ForgetPeer drops a node and all connections with it.
func (a *Agent) ForgetPeer(prefix netip.Prefix) {
	a.transport.Forget(prefix)
	a.box.post(func(now time.Time) { a.manager.ForgetPeer(now, addressing.RouterIDOf(prefix)) })
}

// SetCarried tells all prefixes that the mesh carries, its own among them: no endpoint lies in one of them.
func (a *Agent) SetCarried(prefixes []netip.Prefix) {
	a.transport.SetNetworks(prefixes)
	a.box.post(func(now time.Time) { a.manager.SetNetworks(now, prefixes) })
}

// SetParameters changes the numbers of the rule.
func (a *Agent) SetParameters(p tunnel.Parameters) {
	a.box.post(func(now time.Time) { a.manager.SetParameters(now, p) })
}

// SetNoTransit tells that this node carries nothing for others, or does again. Peers learn it when they next ask.
func (a *Agent) SetNoTransit(no bool) {
	a.box.post(func(now time.Time) {
		a.noTransit = no
		a.manager.SetNoTransit(now, no)
	})
}

// SetAddresses tells where this node is on the underlay: the addresses of its interfaces, best first, and endpoints of
// the control API that the operator named (a port that a router forwards).
func (a *Agent) SetAddresses(addresses []netip.Addr, named []netip.AddrPort) {
	a.box.post(func(now time.Time) {
		var all []netip.Addr
		endpoints := named
		for _, e := range named {
			all = append(all, e.Addr())
		}
		for _, x := range addresses {
			all = append(all, x)
			endpoints = append(endpoints[:len(endpoints):len(endpoints)], netip.AddrPortFrom(x, a.config.Port))
		}
		a.endpoints = control.Usable(endpoints, nil)
		a.manager.SetAddresses(now, all)
	})
}

// SetDocument tells the network document that the node has now; the neighbours get it at once.
func (a *Agent) SetDocument(version uint64, jws string) {
	a.box.post(func(now time.Time) { a.haveDocument(now, version, jws, netip.Prefix{}) })
}

// LinkLost tells that the routing hears nobody on an interface, though it should: the tunnel is closed and replaced.
func (a *Agent) LinkLost(index int) {
	a.box.post(func(now time.Time) {
		if d := a.byIndex[index]; d != nil {
			a.manager.NeighbourLost(now, d.id)
		}
	})
}

// SetDemand tells where traffic goes now, this node's own and that of others.
func (a *Agent) SetDemand(d []tunnel.Demand) {
	a.box.post(func(now time.Time) { a.manager.SetDemand(now, d) })
}

// Peers returns the nodes that are known, those first that answered last: what is worth keeping on disk.
func (a *Agent) Peers(ctx context.Context) ([]tunnel.Peer, error) {
	return ask(ctx, a.box, func(time.Time) []tunnel.Peer { return a.manager.Peers() })
}
