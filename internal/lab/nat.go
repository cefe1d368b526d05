package lab

import (
	"fmt"
	"net/netip"
)

// NAT makes a home behind a router: an Internet of its own, whose hosts reach
// this one over IPv4 with the router's address, and over IPv6 only if they
// begin. Nothing that nobody inside asked for comes in.
func (in *Internet) NAT(name string) (*Internet, *Port) {
	l := in.Router.Lab
	l.TB.Helper()
	home := l.Internet(name)
	up := in.Attach(home.Router, Dual)
	wan := up.Link.A.Name
	home.Router.NFT("table inet nat {",
		"chain postrouting { type nat hook postrouting priority 100; meta nfproto ipv4 oifname "+wan+" masquerade; }",
		"chain forward { type filter hook forward priority 10; iifname "+wan+" ct state != { established, related } counter drop; }",
		"}")
	// The prefix of the home is routed to it, as a provider would.
	in.Router.IP(fmt.Sprintf("route add %v via %v", home.prefix6(), up.V6))
	return home, up
}

// prefix6 covers the networks of all hosts of the Internet.
func (in *Internet) prefix6() netip.Prefix {
	return netip.PrefixFrom(in.addr6(0, 0), 48)
}

// prefix4 is the same for IPv4.
func (in *Internet) prefix4() netip.Prefix {
	return netip.PrefixFrom(in.addr4(0, 0), 16)
}

// Forget deletes what the NAT remembers: established flows get new ports.
func (in *Internet) Forget() {
	in.Router.Lab.TB.Helper()
	in.Router.Run("conntrack", "-F")
}

// Switch is a bridge: the hosts on it share one network, as in a LAN.
type Switch struct{ Host *Host }

// Switch makes a bridge without hosts.
func (l *Lab) Switch(name string) *Switch {
	l.TB.Helper()
	s := &Switch{Host: l.Host(name)}
	// A switch passes IPv6 on and speaks none itself.
	for _, which := range []string{"all", "default"} {
		s.Host.Sysctl("net/ipv6/conf/"+which+"/disable_ipv6", "1")
	}
	s.Host.IP("link add br0 type bridge", "link set br0 up")
	return s
}

// Attach connects a host and gives it addresses.
func (s *Switch) Attach(h *Host, addrs ...netip.Prefix) *Link {
	h.Lab.TB.Helper()
	link := h.Lab.lay(h, s.Host, "", "to-"+h.Name)
	link.B.up("link set " + link.B.Name + " master br0")
	link.A.up(link.A.add(addrs...)...)
	return link
}
