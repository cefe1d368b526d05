package lab

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
)

func outside(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	return string(out), err
}

// Family is what an underlay speaks.
type Family int

// The families of an underlay.
const (
	IPv4 Family = 1 << iota
	IPv6
	Dual = IPv4 | IPv6
)

func (f Family) String() string {
	return map[Family]string{IPv4: "IPv4 only", IPv6: "IPv6 only", Dual: "dual stack"}[f]
}

// Internet is a router with a cable, an IPv4 /24 and an IPv6 /64 for each host,
// and a firewall between them. No two hosts share a network.
//
//	host a ── 198.18.1.0/24, 2001:db8:f000:1::/64 ──┐
//	host b ── 198.18.2.0/24, 2001:db8:f000:2::/64 ──┤ router
//	host c ── 198.18.3.0/24                       ──┘
type Internet struct {
	Router *Host
	index  int
	ports  []*Port
	up     *Port // at another Internet, of a provider's
}

// Port is a host's place in an Internet.
type Port struct {
	Host   *Host
	Link   *Link // A is the host's end
	V4, V6 netip.Addr
	// Router4 and Router6 are the router's addresses there.
	Router4, Router6 netip.Addr
}

// Internet makes one without hosts.
func (l *Lab) Internet(name string) *Internet {
	l.TB.Helper()
	in := &Internet{Router: l.Host(name), index: l.internets}
	l.internets++
	for _, path := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		in.Router.Sysctl(path, "1")
	}
	if in.Router.HasNFTables() { // else all may talk
		in.Router.NFT("table inet lab {",
			"set denied { type ifname . ifname; }",
			"chain forward { type filter hook forward priority 0; iifname . oifname @denied counter drop; }",
			"}")
	}
	return in
}

// Ports lists the places in the order of their making.
func (in *Internet) Ports() []*Port { return slices.Clone(in.ports) }

// Attach connects a host, gives it addresses and default routes.
func (in *Internet) Attach(h *Host, f Family) *Port {
	h.Lab.TB.Helper()
	return in.attach(h, f, func() *Link { return h.Lab.lay(h, in.Router, "", "to-"+h.Name) })
}

// attach is Attach over a cable that lay makes.
func (in *Internet) attach(h *Host, f Family, lay func() *Link) *Port {
	t := h.Lab.TB
	t.Helper()
	n := len(in.ports) + 1
	if n > 250 {
		t.Fatalf("Internet %s has no address left for %s", in.Router.Name, h.Name)
	}
	p := &Port{Host: h, Link: lay()}
	in.ports = append(in.ports, p)
	mine, routers := p.Link.A, p.Link.B
	var my, its, ways []string
	if f&IPv4 != 0 {
		p.V4, p.Router4 = in.addr4(n, 2), in.addr4(n, 1)
		my = append(my, mine.add(netip.PrefixFrom(p.V4, 24))...)
		its = append(its, routers.add(netip.PrefixFrom(p.Router4, 24))...)
		ways = append(ways, fmt.Sprintf("route add 0.0.0.0/0 via %v dev %s", p.Router4, mine.Name))
	}
	if f&IPv6 != 0 {
		p.V6, p.Router6 = in.addr6(n, 2), in.addr6(n, 1)
		my = append(my, mine.add(netip.PrefixFrom(p.V6, 64))...)
		its = append(its, routers.add(netip.PrefixFrom(p.Router6, 64))...)
		ways = append(ways, fmt.Sprintf("route add ::/0 via %v dev %s", p.Router6, mine.Name))
	}
	routers.up(its...) // first: a route needs its carrier
	mine.up(append(my, ways...)...)
	return p
}

// The ranges are those for benchmarks (RFC 2544) and documentation (RFC 3849),
// beside the mesh's own 2001:db8:42::/48.
func (in *Internet) addr4(n, host int) netip.Addr {
	if in.index == 0 {
		return netip.AddrFrom4([4]byte{198, 18, byte(n), byte(host)})
	}
	// Others take those that carriers share among customers (RFC 6598).
	return netip.AddrFrom4([4]byte{100, 63 + byte(in.index), byte(n), byte(host)})
}

func (in *Internet) addr6(n, host int) netip.Addr {
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8, 0xf0, byte(in.index), 0, byte(n), 15: byte(host)}
	return netip.AddrFrom16(a)
}

// Only lets just those pairs talk for which allowed answers yes; it is asked
// for both orders.
func (in *Internet) Only(allowed func(a, b *Host) bool) {
	in.Router.Lab.TB.Helper()
	lines := []string{"flush set inet lab denied"}
	for _, a := range in.ports {
		for _, b := range in.ports {
			if a != b && !allowed(a.Host, b.Host) {
				lines = append(lines, in.element("add", a, b))
			}
		}
	}
	in.Router.NFT(lines...)
}

// Deny stops packets from a to b and from b to a; Allow lets them through.
func (in *Internet) Deny(a, b *Port) {
	in.Router.NFT(in.element("add", a, b), in.element("add", b, a))
}

// Allow undoes Deny.
func (in *Internet) Allow(a, b *Port) {
	// Added first, because deleting what is not there is an error.
	in.Router.NFT(in.element("add", a, b), in.element("add", b, a),
		in.element("delete", a, b), in.element("delete", b, a))
}

func (in *Internet) element(verb string, a, b *Port) string {
	return fmt.Sprintf("%s element inet lab denied { %q . %q }", verb, a.Link.B.Name, b.Link.B.Name)
}

// DenyFamily stops the packets of one family between a and b.
func (in *Internet) DenyFamily(a, b *Port, f Family) {
	in.Router.Lab.TB.Helper()
	name := map[Family]string{IPv4: "ipv4", IPv6: "ipv6"}[f]
	for _, pair := range [][2]*Port{{a, b}, {b, a}} {
		in.Router.NFT(fmt.Sprintf("add rule inet lab forward meta nfproto %s iifname %q oifname %q counter drop", name, pair[0].Link.B.Name, pair[1].Link.B.Name))
	}
}
