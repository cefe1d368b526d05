package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// A kernel without nftables: nodes run, and say that they do not bind sources; a
// gateway is none, and says why, once; nothing of the mesh leaves by it.
func TestWithoutNFTables(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	if l.Host("probe").HasNFTables() {
		t.Skip("make test-kernel runs this: it needs a kernel without nftables")
	}
	families := []lab.Family{lab.Dual, lab.IPv4, lab.Dual}
	m := l.Mesh(lab.MeshConfig{
		Nodes: 3, Tunnels: 2, Refresh: 5 * time.Minute, Init: []string{"--ipv4", "10.42.0.0/16"},
		Family: func(i int) lab.Family { return families[i] },
		Token:  func(i int) []string { return [][]string{{"--gateway"}, nil, nil}[i] },
	})
	gate, node, end := m.Nodes[0], m.Nodes[1], m.Nodes[2]
	web := m.Net.Attach(l.Host("web"), lab.Dual)
	web.Host.Serve(":80")
	m.Net.Router.IP(fmt.Sprintf("route add %s via %v", lab.Network, gate.Port.V6))
	gate.Flags = append(gate.Flags, "--gateway", "--gateway-inbound", "all")
	end.Flags = append(end.Flags, "--no-transit")
	m.Start()
	m.AwaitUp()
	m.AllPairs(60 * time.Second)
	for _, n := range m.Nodes {
		wantHealth(t, n, "sources-not-bound")
	}
	wantHealth(t, gate, "gateway-ipv6-closed")
	wantHealth(t, gate, "gateway-ipv4-closed")
	awaitOpen(l, gate, false, 30*time.Second)
	g, err := statusOf(gate)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range g.Families {
		if !strings.Contains(f.Why, "the kernel has no nftables (modprobe nf_tables") {
			t.Errorf("%s is closed: %q", f.Family, f.Why)
		}
	}
	if err := node.Host.Dial(netip.AddrPortFrom(web.V6, 80), lab.Slow(3*time.Second)); err == nil {
		t.Error("a node with IPv4 alone reaches the IPv6 Internet by a gateway that cannot filter")
	}
	pause(4 * time.Second) // what is tried again is not said again
	for n, want := range map[*lab.Node]string{
		gate: "cannot be a gateway",
		node: "sources of packets into the mesh are not checked",
		end:  "what others send through it anyway is carried, as the kernel has no nftables",
	} {
		if said := strings.Count(n.Proc.Output(), want); said != 1 {
			t.Errorf("%s says %d times that %s:\n%s", n.Name, said, want, n.Proc.Output())
		}
	}
	wantNoPanic(t, m)
	m.WantClean()
}
