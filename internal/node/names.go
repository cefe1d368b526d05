package node

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"re6st/addressing"
	"re6st/internal/identity"
	"re6st/internal/names"
	"re6st/internal/names/server"
	"re6st/internal/status"
)

const (
	dnsPort = 53
	// namesEvery is how often it is looked what changed; names that become known
	// are there at once.
	namesEvery = 2 * time.Second
	// namesPause lies between two directories: after a start certificates come in
	// hundreds.
	namesPause = 200 * time.Millisecond
	// pendingMax is how long a certificate that does not come keeps us from saying
	// that a name does not exist.
	pendingMax = time.Minute
)

// NamesOptions say where names are answered.
type NamesOptions struct {
	Listen  []string // off, or ADDR:PORT; empty: the node's own addresses, port 53
	Forward []string // ADDR or ADDR:PORT of resolvers for all other names
	Allow   []netip.Prefix
}

// namesPlan is NamesOptions as values.
type namesPlan struct{ listen, forward []netip.AddrPort }

func (o NamesOptions) plan(self identity.Node) (namesPlan, error) {
	var p namesPlan
	for _, text := range o.Listen {
		if text == "off" && len(o.Listen) == 1 && len(o.Forward) == 0 {
			return p, nil
		}
		a, err := addrPort(text, dnsPort)
		if err != nil || a.Addr().IsUnspecified() {
			return p, fail(Usage, "name one of the host's addresses, an IPv6 address with a port in brackets; or off", "--dns %q: want ADDR:PORT", text)
		}
		p.listen = append(p.listen, a)
	}
	for _, text := range o.Forward {
		a, err := addrPort(text, dnsPort)
		if err != nil || a.Addr().IsUnspecified() {
			return p, fail(Usage, "name a resolver, such as 9.9.9.9 or [2620:fe::fe]:53", "--dns-forward %q: want ADDR or ADDR:PORT", text)
		}
		p.forward = append(p.forward, a)
	}
	if len(o.Listen) == 0 {
		p.listen = append(p.listen, netip.AddrPortFrom(self.Address, dnsPort))
		if self.IPv4.IsValid() {
			p.listen = append(p.listen, netip.AddrPortFrom(addressing.NodeAddress(self.IPv4), dnsPort))
		}
	}
	for _, a := range p.forward {
		if slices.Contains(p.listen, a) {
			return p, fail(Usage, "name another resolver", "--dns-forward %v: that is this node itself", a)
		}
	}
	return p, nil
}

func addrPort(text string, port uint16) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(a.Unmap(), port), nil
	}
	a, err := netip.ParseAddrPort(text)
	if err == nil && a.Port() == 0 {
		err = fmt.Errorf("port 0")
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), err
}

// nameService keeps what is answered up to date.
type nameService struct {
	server  *server.Server
	plan    namesPlan
	own     atomic.Pointer[map[netip.Addr]bool] // the host's addresses
	serial  uint32
	waiting map[addressing.RouterID]time.Time // since when a certificate is missed
}

// makeNames reads the flags; a node that answers no names has nil.
func (d *daemon) makeNames() error {
	plan, err := d.options.Names.plan(d.member.self)
	if err != nil || len(plan.listen) == 0 {
		return err
	}
	d.dns = &nameService{plan: plan, waiting: make(map[addressing.RouterID]time.Time)}
	d.dns.server = server.New(server.Config{Listen: plan.listen, Forward: plan.forward, IsOurs: d.mayAskOthers, Log: d.log})
	d.updateAddresses()
	d.updateNames(time.Now(), true)
	return nil
}

// mayAskOthers: members, machines on LANs of members, and this host.
func (d *daemon) mayAskOthers(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	for _, p := range d.networks {
		if p.Contains(a) {
			return true
		}
	}
	for _, p := range d.options.Names.Allow {
		if p.Contains(a) {
			return true
		}
	}
	own := d.dns.own.Load()
	return own != nil && (*own)[a]
}

func (d *daemon) updateAddresses() {
	all, err := d.host.AllAddresses()
	if err != nil {
		d.log.Debug("listing addresses", "err", err)
		return
	}
	own := make(map[netip.Addr]bool, len(all))
	for _, a := range all {
		own[a.Addr()] = true
	}
	d.dns.own.Store(&own)
}

// serveNames answers until ctx ends.
func (d *daemon) serveNames(ctx context.Context) error {
	if d.dns == nil {
		<-ctx.Done()
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- d.dns.server.Run(ctx) }()
	ticker := time.NewTicker(namesEvery)
	defer ticker.Stop()
	version, pending, isStale := uint64(0), false, false
	for {
		changed := d.claims.Changed()
		doc, _ := d.documents.current()
		now := d.countPending(time.Now()) > 0
		if isStale || doc.Version != version || now != pending {
			version, pending, isStale = doc.Version, now, false
			d.updateNames(time.Now(), pending)
		}
		select {
		case err := <-done:
			return err
		case <-changed:
			// Read after the pause: what changes in it closes no channel of ours.
			wait(ctx, namesPause)
			isStale = true
		case <-ticker.C:
			d.updateAddresses()
		}
	}
}

func wait(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// countPending counts the nodes that can be reached, and whose names are not
// known yet. Those that stay unknown are given up.
func (d *daemon) countPending(now time.Time) (n int) {
	missed := make(map[addressing.RouterID]bool)
	for _, r := range d.speaker.Destinations() {
		id := addressing.RouterID(r.RouterID)
		if _, ok := d.claims.Owner(id); !ok && r.Prefix.Addr().Is6() && !r.From.IsValid() && d.isInside(r.Prefix) {
			missed[id] = true
		}
	}
	maps.DeleteFunc(d.dns.waiting, func(id addressing.RouterID, _ time.Time) bool { return !missed[id] })
	for id := range missed {
		since, ok := d.dns.waiting[id]
		if !ok {
			since = now
			d.dns.waiting[id] = now
		}
		if now.Sub(since) < pendingMax {
			n++
		}
	}
	return n
}

// updateNames makes a directory of what is known now.
func (d *daemon) updateNames(now time.Time, pending bool) {
	doc, _ := d.documents.current()
	d.dns.serial = max(d.dns.serial+1, uint32(now.Unix()))
	d.dns.server.SetDirectory(names.New(names.Config{
		Domain: doc.Domain, Networks: d.networks, NAT64: doc.Parameters.NAT64,
		Self: hostOf(d.member.self), Serial: d.dns.serial, Pending: pending,
	}, hostsOf(d.claims.All())))
}

func hostsOf(nodes iter.Seq[identity.Node]) iter.Seq[names.Host] {
	return func(yield func(names.Host) bool) {
		for n := range nodes {
			if !yield(hostOf(n)) {
				return
			}
		}
	}
}

func hostOf(n identity.Node) names.Host {
	h := names.Host{Name: n.Name, Address: n.Address, Prefix: n.Prefix, Subnet: n.IPv4, Issued: n.NotBefore, Ends: n.NotAfter, Serial: n.Serial}
	h.IPv4 = addressing.NodeAddress(n.IPv4) // invalid where there is none
	return h
}

// nameServers are the addresses at which machines of this node's LANs can ask.
func (d *daemon) nameServers() []netip.Addr {
	if d.dns == nil {
		return nil
	}
	var all []netip.Addr
	for _, a := range d.dns.plan.listen {
		silent := slices.ContainsFunc(d.dns.server.Troubles(), func(t server.Trouble) bool { return t.Address == a })
		if a.Port() == dnsPort && !silent && !a.Addr().IsLoopback() {
			all = append(all, a.Addr())
		}
	}
	return all
}

// namesHealth says where names are not answered.
func (d *daemon) namesHealth() (list []status.Health) {
	if d.dns == nil {
		return nil
	}
	for _, t := range d.dns.server.Troubles() {
		list = append(list, status.Health{Code: "dns-unavailable", Text: fmt.Sprintf("no names are answered on %v: %v", t.Address, t.Err)})
	}
	return list
}
