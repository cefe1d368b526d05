package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// member4 is a node with an IPv4 subnet.
type member4 struct {
	*lab.Node
	address netip.Addr
	subnet  netip.Prefix
}

// members4 asks the nodes for their subnets, and wants those without one to say
// that none was left.
func members4(t *testing.T, nodes []*lab.Node) (with []member4, without []*lab.Node) {
	t.Helper()
	for _, n := range nodes {
		s, err := n.Status()
		if err != nil {
			t.Fatal(err)
		}
		isExhausted := false
		for _, h := range s.Health {
			isExhausted = isExhausted || h.Code == "ipv4_exhausted"
		}
		if isExhausted == (s.IPv4 != "") {
			t.Errorf("%s has the subnet %q, and its health is %v", n.Name, s.IPv4, s.Health)
		}
		if s.IPv4 == "" {
			without = append(without, n)
			continue
		}
		with = append(with, member4{n, netip.MustParseAddr(s.IPv4Address), netip.MustParsePrefix(s.IPv4)})
	}
	return with, without
}

// wantPings4 wants all pairs of them to answer over IPv4.
func wantPings4(t *testing.T, m *lab.Mesh, with []member4) {
	t.Helper()
	pairs := 0
	m.Lab.Await("all pairs to answer over IPv4", 30*time.Second, func() error {
		pairs = 0
		for _, from := range with {
			var to []netip.Addr
			for _, other := range with {
				if other.address != from.address {
					to = append(to, other.address)
				}
			}
			results, err := from.Host.PingAll(to, 2*time.Second)
			if err != nil {
				return err
			}
			for _, r := range results {
				if !r.OK {
					return fmt.Errorf("%s to %v: %s", from.Name, r.To, r.Err)
				}
				pairs++
			}
		}
		return nil
	})
	measured(t, "%d ordered pairs answer over IPv4", pairs)
}

// Nodes that share too small an IPv4 prefix: those with a subnet reach each other
// over the mesh, whose tunnels know no IPv4 address, through nodes that have none.
// Machines that speak nothing else do so behind them.
//
//re6st:reduced 12 of 992 pairs, of 6 nodes and not 40, without renewal and grace; full in make soak
func TestZ30_IPv4OverTheMesh(t *testing.T) {
	t.Parallel()
	nodes, init, want := 6, []string{"--ipv4", "10.42.0.0/22", "--ipv4-prefix", "24"}, 4
	config := lab.MeshConfig{Nodes: nodes, Tunnels: 2, Refresh: 5 * time.Minute, Talk: ring(nodes)}
	if soak() {
		nodes, init, want = 40, []string{"--ipv4", "10.42.0.0/16", "--ipv4-prefix", "21"}, 32
		config = lab.MeshConfig{Nodes: nodes, Tunnels: 4, Refresh: 5 * time.Minute}
	}
	config.Init = init
	m := lab.New(t).Mesh(config)
	lans := []lab.Interface{}
	for _, n := range m.Nodes {
		machine := m.Lab.Host("lan-" + n.Host.Name)
		link := m.Lab.Connect(machine, n.Host, "eth0", "lan0")
		lans = append(lans, link.A, link.B)
	}
	m.Start()
	settle(m, 60*time.Second)
	with, without := members4(t, m.Nodes)
	if len(with) != want || len(without) != nodes-want {
		t.Errorf("%d nodes have a subnet and %d have none, want %d and %d", len(with), len(without), want, nodes-want)
	}
	wantPings4(t, m, with)
	wantRoutes4(t, with)
	wantLAN4(t, m, with, lans)
	for _, i := range lans {
		if i.Host.Name[:3] != "lan" {
			i.Host.IP("link del " + i.Name)
		}
	}
	m.WantClean()
}

// wantRoutes4 looks into the kernel: next hops are IPv6 addresses, and the host's
// own packets are from its address in the mesh.
func wantRoutes4(t *testing.T, with []member4) {
	t.Helper()
	for _, n := range with {
		table := n.Host.Run("ip", "-4", "route", "show", "table", "326")
		for _, other := range with {
			if other.address == n.address {
				continue
			}
			line := ""
			for l := range strings.Lines(table) {
				if strings.HasPrefix(l, other.subnet.String()+" ") {
					line = l
				}
			}
			if !strings.Contains(line, "via inet6 fe80:") || !strings.Contains(line, "src "+n.address.String()) {
				t.Errorf("%s has to %s the route %q, want one by an IPv6 address, from %v", n.Name, other.subnet, line, n.address)
			}
		}
		// What nobody has is answered, and leaves by no uplink.
		if got, err := n.Host.Try("ip", "route", "get", "203.0.113.9", "from", n.address.String()); err == nil {
			t.Errorf("%s: from its mesh address to the Internet, without a gateway: %s", n.Name, got)
		}
	}
}

// wantLAN4: two machines that speak IPv4 alone, on the LANs of the first node and
// of the last, with nothing but an address and a default route.
func wantLAN4(t *testing.T, m *lab.Mesh, with []member4, lans []lab.Interface) {
	t.Helper()
	type machine struct {
		host    *lab.Host
		address netip.Addr
	}
	var machines []machine
	for _, n := range []member4{with[0], with[len(with)-1]} {
		for i := 0; i < len(lans); i += 2 {
			inside, router := lans[i], lans[i+1]
			if router.Host != n.Host {
				continue
			}
			gate := n.address.Next()
			a := gate.Next()
			router.Add(netip.PrefixFrom(gate, n.subnet.Bits()))
			inside.Host.Sysctl("net/ipv6/conf/all/disable_ipv6", "1")
			inside.Add(netip.PrefixFrom(a, n.subnet.Bits()))
			inside.Host.IP(fmt.Sprintf("route add default via %v", gate))
			machines = append(machines, machine{inside.Host, a})
		}
	}
	a, b := machines[0], machines[1]
	for _, pair := range [][2]machine{{a, b}, {b, a}} {
		from, to := pair[0].host, pair[1].address
		m.Lab.Await("machines that speak IPv4 alone to reach each other", 15*time.Second, func() error {
			results, err := from.PingAll([]netip.Addr{to}, 2*time.Second)
			if err == nil && !results[0].OK {
				err = fmt.Errorf("%s to %v: %s", from.Name, to, results[0].Err)
			}
			return err
		})
	}
	// Too big for a tunnel: whoever sent it is told, by an address that it can see.
	out, err := a.host.Try("ping", "-M", "do", "-c", "1", "-W", "3", "-s", "1472", b.address.String())
	if text := fmt.Sprint(out, err); !strings.Contains(text, "From "+with[0].address.Next().String()) || !strings.Contains(text, "rag needed") {
		t.Errorf("a packet of 1,500 bytes: %s, want to be told by the node that it is too big", text)
	}
	// Nobody is there: an error, not silence.
	out, err = a.host.Try("ping", "-c", "1", "-W", "8", b.address.Next().Next().String())
	if text := fmt.Sprint(out, err); !strings.Contains(text, "nreachable") {
		t.Errorf("an address without a machine: %s, want to be told", text)
	}
}
