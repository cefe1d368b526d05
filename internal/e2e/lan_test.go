package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// place is a node with machines that run nothing on its LAN.
type place struct {
	node   *lab.Node
	lan    *lab.Switch
	iface  string // of the node, to the LAN
	prefix netip.Prefix
	phone  lab.Interface
}

func placeAt(t *testing.T, l *lab.Lab, n *lab.Node, name string, flags ...string) *place {
	t.Helper()
	p := &place{node: n, lan: l.Switch(name)}
	p.iface = p.lan.Attach(n.Host).A.Name
	p.phone = p.lan.Attach(l.Host(name + "-phone")).A
	p.prefix = netip.PrefixFrom(n.Address, 64).Masked()
	// Or the census would have it both ways.
	l.Await("the link-local address", 10*time.Second, func() error {
		out := n.Host.Run("ip", "-6", "addr", "show", "dev", p.iface, "scope", "link")
		if !strings.Contains(out, "fe80::") || strings.Contains(out, "tentative") {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	n.Flags = append(n.Flags, "--lan", p.iface)
	n.Flags = append(n.Flags, flags...)
	return p
}

// Machines that run nothing, behind two nodes, reach each other: their packets
// carry addresses of the mesh, are told when they are too big, and come in under
// no other address.
func TestLANMachinesOverTheMesh(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	m := l.Mesh(lab.MeshConfig{Nodes: 3, Tunnels: 2, Init: []string{"--ipv4", "10.42.0.0/16"}})
	a, b := placeAt(t, l, m.Nodes[0], "lan-a"), placeAt(t, l, m.Nodes[1], "lan-b")
	// Or it would know the tunnels' MTU from us, and never send what is too big.
	a.phone.Host.Sysctl("net/ipv6/conf/"+a.phone.Name+"/accept_ra_mtu", "0")
	before := l.Census(a.node.Host, b.node.Host)
	m.Start()
	m.AwaitUp()
	m.AllPairs(45 * time.Second)
	_, took := a.phone.AwaitAddress(a.prefix, 20*time.Second)
	measured(t, "an address on the LAN after %v", took)
	to, _ := b.phone.AwaitAddress(b.prefix, 20*time.Second)

	// Without a gateway we are no default router, and a plain kernel does not take
	// the route to the mesh unless told.
	for _, p := range []*place{a, b} {
		if out := p.phone.Host.Run("ip", "-6", "route", "show", "default"); out != "" {
			t.Errorf("without a gateway the LAN has the default route %q", out)
		}
		p.phone.Host.IP("route add " + lab.Network + " via " + p.node.Address.String())
	}
	l.Await("the phones to reach each other", 20*time.Second, func() error { return a.phone.Host.Ping(to) })
	if err := a.phone.Host.Ping(m.Nodes[2].Address); err != nil {
		t.Error(err)
	}
	out, err := a.phone.Host.Try("ping", "-6", "-c", "3", "-i", "0.2", "-M", "do", "-s", "1452", to.String())
	if err == nil || !strings.Contains(out, "From "+a.node.Address.String()) || !strings.Contains(out, "too big") {
		t.Errorf("a packet too big for the tunnels was not told so: %s %v", out, err)
	}
	if _, err := a.phone.Host.Try("ping", "-6", "-c", "1", "-W", "3", "-s", "1452", to.String()); err != nil {
		t.Errorf("after that, the same in fragments: %v", err)
	}

	// From the LAN packets go past the IP stack, where sources are bound.
	l.Await("packets from the LAN to go past the stack", 10*time.Second, func() error {
		if err := a.phone.Host.Ping(to); err != nil {
			return err
		}
		if s, err := a.node.Status(); err != nil || s.Shortcut.Packets["forwarded"] == 0 {
			return fmt.Errorf("none does: %+v, %v", s.Shortcut, err)
		}
		return nil
	})

	// Sources that are not of the LAN: a stranger's, and another member's.
	for _, source := range []string{"2001:db8:dead::1", to.String(), m.Nodes[2].Address.Next().String()} {
		a.phone.Host.IP("addr add " + source + "/128 dev " + a.phone.Name + " nodad")
		if out, err := a.phone.Host.Try("ping", "-6", "-c", "5", "-i", "0.2", "-W", "1", "-I", source, m.Nodes[2].Address.String()); err == nil {
			t.Errorf("answers for the source %s: %s", source, out)
		}
		a.phone.Host.IP("addr del " + source + "/128 dev " + a.phone.Name)
	}
	lab.Until(t, "15 packets with a source of others to be refused at the edge", 10*time.Second, func() bool { return edgeDrops(a.node.Host) >= 15 })
	if got := edgeDrops(a.node.Host); got != 15 {
		t.Errorf("%d packets were refused at the edge, and 15 had a source of others", got)
	}
	if s, err := a.node.Status(); err != nil || !s.Shortcut.On || s.Shortcut.Packets["source"] < 15 {
		t.Errorf("the shortcut has not seen them: %+v, %v", s.Shortcut, err)
	}
	if err := a.phone.Host.Ping(to); err != nil {
		t.Error(err)
	}
	wantNoPanic(t, m)
	m.Stop()
	for _, p := range []*place{a, b} {
		lab.Until(t, "the address to be deprecated after the stop", 10*time.Second, func() bool {
			return strings.Contains(p.phone.Host.Run("ip", "addr", "show", "dev", p.phone.Name, "scope", "global"), "deprecated")
		})
	}
	l.WantClean(before, a.node.Host, b.node.Host)
}

// edgeDrops reads how many packets the edge of the host has refused.
func edgeDrops(h *lab.Host) (n int) {
	for line := range strings.Lines(h.Run("nft", "list", "ruleset")) {
		if _, rest, ok := strings.Cut(line, "counter packets "); ok && strings.Contains(line, "source is not of this node") {
			var k int
			fmt.Sscan(rest, &k)
			n += k
		}
	}
	return n
}

// A node whose IPv6 comes from another node's LAN: its mesh address there is no
// endpoint, its tunnels run over IPv4, and none of their packets inside the mesh.
// Its own connections go the way that the LAN offers. Without IPv4 it has no
// tunnels, and says why.
func TestNodeBehindAnotherNodesLAN(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	m := l.Mesh(lab.MeshConfig{
		Nodes: 4, Tunnels: 3, Refresh: 5 * time.Second,
		Family: func(i int) lab.Family {
			if i == 2 {
				return lab.IPv4
			}
			return lab.Dual
		},
		Token: func(i int) []string {
			if i == 0 {
				return []string{"--gateway"}
			}
			return nil
		},
	})
	// By IPv4 the two do not reach each other: by IPv6 they would, through the mesh.
	m.Net.DenyFamily(m.Nodes[2].Port, m.Nodes[3].Port, lab.IPv4)
	web := m.Net.Attach(l.Host("web"), lab.IPv6)
	web.Host.Serve(":80")
	m.Nodes[0].Flags = append(m.Nodes[0].Flags, "--gateway", "--gateway-ipv6", "masquerade")
	a, inner := placeAt(t, l, m.Nodes[1], "lan-a"), m.Nodes[2]
	inside := a.lan.Attach(inner.Host).A
	before := l.Census(a.node.Host)
	m.Start()
	m.AwaitUp()
	inside.AwaitAddress(a.prefix, 20*time.Second)
	l.Await("the LAN's default route", 20*time.Second, func() error {
		if out := inner.Host.Run("ip", "-6", "route", "show", "default"); !strings.Contains(out, inside.Name) {
			return fmt.Errorf("it has %q", out)
		}
		return nil
	})
	wantHealth(t, inner, "underlay-inside-mesh")
	capture := l.Capture([]netip.Prefix{netip.MustParsePrefix(lab.Network)}, nil, m.Nodes[0].Host, a.node.Host, m.Nodes[3].Host, inner.Host)
	m.AllPairs(45 * time.Second)
	pause(12 * time.Second) // rotations
	up, err := inner.Up()
	if err != nil || len(up) == 0 {
		t.Errorf("the inner node has %d tunnels: %v", len(up), err)
	}
	for _, n := range m.Nodes {
		tunnels, err := n.Tunnels()
		if err != nil {
			t.Error(err)
		}
		for _, u := range tunnels {
			if e, err := netip.ParseAddrPort(u.Endpoint); err == nil && netip.MustParsePrefix(lab.Network).Contains(e.Addr()) {
				t.Errorf("%s has a tunnel to the endpoint %v", n.Name, e)
			}
		}
	}
	inner.Port.Link.Unplug() // no IPv4
	wantHealth(t, inner, "no-tunnels")
	seen := capture.Stop()
	if err := seen.Err(); err != nil {
		t.Error(err)
	}
	if seen.Inner == 0 || seen.Underlay == 0 {
		t.Errorf("nothing was captured: %+v", seen)
	}
	inner.Port.Link.Plug()
	inner.Host.IP(fmt.Sprintf("route add 0.0.0.0/0 via %v", inner.Port.Router4))
	l.Await("the inner node's own IPv6", 20*time.Second, func() error {
		_, err := inner.Host.Call(netip.AddrPortFrom(web.V6, 80), 2*time.Second)
		return err
	})
	m.AllPairs(45 * time.Second)
	m.Stop()
	wantNoPanic(t, m)
	l.WantClean(before, a.node.Host)
}

func wantHealth(t *testing.T, n *lab.Node, code string) {
	t.Helper()
	n.Host.Lab.Await(n.Name+" to say "+code, 30*time.Second, func() error {
		s, err := n.Status()
		if err != nil {
			return err
		}
		for _, h := range s.Health {
			if h.Code == code {
				return nil
			}
		}
		return fmt.Errorf("it says %v", s.Health)
	})
}
