package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"

	"re6st/babel"
	"re6st/babel/speaker"
	"re6st/internal/fib"
	"re6st/internal/gateway"
	"re6st/internal/kernel"
	"re6st/internal/lan"
	"re6st/internal/status"
	"re6st/registry/client"
	"re6st/registry/network"
	"re6st/tunnel/agent"
	"re6st/tunnel/wg"
)

// A daemon is a running node: the parts, and what they share.
type daemon struct {
	options   Options
	log       *slog.Logger
	started   time.Time
	state     *state
	member    *membership
	instance  string // hash of the state directory
	networks  []netip.Prefix
	origins   []netip.Prefix // to be announced beside the prefix and the IPv4 subnet
	beside    *beside
	host      *kernel.Host
	installed *kernel.Installed
	backend   wg.Backend
	documents *documents
	speaker   *speaker.Speaker
	routing   *routing
	agent     *agent.Agent
	client    *client.Client
	directory *directory
	claims    *claims
	keeper    *keeper
	lans      *lan.LAN // nil: none
	lanPlan   lanPlan
	ways      ways
	edge      edge
	signpost  *signpost
	tracer    *tracer
	gateway   *gateway.Gateway // nil: none
	dns       *nameService     // nil: none
	nat64     *nat64Service    // nil: none

	// forwarding is the kernel's table as the shortcuts follow it; nil: everything is
	// the stack's.
	forwarding atomic.Pointer[fib.Table]

	flows       flowMeter
	counting    counting
	metrics     net.Listener // nil: none
	translation translation
	transit     transit
	shortcut    shortcut
	lanPorts    lanPorts

	addressesDue nudge          // watchAddresses looks again
	originated   []netip.Prefix // owned by followAnnounced
}

// Run brings the node up and keeps it up until ctx ends. What it put into the
// kernel is gone when it returns.
func Run(ctx context.Context, o Options) error {
	if os.Geteuid() != 0 {
		return fail(Failed, "run it as root: it makes interfaces, routes and rules", "no permission to change the network (uid %d)", os.Geteuid())
	}
	frugal()
	d := &daemon{options: o, log: o.Log, started: time.Now()}
	undo, err := d.build()
	defer undo()
	if err != nil {
		return err
	}
	listener, err := status.Listen(o.StateDir)
	if err != nil {
		return fmt.Errorf("making the local socket: %w", err)
	}
	d.log.Info("node is up", "name", d.member.self.Name, "address", d.member.self.Address, "prefix", d.member.self.Prefix, "router_id", d.member.self.RouterID)
	// The first tasks carry what the later ones rely on; they end last.
	return portHint(runTasks(ctx, d.log, []task{
		{"kernel", func(ctx context.Context) error { return d.installed.Watch(ctx, d.log) }},
		{"shortcut", d.runShortcut},
		{"tunnels", d.agent.Run},
		{"NAT64", d.runNAT64},
		{"gateway", d.runGateway},
		{"routing", d.speaker.Run},
		{"certificates", d.keepCertificates},
		{"announced prefixes", d.followAnnounced},
		{"transit", d.watchTransit},
		{"links", d.watchLinks},
		{"traffic", d.watchTraffic},
		{"addresses", d.watchAddresses},
		{"directory", d.directory.Run},
		{"names", d.serveNames},
		{"edge", d.keepEdge},
		{"LANs", d.serveLANs},
		{"peer cache", d.keepPeers},
		{"local socket", func(ctx context.Context) error { return status.Serve(ctx, listener, d.views(), d.questions()) }},
		{"metrics", d.serveMetrics},
		{"memory", d.settle},
		{"readiness", d.announceReady},
	}))
}

// portHint says what to do about a port that another program has.
func portHint(err error) error {
	if port, ok := errors.AsType[*agent.PortError](err); ok {
		return fail(Failed, "end the program that has the port, or choose another with --port", "%w", port)
	}
	return err
}

// build makes all parts. What undo takes back is made so far, also on an error.
func (d *daemon) build() (undo func(), err error) {
	var undos []func()
	undo = func() {
		for i := len(undos) - 1; i >= 0; i-- {
			undos[i]()
		}
	}
	for _, step := range []func() (func(), error){d.openState, d.openMetrics, d.openGateway, d.openLANs, d.openKernel, d.openCounting, d.openBackend, d.installKernel, d.openShortcut, d.openNAT64, d.openEdge, d.openClient} {
		back, err := step()
		if err != nil {
			return undo, err
		}
		undos = append(undos, back)
	}
	d.makeClaims()
	d.makeDocuments()
	d.makeRouting()
	d.makeSignpost()
	d.makeTunnels()
	d.makeTracer()
	d.makeDirectory()
	if err := d.makeGateway(); err != nil {
		return undo, err
	}
	if err := d.makeNames(); err != nil {
		return undo, err
	}
	d.makeLANs()
	return undo, nil
}

func (d *daemon) openState() (func(), error) {
	s, err := openState(d.options.StateDir, d.log.Warn)
	if err != nil {
		return nil, err
	}
	d.state = s
	hash, err := status.Hash(d.options.StateDir)
	if err == nil {
		d.instance = hash[:8]
		d.member, err = s.loadMembership(time.Now())
	}
	if err != nil {
		s.close()
		return nil, err
	}
	d.networks = d.member.authority.Networks()
	d.beside, d.addressesDue = newBeside(d.networks), make(nudge, 1)
	if d.origins, err = chooseOrigins(d.options.Announce, d.member.self.Rights.Announce); err != nil {
		s.close()
		return nil, err
	}
	return s.close, nil
}

func (d *daemon) openKernel() (func(), error) {
	host, err := kernel.Open()
	if err != nil {
		return nil, fmt.Errorf("opening netlink: %w", err)
	}
	d.host = host
	return func() { _ = host.Close() }, nil
}

func (d *daemon) openBackend() (func(), error) {
	removed, err := wg.RemoveLeftovers(d.instance)
	if err != nil {
		return nil, fmt.Errorf("removing interfaces that an earlier daemon left: %w", err)
	}
	if len(removed) > 0 {
		d.log.Info("removed interfaces that an earlier daemon left", "interfaces", removed)
	}
	ports := wg.PortRange{First: d.options.FirstPort, Last: d.options.LastPort}
	backend, reason, err := wg.Select(d.options.WireGuard, ports, d.log)
	switch {
	case errors.Is(err, wg.ErrUnsupported):
		hint := "try --wireguard auto"
		if d.options.WireGuard == wg.Auto {
			hint = "one of the two is enough: modprobe wireguard, or modprobe tun"
		}
		return nil, fail(Failed, hint, "no WireGuard: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	case err != nil:
		return nil, fail(Usage, "--wireguard is auto, kernel or userspace", "%w", err)
	}
	d.log.Info("WireGuard", "backend", backend.Kind(), "why", reason)
	d.backend = backend
	d.openRelay()
	return func() { _ = backend.Close() }, nil
}

func (d *daemon) installKernel() (func(), error) {
	// A damaged record cannot be followed; what else marks things as ours still
	// counts.
	d.state.load(undoFile, func(data []byte) error { return json.Unmarshal(data, new(map[string]any)) })
	installed, err := d.host.Install(kernel.Plan{
		Networks: d.networks, Own: ownPrefixes(d.member.self), Address: d.member.self.Address, Address4: address4(d.member.self), Interface: d.options.AddressInterface,
		Table: d.options.Table, Mark: kernel.DefaultMark, RulePriority: d.options.RulePriority, InstanceID: d.instance, Forward4: d.nat64Prefix().IsValid(),
	}, d.state.path(undoFile))
	if errors.Is(err, kernel.ErrClaimed) {
		return nil, fail(Failed, "give this instance a --table and a --rule-priority of its own", "%w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("preparing the kernel: %w", err)
	}
	d.installed = installed
	if err := installed.SetOrigins(d.origins); err != nil {
		return func() { _ = installed.Remove() }, fmt.Errorf("preparing the kernel: %w", err)
	}
	return func() {
		if err := installed.Remove(); err != nil {
			d.log.Error("putting the kernel back", "err", err)
		}
	}, nil
}

func (d *daemon) openClient() (func(), error) {
	c, err := client.New(client.Options{
		URLs: d.member.registry.URLs, Authority: d.member.authority, Certificate: &d.member.certificate, Dial: dialer(), Now: time.Now,
	})
	if err != nil {
		return nil, stateError("join again with a new token", "the registry's URLs %q: %w", d.member.registry.URLs, err)
	}
	d.client = c
	return c.Close, nil
}

func (d *daemon) makeDocuments() {
	d.documents = &documents{
		authority: d.member.authority, log: d.log,
		store:   func(jws string) error { return d.state.write(networkFile, []byte(jws), 0o644) },
		changed: d.apply,
		newest:  d.member.document, jws: d.member.documentJWS,
	}
	if d.documents.newest.Version == 0 {
		d.documents.newest.Parameters = network.Defaults()
	}
}

func (d *daemon) makeRouting() {
	d.speaker = speaker.New(speaker.Config{
		Engine: babel.Config{
			RouterID: babel.RouterID(d.member.self.RouterID), Seqno: d.state.loadSeqno(), Rand: newRand(),
			Import: d.keeper.judge,
			Export: d.export,
		},
		FIB: routeWriter{d.host, d.member.self.Address, address4(d.member.self), d.beside, &d.ways}, Table: d.options.Table,
		Reserve: d.state.reserveSeqno, Log: d.log,
		Event: func(e babel.Event) {
			if e.Kind == babel.NeighbourDown {
				d.agent.LinkLost(e.Interface) // d.agent is made before the speaker runs
			}
		},
	})
	d.routing = newRouting(d.speaker, d.documents.newest.Parameters)
	d.routing.goes = d.tunnelGoes
	d.originateOwn()
}

func (d *daemon) makeTunnels() {
	d.agent = agent.New(agent.Config{
		Authority: d.member.authority, Certificate: d.member.certificate, Self: d.member.self,
		Backend: d.backend, Routing: d.routing, Documents: accepter{d.documents}, Certificates: d.keeper, NextHop: d.signpost.nextHop,
		Port: d.options.Port, Mark: kernel.DefaultMark,
		Alias:      func(peer string) string { return kernel.Alias(d.instance, peer) },
		Group:      kernel.Group(d.instance),
		Parameters: d.tunnelParameters(d.documents.newest.Parameters), NoTransit: d.options.NoTransit,
		Seeds: d.options.Peers, Rand: newRand(), Log: d.log,
	})
	d.agent.SetPeers(d.state.loadPeers(d.networks))
	if doc, jws := d.documents.current(); jws != "" {
		d.agent.SetDocument(doc.Version, jws)
	}
}

// newRand seeds from the system: MAC nonces and session choices come from it,
// so it must not be guessed.
func newRand() *mathrand.Rand {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails (crypto/rand)
	return mathrand.New(mathrand.NewChaCha8(seed))
}

// announceReady tells the service manager when the control API answers.
func (d *daemon) announceReady(ctx context.Context) error {
	select {
	case <-d.agent.Ready():
		if _, err := systemd.SdNotify(false, systemd.SdNotifyReady); err != nil {
			d.log.Warn("telling the service manager", "err", err)
		}
	case <-ctx.Done():
	}
	<-ctx.Done()
	return nil
}
