package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// A machine that has nothing but IPv6 fetches a page from a server that has
// nothing but IPv4, by its name: DNS64 at its node, NAT64 at the gateway.
//
//	n01 (IPv6 only) ── mesh ── n00 (gateway) ── web (IPv4 only)
//
// The lab's Internet has IPv4 addresses that the well-known prefix must not stand
// for (RFC 6052, section 3.1), so the network has one of its own.
func TestNAT64(t *testing.T) {
	t.Parallel()
	const prefix = "2001:db8:64:64::/96"
	l := lab.New(t)
	m := l.Mesh(lab.MeshConfig{
		Nodes: 2, Tunnels: 1, Refresh: 5 * time.Minute,
		Family: func(i int) lab.Family { return []lab.Family{lab.Dual, lab.IPv6}[i] },
		Token:  func(i int) []string { return [][]string{{"--gateway"}, nil}[i] },
	})
	gate, node := m.Nodes[0], m.Nodes[1]
	web := m.Net.Attach(l.Host("web"), lab.IPv4)
	web.Host.Web(":80")
	web.Host.EchoUDP(":7")
	resolver := m.Net.Attach(l.Host("resolver"), lab.IPv6)
	resolver.Host.DNS("[::]:53", "www.example. 60 IN A "+web.V4.String(), "six.example. 60 IN AAAA "+resolver.V6.String(), "inside.example. 60 IN A 10.1.2.3")
	before := l.Census(gate.Host, node.Host)
	gate.Flags = append(gate.Flags, "--gateway", "--nat64", "on")
	node.Flags = append(node.Flags, "--dns-forward", resolver.V6.String())
	m.Registry.Admin("network", "set", "--state", m.Registry.State, "nat64="+prefix)
	m.Start()
	m.AwaitUp()
	node.Host.ResolvConf("nameserver " + node.Address.String())

	embedded := embed(prefix, web.V4)
	l.Await("the page by its name", 60*time.Second, func() error {
		_, err := node.Host.Try("curl", "-sS", "--max-time", "3", "http://www.example/")
		return err
	})
	if err := resolves(node.Host, "www.example", "ahostsv6", embedded.String()); err != nil {
		t.Error(err)
	}
	if seen, err := node.Host.Page(embedded, lab.Slow(10*time.Second)); err != nil || seen != gate.Port.V4 {
		t.Errorf("the server sees %v, %v; want the gateway's %v", seen, err, gate.Port.V4)
	}
	if err := resolves(node.Host, "six.example", "ahostsv6", resolver.V6.String()); err != nil {
		t.Errorf("a name that has IPv6: %v", err)
	}
	if out := node.Host.Run("dig", "+short", "@"+node.Address.String(), "inside.example", "AAAA"); out != "" {
		t.Errorf("a private address is translated: %s", out)
	}
	if err := node.Host.Ping(embedded); err != nil {
		t.Error(err)
	}
	wantNoWay(t, node.Host, embed(prefix, netip.MustParseAddr("10.1.2.3")), "a private address by NAT64")
	for _, size := range []int{100, 1300, 4000, 20000} {
		if err := node.Host.Datagram(netip.AddrPortFrom(embedded, 7), size, lab.Slow(10*time.Second)); err != nil {
			t.Error(err)
		}
	}
	wantPathMTU(t, m, node, web, embedded)

	// A device that somebody deletes is made again.
	for line := range strings.Lines(gate.Host.Run("ip", "-o", "link", "show")) {
		if name := strings.TrimSuffix(strings.Fields(line)[1], ":"); strings.HasPrefix(name, "re6st-n") {
			gate.Host.IP("link del " + name)
		}
	}
	l.Await("the deleted device to be back", 20*time.Second, func() error {
		_, err := node.Host.Page(embedded, lab.Slow(2*time.Second))
		return err
	})

	// A killed gateway translates again after its next start.
	gate.Kill()
	gate.Run()
	l.Await("the killed gateway to translate again", 90*time.Second, func() error {
		_, err := node.Host.Page(embedded, lab.Slow(2*time.Second))
		return err
	})
	if out := gate.Host.Run(gate.Binary, "status", "--state", gate.State); !strings.Contains(out, prefix) {
		t.Errorf("the gateway's status does not tell of %s:\n%s", prefix, out)
	}
	wantNoPanic(t, m)
	m.Stop()
	l.WantClean(before, gate.Host, node.Host)
}

// wantPathMTU makes the last hop narrow: the router's error has to find its way
// back, and a transfer to get through.
func wantPathMTU(t *testing.T, m *lab.Mesh, node *lab.Node, web *lab.Port, embedded netip.Addr) {
	t.Helper()
	const narrow, difference = 1350, 20
	for _, i := range []lab.Interface{web.Link.A, web.Link.B} {
		i.Host.IP(fmt.Sprintf("link set %s mtu %d", i.Name, narrow))
	}
	out, _ := node.Host.Try("ping", "-6", "-c2", "-W2", "-M", "do", "-s", "1340", embedded.String())
	if want := fmt.Sprintf("mtu=%d", narrow+difference); !strings.Contains(out, want) {
		t.Errorf("no error with %s:\n%s", want, out)
	}
	if err := node.Host.Datagram(netip.AddrPortFrom(embedded, 7), 1340, lab.Slow(10*time.Second)); err != nil {
		t.Error(err)
	}
	if _, err := node.Host.Page(embedded, lab.Slow(10*time.Second)); err != nil {
		t.Error(err)
	}
}

func embed(prefix string, a netip.Addr) netip.Addr {
	b, four := netip.MustParsePrefix(prefix).Addr().As16(), a.As4()
	copy(b[12:], four[:])
	return netip.AddrFrom16(b)
}
