package node

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"re6st/internal/gateway"
	"re6st/internal/kernel"
	"re6st/internal/status"
)

// edgeInterval is how often the edge is compared with what it should be: members
// on a LAN come and go, and firewalls are flushed.
const edgeInterval = 5 * time.Second

// edge is what binds sources at this node, for all parts that know some of it.
type edge struct {
	mu      sync.Mutex // guards the fields below
	table   gateway.Edge
	uplinks []string // of a gateway
	problem error    // why sources are not bound
	// nested: over which families the underlay is another node's LAN.
	nested []string
}

// openEdge binds sources before there is a tunnel. Without nftables the node goes
// on, and says so.
func (d *daemon) openEdge() (func(), error) {
	if err := gateway.RemoveEdge(d.instance); err != nil {
		return nil, err
	}
	d.putEdge()
	return func() {
		d.edge.mu.Lock()
		defer d.edge.mu.Unlock()
		if err := d.edge.table.Remove(); err != nil {
			d.log.Error("putting the firewall back", "err", err)
		}
	}, nil
}

// uplinksChanged lets a gateway's traffic in before any comes.
func (d *daemon) uplinksChanged(v4, v6 string) error {
	d.edge.mu.Lock()
	d.edge.uplinks = nil
	for _, name := range []string{v4, v6} {
		if name != "" && !slices.Contains(d.edge.uplinks, name) {
			d.edge.uplinks = append(d.edge.uplinks, name)
		}
	}
	d.edge.mu.Unlock()
	d.putEdge()
	return d.gatewayUplinks(v4, v6)
}

func (d *daemon) keepEdge(ctx context.Context) error {
	tick := time.NewTicker(edgeInterval)
	defer tick.Stop()
	for {
		d.putEdge()
		d.lookUnderlay()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (d *daemon) putEdge() {
	d.edge.mu.Lock()
	defer d.edge.mu.Unlock()
	err := d.edge.table.Put(d.edgeConfigLocked())
	if err != nil && d.edge.problem == nil {
		d.log.Warn("sources of packets into the mesh are not checked", "err", err)
	}
	d.edge.problem = err
}

func (d *daemon) edgeConfigLocked() gateway.EdgeConfig {
	self := d.member.self
	c := gateway.EdgeConfig{
		Instance: d.instance, Networks: d.networks, Own: append([]netip.Prefix{self.Prefix}, d.origins...),
		Exempt: d.edge.uplinks, Mark: kernel.DefaultMark, Group: kernel.Group(d.instance),
	}
	if self.IPv4.IsValid() {
		c.Own = append(c.Own, self.IPv4)
	}
	c.Own = append(c.Own, d.borrowed()...)
	if d.options.Gateway.On {
		c.Only = append([]string{"lo"}, d.lanPlan.interfaces()...)
	}
	if d.lans == nil {
		return c
	}
	for _, name := range d.lanPlan.interfaces() {
		for _, p := range d.lans.Members(name) {
			if owner, isMember := d.claims.OwnerOf(p.Addr()); isMember && owner.Prefix.Overlaps(p) && owner.Prefix.Bits() <= p.Bits() {
				c.Guests = append(c.Guests, gateway.Guest{Interface: name, Prefix: p})
			}
		}
	}
	return c
}

// maxBorrowed bounds the addresses that other members' LANs give this host.
const maxBorrowed = 16

// borrowed are addresses that this host has from another member's LAN: its own
// connections may use them.
func (d *daemon) borrowed() []netip.Prefix {
	addresses, err := d.host.AllAddresses()
	if err != nil {
		return nil
	}
	self := d.member.self
	var all []netip.Prefix
	for _, a := range addresses {
		addr := a.Addr()
		if self.Prefix.Contains(addr) || (self.IPv4.IsValid() && self.IPv4.Contains(addr)) || !d.isInside(netip.PrefixFrom(addr, addr.BitLen())) {
			continue
		}
		if _, isMember := d.claims.OwnerOf(addr); isMember && len(all) < maxBorrowed {
			all = append(all, netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}

// outside are addresses of the Internet, to ask which source leads there. Nothing
// is sent.
var outside = map[string]netip.AddrPort{
	"IPv6": netip.MustParseAddrPort("[2001:4860::1]:9"),
	"IPv4": netip.MustParseAddrPort("8.8.8.8:9"),
}

// lookUnderlay finds out whether this node's way to the Internet is another
// node's LAN: its outer packets would run inside the mesh that they carry. They
// are dropped, and the other family is used.
func (d *daemon) lookUnderlay() {
	var nested []string
	for family, to := range outside {
		source, err := sourceTowards(to)
		if err == nil && slices.ContainsFunc(d.networks, func(n netip.Prefix) bool { return n.Contains(source) }) {
			nested = append(nested, family)
		}
	}
	slices.Sort(nested)
	d.edge.mu.Lock()
	defer d.edge.mu.Unlock()
	if !slices.Equal(nested, d.edge.nested) {
		d.log.Warn("the way to the Internet is another node's LAN; tunnels do not use it", "families", nested)
	}
	d.edge.nested = nested
}

// sourceTowards is the address from which our outer packets would go there.
func sourceTowards(to netip.AddrPort) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := markedDialer()(ctx, "udp", to.String())
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	from, _ := c.LocalAddr().(*net.UDPAddr)
	return from.AddrPort().Addr().Unmap(), nil
}

// edgeDropped is nil where sources are not bound.
func (d *daemon) edgeDropped() map[string]uint64 {
	d.edge.mu.Lock()
	defer d.edge.mu.Unlock()
	n, err := d.edge.table.Dropped()
	if err != nil {
		return nil
	}
	return n
}

// edgeHealth says what an operator should know of it.
func (d *daemon) edgeHealth() (list []status.Health) {
	d.edge.mu.Lock()
	defer d.edge.mu.Unlock()
	if d.edge.problem != nil {
		list = append(list, status.Health{Code: "sources-not-bound", Text: "packets with any source can enter the mesh here: " + d.edge.problem.Error()})
	}
	for _, family := range d.edge.nested {
		list = append(list, status.Health{Code: "underlay-inside-mesh", Text: "over " + family + " this host's way to the Internet is another node's LAN; tunnels use the other family, or none"})
	}
	return list
}
