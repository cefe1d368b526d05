package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"re6st/internal/lab"
)

// oneArm is a gateway whose uplink is the LAN of machines as well, beside another
// LAN that is none.
//
//	web ── core ── office switch ── gate ── mesh ── n01
//	                 │       │        └── lab switch ── bench
//	               phone   rogue
type oneArm struct {
	mesh       *lab.Mesh
	gate, node *lab.Node
	web        *lab.Port
	uplink     string
	phone      lab.Interface // on the uplink, with addresses of the mesh
	bench      lab.Interface // on the other LAN
	rogue      lab.Interface // on the uplink, the Internet's
	own6, own4 netip.Addr    // of the gateway on the uplink
	office     netip.Prefix  // of the mesh, on the uplink
	other      netip.Prefix  // of the mesh, on the other LAN
}

const oneArmOutside = "2001:db8:77::/48"

func newOneArm(t *testing.T, inside string) *oneArm {
	l := lab.New(t)
	m := l.Mesh(lab.MeshConfig{
		Nodes: 2, Tunnels: 1, Refresh: 5 * time.Minute, Prefix: inside, Init: []string{"--ipv4", "10.42.0.0/16"},
		Family: func(i int) lab.Family { return []lab.Family{lab.Dual, lab.IPv4}[i] },
		Token:  func(i int) []string { return [][]string{{"--gateway", "--prefix-length", "60"}, nil}[i] },
	})
	o := &oneArm{mesh: m, gate: m.Nodes[0], node: m.Nodes[1]}
	o.web = m.Net.Attach(l.Host("web"), lab.Dual)
	o.web.Host.Web(":80")
	office := l.Switch("office")
	office.Attach(m.Net.Router, netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8:ff::1/64"))
	o.gate.Port.Link.Unplug()
	arm := netip.MustParsePrefix("2001:db8:ff::2/64")
	arm4 := netip.MustParsePrefix("192.0.2.2/24")
	o.uplink = office.Attach(o.gate.Host, arm4, arm).A.Name
	o.own6, o.own4 = arm.Addr(), arm4.Addr()
	o.gate.Host.IP("route add default via 192.0.2.1", "route add ::/0 via 2001:db8:ff::1")
	m.Net.Router.IP(fmt.Sprintf("route add %s via %v", oneArmOutside, o.own6))
	// The other node knows the way to the gateway and to the registry, and to nothing else.
	router := o.node.Port.Router4
	o.node.Host.IP("route del default", fmt.Sprintf("route add 192.0.2.0/24 via %v", router), fmt.Sprintf("route add %v via %v", m.Net.Ports()[0].V4, router))
	o.phone = office.Attach(l.Host("phone")).A
	o.rogue = office.Attach(l.Host("rogue"), netip.MustParsePrefix("192.0.2.66/24"), netip.MustParsePrefix("2001:db8:ff::66/64")).A
	o.rogue.Host.Sysctl("net/ipv6/conf/"+o.rogue.Name+"/accept_ra", "0")
	o.rogue.Host.IP("route add default via "+o.own4.String(), "route add ::/0 via "+o.own6.String())

	bench := l.Switch("lab")
	benchLAN := bench.Attach(o.gate.Host).A.Name
	o.bench = bench.Attach(l.Host("bench")).A
	a := o.gate.Address.As16()
	o.office = netip.PrefixFrom(netip.AddrFrom16(a), 64).Masked()
	a[7]++
	o.other = netip.PrefixFrom(netip.AddrFrom16(a), 64).Masked()
	o.gate.Flags = append(o.gate.Flags, "--gateway", "--lan", o.uplink, "--lan", benchLAN, "--lan-ipv4", o.uplink)
	return o
}

// A LAN that is a gateway's uplink as well: with the shortcut on, the gateway lets
// in and out what it does without.
func TestGatewayWhoseUplinkIsALAN(t *testing.T) {
	t.Parallel()
	const inside = "fd6e:1a2b:3c4d::/48"
	o := newOneArm(t, inside)
	l, gate, node := o.mesh.Lab, o.gate, o.node
	before := l.Census(gate.Host)
	flags := gate.Flags
	gate.Flags = append(flags, "--shortcut", "on", "--gateway-ipv6", "masquerade")
	o.mesh.Start()
	o.mesh.AwaitUp()
	awaitOpen(l, gate, true, 30*time.Second)
	phone, bench := o.machines(t)

	wantPage(t, node, o.web.V6, o.own6, "masqueraded")
	wantPage(t, node, o.web.V4, o.own4, "masqueraded")
	o.wantInside(t, phone, bench)
	o.wantRefused(t, node.Address)

	if _, err := gate.Stop(); err != nil {
		t.Error(err)
	}
	gate.Flags = append(flags, "--shortcut", "auto", "--gateway-ipv6", "translate", "--gateway-prefix", oneArmOutside)
	gate.Run()
	o.mesh.AwaitUp()
	awaitOpen(l, gate, true, 30*time.Second)
	phone, bench = o.machines(t)
	outside := func(a netip.Addr) netip.Addr { return counterpart(a, inside, oneArmOutside) }
	wantPage(t, node, o.web.V6, outside(node.Address), "translated")
	l.Await("a machine on the uplink to be translated", 20*time.Second, func() error {
		seen, err := o.phone.Host.Page(o.web.V6, lab.Slow(2*time.Second))
		if err == nil && seen != outside(phone) {
			err = fmt.Errorf("it is seen as %v, want %v", seen, outside(phone))
		}
		return err
	})
	o.wantInside(t, phone, bench)
	o.wantRefused(t, outside(node.Address))
	// Turned back at the uplink, it is from outside, and not asked for.
	if err := node.Host.Ping(outside(bench)); err == nil {
		t.Error("a counterpart is reached from inside, though only answers may come in")
	}
	wantNoPanic(t, o.mesh)
	o.mesh.Stop()
	l.WantClean(before, gate.Host)
}

func wantPage(t *testing.T, n *lab.Node, server, as netip.Addr, how string) {
	t.Helper()
	n.Host.Lab.Await(fmt.Sprintf("a page of %v", server), 30*time.Second, func() error {
		seen, err := n.Host.Page(server, lab.Slow(2*time.Second))
		if err == nil && seen != as {
			err = fmt.Errorf("%s is seen as %v, want %v (%s)", n.Name, seen, as, how)
		}
		return err
	})
}

// machines waits until those on the LANs have addresses of the mesh and a way there.
func (o *oneArm) machines(t *testing.T) (phone, bench netip.Addr) {
	t.Helper()
	phone, _ = o.phone.AwaitAddress(o.office, 20*time.Second)
	bench, _ = o.bench.AwaitAddress(o.other, 20*time.Second)
	for _, m := range []lab.Interface{o.phone, o.bench} {
		o.mesh.Lab.Await(m.Host.Name+" to reach the mesh", 20*time.Second, func() error { return m.Host.Ping(o.node.Address) })
	}
	return phone, bench
}

// wantInside wants machines on both LANs and the mesh to reach each other, those on
// the uplink by the stack.
func (o *oneArm) wantInside(t *testing.T, phone, bench netip.Addr) {
	t.Helper()
	packets := func() uint64 {
		t.Helper()
		s, err := o.gate.Status()
		if err != nil || !s.Shortcut.On {
			t.Errorf("the shortcut: %+v, %v", s.Shortcut, err)
		}
		return s.Shortcut.Packets["forwarded"]
	}
	o.node.Host.Serve("[::]:8081")
	defer o.node.Host.Unserve()
	try := func(m lab.Interface, a netip.Addr) {
		t.Helper()
		if _, err := m.Host.Call(netip.AddrPortFrom(o.node.Address, 8081), lab.Slow(10*time.Second)); err != nil {
			t.Error(err)
		}
		if err := m.Host.Ping(o.node.Address); err != nil {
			t.Error(err)
		}
		if err := o.node.Host.Ping(a); err != nil {
			t.Error(err)
		}
	}
	was := packets()
	try(o.phone, phone)
	if n := packets() - was; n != 0 {
		t.Errorf("%d packets from the uplink went past the gateway's filter", n)
	}
	try(o.bench, bench)
	if packets() == was {
		t.Error("no packet from the other LAN went past the stack")
	}
}

// wantRefused sends from the uplink what the gateway must not let in: with sources
// of the gateway's other LAN, of its IPv4, of another node, and with one of the
// Internet's that nobody asked.
func (o *oneArm) wantRefused(t *testing.T, to netip.Addr) {
	t.Helper()
	const each = 5
	status, err := o.gate.Status()
	if err != nil {
		t.Fatal(err)
	}
	own4, err := netip.ParsePrefix(status.IPv4)
	if err != nil {
		t.Fatal(err)
	}
	node, err := o.node.Status()
	if err != nil {
		t.Fatal(err)
	}
	to4 := netip.MustParseAddr(node.IPv4Address)
	tunnels, err := o.node.Up()
	if err != nil || len(tunnels) == 0 {
		t.Fatalf("tunnels: %v, %v", tunnels, err)
	}
	dump := lab.Interface{Host: o.node.Host, Name: tunnels[0].Interface}.Dump()
	count := func(why string) uint64 {
		g, err := statusOf(o.gate)
		if err != nil {
			t.Error(err)
		}
		return g.Dropped[why]
	}
	other6, other4 := o.other.Addr().Next().Next(), netip.MustParseAddr("10.42.255.77")
	if own4.Contains(other4) {
		other4 = netip.MustParseAddr("10.42.0.77")
	}
	tries := []struct {
		from, to netip.Addr
		why      string
	}{
		{other6, to, "from outside with a source of the mesh"},
		{o.node.Address.Next(), to, "from outside with a source of the mesh"},
		{other4, to4, "from outside with a source of the mesh"},
		{netip.MustParseAddr("2001:db8:ff::66"), to, "from outside, not asked for"},
		{netip.MustParseAddr("192.0.2.66"), to4, "from outside, not asked for"},
	}
	for _, c := range tries {
		was := count(c.why)
		family := "-4"
		if c.from.Is6() {
			family = "-6"
		}
		borrowed := o.rogue.Host.IP
		if c.why == "from outside with a source of the mesh" {
			borrowed(fmt.Sprintf("addr add %v/%d dev lo", c.from, c.from.BitLen()))
		}
		if out, err := o.rogue.Host.Try("ping", family, "-q", "-c", fmt.Sprint(each), "-i", "0.02", "-W", "0.3", "-I", c.from.String(), c.to.String()); err == nil {
			t.Errorf("from %v to %v: %s", c.from, c.to, out)
		}
		if c.why == "from outside with a source of the mesh" {
			borrowed(fmt.Sprintf("addr del %v/%d dev lo", c.from, c.from.BitLen()))
		}
		lab.Until(t, "them to be dropped", 10*time.Second, func() bool { return count(c.why) >= was+each })
		if n := count(c.why) - was; n != each {
			t.Errorf("from %v to %v: %d of %d packets were dropped for being %q", c.from, c.to, n, each, c.why)
		}
	}
	dump.Stop()
	for _, c := range tries {
		if n, first, err := dump.Count("src host " + c.from.String()); err != nil || n != 0 {
			t.Errorf("%d packets from %v in the mesh (%v), the first: %s", n, c.from, err, first)
		}
	}
}
