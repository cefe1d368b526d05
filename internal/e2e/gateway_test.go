package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// gatewayStatus is what status says of a gateway.
type gatewayStatus struct {
	Families []struct {
		Family     string
		Originated bool
		Why        string
	}
	Dropped map[string]uint64
}

func statusOf(n *lab.Node) (gatewayStatus, error) {
	var doc struct{ Gateway *gatewayStatus }
	out, err := n.Host.Try(n.Binary, "status", "--json", "--state", n.State)
	if err == nil {
		err = json.Unmarshal([]byte(out), &doc)
	}
	if err == nil && doc.Gateway == nil {
		err = errors.New("it is no gateway")
	}
	if err != nil {
		return gatewayStatus{}, fmt.Errorf("status of %s: %w", n.Name, err)
	}
	return *doc.Gateway, nil
}

// awaitOpen waits until a gateway offers both families, or none.
func awaitOpen(l *lab.Lab, n *lab.Node, open bool, within time.Duration) time.Duration {
	l.TB.Helper()
	return l.Await(fmt.Sprintf("%s to be open: %t", n.Name, open), within, func() error {
		g, err := statusOf(n)
		if err != nil {
			return err
		}
		for _, f := range g.Families {
			if f.Originated != open {
				return fmt.Errorf("%s: open %t: %s", f.Family, f.Originated, f.Why)
			}
		}
		if len(g.Families) != 2 {
			return fmt.Errorf("%d families", len(g.Families))
		}
		return nil
	})
}

// pages wants new flows to both servers, and says how long it took to get them.
func pages(w *lab.World, n *lab.Node, what string, within time.Duration) time.Duration {
	w.Lab.TB.Helper()
	return w.Lab.Await(what, within, func() error {
		for _, server := range []netip.Addr{w.Web6.V6, w.Web4.V4} {
			if _, err := n.Host.Page(server, time.Second); err != nil {
				return err
			}
		}
		return nil
	})
}

// wantNoWay wants a connection to fail within a second, and not by silence. A
// busy machine may be late once; silence is there each time.
func wantNoWay(t *testing.T, from *lab.Host, to netip.Addr, why string) {
	t.Helper()
	const tries = 3
	for try := range tries {
		begin := time.Now()
		err := from.Dial(netip.AddrPortFrom(to, 80), lab.Slow(3*time.Second))
		took := time.Since(begin)
		if err != nil && !strings.Contains(err.Error(), "timeout") && took <= lab.Slow(time.Second) {
			return
		}
		if err == nil || try == tries-1 {
			t.Errorf("%s: %s dials %v: %v after %v, want an error within a second", why, from.Name, to, err, took)
			return
		}
	}
}

// Where the core puts the servers: gateways ask them for echoes.
const (
	web6 = "2001:db8:f000:2::2"
	web4 = "198.18.3.2"
)

// Two gateways: the nearest is used; when its upstream fails it withdraws and
// nothing leaks there, when it dies the other one is used; what has no source of
// the mesh does not get out, nor in what claims to be of it; who has an Internet
// of his own keeps it; and what goes nowhere is answered.
func TestZ29_F26_N10_TwoGateways(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	w := l.World(lab.WorldConfig{
		Homes: 1, Hub: true, Refresh: 5 * time.Minute, Delay: 10 * time.Millisecond, Init: []string{"--ipv4", "10.42.0.0/16"},
		Gateways: []string{"--gateway", "--gateway-inbound", "all", "--gateway-check", web6, "--gateway-check", web4},
	})
	if w.Web6.V6.String() != web6 || w.Web4.V4.String() != web4 {
		t.Fatalf("the servers are %v and %v", w.Web6.V6, w.Web4.V4)
	}
	near, far, home := w.Gateways[0], w.Gateways[1], w.Homes[0].Node
	w.Start()
	w.AwaitUp()
	awaitOpen(l, near, true, 20*time.Second)
	awaitOpen(l, far, true, 20*time.Second)
	pages(w, home, "pages at a home that has only IPv4", 30*time.Second)
	l.Await("the nearest gateway to be used", 30*time.Second, func() error { return home.Uses(near) })
	if seen, err := home.Host.Page(w.Web6.V6, 10*time.Second); err != nil || seen != home.Address {
		t.Errorf("on the IPv6 Internet the home is %v (%v), want %v", seen, err, home.Address)
	}
	if seen, err := home.Host.Page(w.Web4.V4, 10*time.Second); err != nil || (seen != near.Port.V4 && seen != w.Homes[0].WAN.V4) {
		t.Errorf("on the IPv4 Internet the home is %v: %v", seen, err)
	}

	capture := w.Capture()
	if seen, err := w.Hub.Host.Page(w.Web6.V6, 10*time.Second); err != nil || seen != w.Hub.Port.V6 {
		t.Errorf("a host with an IPv6 Internet of its own is seen as %v (%v), want %v", seen, err, w.Hub.Port.V6)
	}
	nothingUnused(t, w, near, home)
	if err := capture.Stop().Err(); err != nil {
		t.Error(err)
	}
	wantForeignDropped(t, w, near, home)

	upstreamFails(t, w, near, far, home)
	near.DieWithHost()
	took := pages(w, home, "new flows after the death of the gateway in use", 20*time.Second)
	measured(t, "a gateway dies with its host: new flows of both families after %v", took.Round(10*time.Millisecond))
	if took > lab.Slow(5*time.Second) {
		t.Errorf("new flows after %v, want 5 s", took)
	}
	if err := home.Uses(far); err != nil {
		t.Error(err)
	}

	if _, err := w.Hub.Stop(); err != nil {
		t.Error(err)
	}
	l.Await("the route to the hub to be retracted", 10*time.Second, func() error {
		routes, err := home.Routes()
		for _, r := range routes {
			if p, bad := netip.ParsePrefix(r.Prefix); bad == nil && p.Bits() > 0 && p.Contains(w.Hub.Address) && r.Installed {
				return fmt.Errorf("it is by %s", r.Interface)
			}
		}
		return err
	})
	wantNoWay(t, home.Host, w.Hub.Address, "a node whose route was retracted (N10)")
	w.Stop()
	wantNoPanic(t, w.Mesh)
}

// nothingUnused asks for addresses of the mesh that nobody has: each is answered
// with an error, and none looked for outside.
func nothingUnused(t *testing.T, w *lab.World, gateway, home *lab.Node) {
	t.Helper()
	dump := gateway.Port.Link.A.Dump()
	for i := range 50 {
		unused := netip.MustParseAddr(fmt.Sprintf("2001:db8:42:%x::%x", 0xfe00+i, i+1))
		for _, from := range []*lab.Host{gateway.Host, home.Host} {
			wantNoWay(t, from, unused, "a prefix that nobody has")
		}
	}
	// The answers to these come from afar, and kernels bound how many they give.
	for i := range 3 {
		inside := home.Address.As16()
		inside[14], inside[15] = 0xdd, byte(i+1)
		wantNoWay(t, gateway.Host, netip.AddrFrom16(inside), "an address that nobody has")
	}
	dump.Stop()
	if n, first, err := dump.Count("ip6 dst net " + lab.Network); err != nil || n != 0 {
		t.Errorf("%d packets to the mesh on the gateway's uplink (%v), the first: %s", n, err, first)
	}
	wantNoWay(t, w.Web6.Host, netip.MustParseAddr("2001:db8:42:fe00::1"), "from outside, to a prefix that nobody has")
}

// wantForeignDropped sends 100 packets with a source that is not of the mesh to
// the Internet, and some from there that claim to be of the mesh.
func wantForeignDropped(t *testing.T, w *lab.World, gateway, home *lab.Node) {
	t.Helper()
	const foreign, claimed = "2001:db8:bad::1", "2001:db8:42:fe00::1"
	tunnels, err := home.Up()
	if err != nil {
		t.Fatal(err)
	}
	iface := ""
	for _, u := range tunnels {
		if u.Peer == gateway.Name {
			iface = u.Interface
		}
	}
	home.Host.IP("addr add "+foreign+"/128 dev lo", "route add "+web6+"/128 dev "+iface)
	dump := w.Web6.Link.A.Dump()
	w.Lab.Await("100 foreign packets at the gateway", 10*time.Second, func() error {
		// The home drops them as well; here it is one that does not.
		_, _ = home.Host.Try("nft", "flush ruleset")
		_, _ = home.Host.Try("ping", "-q", "-c", "100", "-i", "0.002", "-W", "1", "-I", foreign, web6)
		g, err := statusOf(gateway)
		if n := g.Dropped["source is not of the mesh"]; err == nil && n < 100 {
			err = fmt.Errorf("%d were dropped", n)
		}
		return err
	})
	home.Host.IP("route del "+web6+"/128 dev "+iface, "addr del "+foreign+"/128 dev lo")
	if err := home.Host.Ping(w.Web6.V6); err != nil {
		t.Errorf("the same with a source of the mesh: %v", err)
	}
	dump.Stop()
	if n, first, err := dump.Count("ip6 src " + foreign); err != nil || n != 0 {
		t.Errorf("%d packets with a foreign source on the Internet (%v), the first: %s", n, err, first)
	}
	if n, _, err := dump.Count("ip6 src " + home.Address.String()); err != nil || n == 0 {
		t.Errorf("the server has seen %d of the others (%v): nothing was tested", n, err)
	}

	w.Web6.Host.IP("addr add " + claimed + "/128 dev lo")
	_, _ = w.Web6.Host.Try("ping", "-q", "-c", "5", "-i", "0.05", "-W", "1", "-I", claimed, home.Address.String())
	w.Web6.Host.IP("addr del " + claimed + "/128 dev lo")
	var dropped uint64
	for _, g := range w.Gateways {
		s, err := statusOf(g)
		if err != nil {
			t.Error(err)
		}
		dropped += s.Dropped["from outside with a source of the mesh"]
	}
	if dropped < 5 {
		t.Errorf("%d packets from outside that claim to be of the mesh were dropped, want 5", dropped)
	}
}

// upstreamFails cuts the gateway's way to the servers, not its tunnels.
func upstreamFails(t *testing.T, w *lab.World, near, far, home *lab.Node) {
	t.Helper()
	isp := w.ISPs[0].Router
	wire := near.Port.Link.B.Name
	isp.NFT("table inet outage { chain forward { type filter hook forward priority 1;",
		fmt.Sprintf("iifname %q ip6 saddr %s ip6 daddr %s counter drop;", wire, lab.Network, web6),
		fmt.Sprintf("iifname %q ip6 daddr %s drop; iifname %q ip daddr %s drop; }; }", wire, web6, wire, web4))
	begin := time.Now()
	awaitOpen(w.Lab, near, false, 10*time.Second)
	withdrawn := time.Since(begin)
	pages(w, home, "new flows after the upstream of the gateway in use has failed", 20*time.Second)
	moved := time.Since(begin)
	measured(t, "an upstream fails behind the next hop: withdrawn after %v, new flows of both families after %v", withdrawn.Round(10*time.Millisecond), moved.Round(10*time.Millisecond))
	if withdrawn > lab.Slow(5*time.Second) {
		t.Errorf("withdrawn after %v, want 5 s (F-26)", withdrawn)
	}
	if err := home.Uses(far); err != nil {
		t.Error(err)
	}
	leaked := func() uint64 {
		m := regexp.MustCompile(`counter packets (\d+)`).FindStringSubmatch(isp.Run("nft", "list", "table", "inet", "outage"))
		if m == nil {
			t.Fatal("the outage counts nothing")
		}
		n, _ := strconv.ParseUint(m[1], 10, 64)
		return n
	}
	before := leaked()
	for range 10 {
		pages(w, home, "pages by the other gateway", 5*time.Second)
	}
	if n := leaked() - before; n != 0 {
		t.Errorf("%d packets still leave by the closed gateway", n)
	}
	isp.NFT("delete table inet outage")
	took := awaitOpen(w.Lab, near, true, 20*time.Second)
	measured(t, "the upstream is back: originated after %v", took.Round(10*time.Millisecond))
	w.Lab.Await("the nearest gateway to be used again", 20*time.Second, func() error { return home.Uses(near) })
}

// A certificate without the right, and flags that contradict each other: one
// clear error, its exit status, and nothing is changed.
func TestGatewayThatMayNot(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	m := l.Mesh(lab.MeshConfig{Nodes: 1})
	n := m.Nodes[0]
	before := l.Census(n.Host)
	for _, c := range []struct {
		flags  string
		status int
		text   string
	}{
		{"--gateway", 78, "does not hold the right to be a gateway"},
		{"--gateway --gateway-ipv6 natted", 2, "want auto, routed"},
		{"--gateway --gateway-ipv6 translate", 2, "--gateway-prefix"},
		{"--gateway --gateway-inbound some", 2, "want established or all"},
		{"--gateway --gateway-check fe80::1", 2, "want the address of a host on the Internet"},
		{"--nat64 on", 2, "only a gateway can translate"},
	} {
		p := n.Host.Start("refused", append([]string{n.Binary, "run", "--state", n.State}, strings.Fields(c.flags)...)...)
		code, err := p.Wait(lab.Slow(30 * time.Second))
		if err != nil || code != c.status || !strings.Contains(p.Output(), c.text) {
			t.Errorf("%s: exit status %d (%v), want %d:\n%s", c.flags, code, err, c.status, p.Output())
		}
	}
	l.WantClean(before, n.Host)
}
