package node

import (
	"net/netip"
	"slices"

	"re6st/addressing"
	"re6st/internal/identity"
	"re6st/internal/kernel"
	"re6st/internal/status"
)

// address4 is the node's IPv4 address: the first that a host of its subnet can
// have. Without a subnet there is none, and the node still carries IPv4 for
// others: their routes have IPv6 next hops (RFC 9229).
func address4(n identity.Node) netip.Addr {
	if !n.IPv4.IsValid() {
		return netip.Addr{}
	}
	return addressing.NodeAddress(n.IPv4)
}

// originateOwn tells Babel what this node originates for its life: its prefix and
// its IPv4 subnet.
func (d *daemon) originateOwn() {
	for _, p := range ownPrefixes(d.member.self) {
		d.speaker.Originate(p, netip.Prefix{}, 0)
	}
}

func ownPrefixes(n identity.Node) []netip.Prefix {
	if !n.IPv4.IsValid() {
		return []netip.Prefix{n.Prefix}
	}
	return []netip.Prefix{n.Prefix, n.IPv4}
}

// ipv4Health: that an IPv4 subnet was asked for and none was left is known from
// the answer to the enrolment alone.
func (d *daemon) ipv4Health() []status.Health {
	if d.member.self.IPv4.IsValid() || !d.member.registry.IPv4Exhausted {
		return nil
	}
	return []status.Health{{
		Code: "ipv4_exhausted",
		Text: "the network had no IPv4 subnet left when this node joined: it has no IPv4 address in the mesh, and machines that speak only IPv4 cannot be behind it",
	}}
}

// routeWriter writes Babel's routes so that this host's own packets to the mesh leave
// with its mesh address: to another one nobody there has a way back.
type routeWriter struct {
	host   *kernel.Host
	from   netip.Addr
	from4  netip.Addr // zero: none
	beside *beside
	ways   *ways
}

func (f routeWriter) Apply(changes []kernel.RouteChange) []error {
	for i := range changes {
		r := &changes[i].Route
		switch {
		case r.Type != kernel.Unicast:
		case r.Dst.Addr().Is6():
			r.PrefSrc = f.from
		default:
			r.PrefSrc = f.from4
		}
	}
	f.ways.note(changes)
	n := len(changes)
	plain := f.withoutSource(changes)
	f.beside.note(slices.Concat(changes, plain))
	return f.host.Apply(append(changes[:n:n], halves(plain)...))[:n]
}

// withoutSource are routes for this host's own packets to what is announced for
// sources of the mesh alone, NAT64's prefix: an unbound socket has no source yet,
// so that the kernel would not see such a route, and take the host's default.
func (f routeWriter) withoutSource(changes []kernel.RouteChange) []kernel.RouteChange {
	var all []kernel.RouteChange
	for _, c := range changes {
		if bits := c.Route.Dst.Bits(); bits > 0 && bits < 128 && c.Route.Src.IsValid() && c.Route.Src == f.beside.mesh() {
			c.Route.Src = netip.Prefix{}
			all = append(all, c)
		}
	}
	return all
}

// halves makes two longer ones of each route: where Linux has a source-specific
// route for a destination it does not find one for any source to the very same.
func halves(changes []kernel.RouteChange) []kernel.RouteChange {
	var all []kernel.RouteChange
	for _, c := range changes {
		p := c.Route.Dst
		bits := p.Bits() + 1
		upper := p.Addr().As16()
		upper[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
		for _, a := range []netip.Addr{p.Addr(), netip.AddrFrom16(upper)} {
			c.Route.Dst = netip.PrefixFrom(a, bits)
			all = append(all, c)
		}
	}
	return all
}
