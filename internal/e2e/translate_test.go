package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// A mesh of private addresses behind a gateway that translates its prefix: nodes
// reach the Internet under addresses of the prefix that is routed to the gateway,
// one each, and are reached by them.
//
//	n01 (IPv4 only) ── mesh fd6e:1a2b:3c4d::/48 ── n00 ── 2001:db8:77::/48 ── web
func TestTranslatedPrefix(t *testing.T) {
	t.Parallel()
	const inside, outside = "fd6e:1a2b:3c4d::/48", "2001:db8:77::/48"
	l := lab.New(t)
	m := l.Mesh(lab.MeshConfig{
		Nodes: 2, Tunnels: 1, Refresh: 5 * time.Minute, Prefix: inside,
		Family: func(i int) lab.Family { return []lab.Family{lab.Dual, lab.IPv4}[i] },
		Token:  func(i int) []string { return [][]string{{"--gateway"}, nil}[i] },
	})
	gate, node := m.Nodes[0], m.Nodes[1]
	web := m.Net.Attach(l.Host("web"), lab.IPv6)
	web.Host.Web(":80")
	m.Net.Router.IP(fmt.Sprintf("route add %s via %v", outside, gate.Port.V6))
	gate.Flags = append(gate.Flags, "--gateway", "--gateway-ipv6", "translate", "--gateway-prefix", outside, "--gateway-inbound", "all")

	before := l.Census(gate.Host)
	wantRefused(t, gate, "2001:db8:77::/56", "2001:db8:77::/56 is smaller than fd6e:1a2b:3c4d::/48")
	wantRefused(t, gate, "2001:db8:77::1/48", "without host bits")
	wantRefused(t, gate, "fd6e:1a2b:3c4d::/48", "they overlap")
	l.WantClean(before, gate.Host)

	m.Start()
	m.AwaitUp()
	public := counterpart(node.Address, inside, outside)
	l.Await("the node to reach the IPv6 Internet", 60*time.Second, func() error { return seenAs(node, web, public) })
	if err := seenAs(gate, web, gate.Port.V6); err != nil {
		t.Errorf("the gateway's own Internet: %v", err)
	}
	node.Host.Serve("[::]:8081")
	if _, err := web.Host.Call(netip.AddrPortFrom(public, 8081), lab.Slow(10*time.Second)); err != nil {
		t.Errorf("from outside to %v: %v", public, err)
	}
	node.Host.Unserve()
	// The gateway's own mesh address has a counterpart, too; and one node reaches
	// another by it.
	own := counterpart(gate.Address, inside, outside)
	for _, h := range []*lab.Host{web.Host, node.Host} {
		if err := h.Ping(own); err != nil {
			t.Error(err)
		}
	}
	hops := web.Host.Trace(public, 3)
	if hops[len(hops)-1].From != public {
		t.Errorf("traced from outside: %v", hops)
	}
	wantTranslation(t, gate, inside, outside)
	wantHolesAnswered(t, m, web)

	// Filters that somebody removes are put back. (A stranger cannot detach what is
	// on tcx.)
	name := gate.Port.Link.A.Name
	if out := gate.Host.Run("tc", "qdisc", "show", "dev", name); strings.Contains(out, "clsact") {
		gate.Host.Run("tc", "qdisc", "del", "dev", name, "clsact")
		l.Await("the translation to be put back", 20*time.Second, func() error { return seenAs(node, web, public) })
	}

	// A killed gateway translates again after its next start. Nothing but the packets
	// knew of the connections, so they go on.
	transfer := node.Host.Transfer(web.V6, lab.Slow(4*time.Second))
	gate.Kill()
	gate.Run()
	if err := transfer.Wait(lab.Slow(60 * time.Second)); err != nil {
		t.Errorf("a transfer over a gateway that was killed and started again: %v", err)
	}
	l.Await("the killed gateway to be one again", 90*time.Second, func() error { return seenAs(node, web, public) })
	wantNoPanic(t, m)
	m.Stop()
	l.WantClean(before, gate.Host)
	m.WantClean()
}

// wantHolesAnswered asks from both sides for what RFC 6296 has no counterpart for:
// subnet ffff. Nothing of it passes, and who asks is told.
func wantHolesAnswered(t *testing.T, m *lab.Mesh, web *lab.Port) {
	t.Helper()
	const hole, nobody = "fd6e:1a2b:3c4d:ffff::1", "2001:db8:77:ffff::1"
	gate, node := m.Nodes[0], m.Nodes[1]
	answered := func(from *lab.Host, by netip.Addr, args ...string) {
		t.Helper()
		m.Lab.Await(from.Name+" to be told", 20*time.Second, func() error {
			out, err := from.Try(append([]string{"ping", "-6", "-c", "1", "-W", "1"}, args...)...)
			if err == nil || !strings.Contains(out, "From "+by.String()+" ") {
				return fmt.Errorf("ping %v: %v, %s", args, err, out)
			}
			return nil
		})
	}
	seen := web.Link.A.Dump()
	answered(web.Host, gate.Port.V6, nobody)

	// Somebody who has such an address, and a gateway that knows the way back.
	tunnels, err := gate.Up()
	if err != nil || len(tunnels) == 0 {
		t.Fatalf("tunnels: %v, %v", tunnels, err)
	}
	back := fmt.Sprintf("%s/128 dev %s table 326", hole, tunnels[0].Interface)
	gate.Host.IP("route add " + back)
	node.Host.IP("addr add " + hole + "/128 dev lo")
	m.Lab.Await("the node's own edge to be out of the way", 20*time.Second, func() error {
		_, _ = node.Host.Try("nft", "flush", "ruleset")
		out, err := node.Host.Try("ping", "-6", "-c", "1", "-W", "1", "-I", hole, web.V6.String())
		if err == nil || !strings.Contains(out, "From "+gate.Address.String()+" ") {
			return fmt.Errorf("ping: %v, %s", err, out)
		}
		return nil
	})
	node.Host.IP("addr del " + hole + "/128 dev lo")
	gate.Host.IP("route del " + back)
	s, err := statusOf(gate)
	if err != nil || s.Dropped["source has no counterpart outside"] == 0 || s.Dropped["nobody's counterpart"] == 0 {
		t.Errorf("counted: %v, %v", s.Dropped, err)
	}
	seen.Stop()
	if n, first, err := seen.Count("src net fd00::/8"); err != nil || n != 0 {
		t.Errorf("%d packets from inside on the Internet (%v), the first: %s", n, err, first)
	}
	// And nothing of it went around by the default route: each came once.
	if n, first, err := seen.Count("icmp6[icmp6type] == 3"); err != nil || n != 0 {
		t.Errorf("%d packets went around until their hop limit ended (%v): %s", n, err, first)
	}
}

// seenAs wants the server to see the node by the address.
func seenAs(n *lab.Node, web *lab.Port, want netip.Addr) error {
	seen, err := n.Host.Page(web.V6, lab.Slow(2*time.Second))
	if err == nil && seen != want {
		err = fmt.Errorf("%s is seen as %v, want %v", n.Name, seen, want)
	}
	return err
}

// counterpart is RFC 6296 for two /48 (section 3.4): bits 48 to 63 make up for
// the difference of the prefixes.
func counterpart(a netip.Addr, inside, outside string) netip.Addr {
	in, out := netip.MustParsePrefix(inside).Addr().As16(), netip.MustParsePrefix(outside).Addr().As16()
	b := a.As16()
	sum := int(binary.BigEndian.Uint16(b[6:]))
	for i := 0; i < 6; i += 2 {
		sum += int(binary.BigEndian.Uint16(in[i:])) - int(binary.BigEndian.Uint16(out[i:]))
	}
	copy(b[:6], out[:6])
	binary.BigEndian.PutUint16(b[6:], uint16((sum%0xffff+0xffff)%0xffff))
	return netip.AddrFrom16(b)
}

// wantRefused starts the gateway with another prefix; it must say why not, at once.
func wantRefused(t *testing.T, gate *lab.Node, prefix, why string) {
	t.Helper()
	p := gate.Host.Start("refused", append([]string{gate.Binary, "run", "--state", gate.State}, append(gate.Flags, "--gateway-prefix", prefix)...)...)
	code, err := p.Wait(lab.Slow(30 * time.Second))
	if err != nil || code != 2 || !strings.Contains(p.Output(), why) {
		t.Errorf("--gateway-prefix %s: status %d (%v), it says %q; want 2 and %q", prefix, code, err, p.Output(), why)
	}
	p.Kill()
}

func wantTranslation(t *testing.T, gate *lab.Node, inside, outside string) {
	t.Helper()
	out := gate.Host.Run(gate.Binary, "status", "--json", "--state", gate.State)
	var s struct {
		Gateway struct {
			Translation       string `json:"translation"`
			PrefixTranslation struct {
				Pairs   []struct{ Inside, Outside string }
				Method  string
				Out, In struct{ Packets, Unmapped uint64 }
			} `json:"prefix_translation"`
		}
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatal(err)
	}
	x := s.Gateway.PrefixTranslation
	if len(x.Pairs) != 1 || x.Pairs[0].Inside != inside || x.Pairs[0].Outside != outside || x.Out.Packets == 0 || x.In.Packets == 0 || s.Gateway.Translation != "" {
		t.Errorf("status: %+v", s.Gateway)
	}
	measured(t, "by %s: %d packets out, %d in", x.Method, x.Out.Packets, x.In.Packets)
}
