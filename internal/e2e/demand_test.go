package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

const metricsPort = 9326

// lineOfFour is a line of four nodes, the ends of which could have a tunnel, and
// have none: all are full. Node 2 opens to 1 and 3, then 0 to 1.
func lineOfFour(t *testing.T, refresh time.Duration) *lab.Mesh {
	t.Helper()
	m := lab.New(t).Mesh(lab.MeshConfig{
		Nodes: 4, Tunnels: 1, Refresh: refresh,
		Talk: func(i, j int) bool { return i-j == 1 || j-i == 1 || i+j == 3 },
	})
	for i, n := range m.Nodes {
		n.Flags = append(n.Flags, "--metrics", netip.AddrPortFrom(n.Address, metricsPort).String(), "--max-incoming", fmt.Sprint([]int{0, 2, 0, 1}[i]))
	}
	for _, step := range [][]int{{1, 3}, {2}, {0}} {
		for _, i := range step {
			m.Nodes[i].Run()
		}
		m.AwaitUp()
		if step[0] == 2 {
			m.AllPairs(30*time.Second, m.Nodes[1:]...)
		}
	}
	m.AllPairs(30 * time.Second)
	return m
}

// tunnelTo is the tunnel between two nodes that is up, if there is one.
func tunnelTo(n, peer *lab.Node) (lab.Tunnel, error) {
	all, err := n.Up()
	if err != nil {
		return lab.Tunnel{}, err
	}
	i := slices.IndexFunc(all, func(t lab.Tunnel) bool { return t.Peer == peer.Name })
	if i < 0 {
		return lab.Tunnel{}, errors.New("no tunnel")
	}
	return all[i], nil
}

// isDirect says whether packets go to a node by a tunnel of one hop.
func isDirect(n, to *lab.Node) error {
	x, err := tunnelTo(n, to)
	if err != nil {
		return err
	}
	if x.Reason != "demand" {
		return fmt.Errorf("a tunnel of reason %q", x.Reason)
	}
	routes, err := n.Routes()
	if err != nil {
		return err
	}
	var ways []string
	isLonger := false
	for _, r := range routes {
		switch {
		case r.Owner != to.Name:
		case r.Installed && r.Interface == x.Interface:
			return nil
		default:
			isLonger = isLonger || r.Installed && r.Metric <= x.Cost
			ways = append(ways, fmt.Sprintf("by %s with metric %d, in use %v", r.Interface, r.Metric, r.Installed))
		}
	}
	err = fmt.Errorf("%s is there, and has cost %d; routes: %s", x.Interface, x.Cost, strings.Join(ways, "; "))
	if isLonger {
		err = fmt.Errorf("%w: %w", errLonger, err)
	}
	return err
}

// errLonger: there is a tunnel of one hop, and its round trip is the longer way. In
// the lab that is the machine's doing, and passes.
var errLonger = errors.New("the direct way takes longer")

// carried says how much a node carries for others to another one.
func carried(n, to *lab.Node) (float64, error) {
	t, err := n.Traffic()
	if err != nil {
		return 0, err
	}
	if t.Unknown != "" {
		return 0, errors.New(t.Unknown)
	}
	for _, d := range t.Destinations {
		if d.Owner == to.Name {
			return d.Carried.BytesPerSecond, nil
		}
	}
	return 0, fmt.Errorf("nothing goes to %s", to.Name)
}

// A stream over two relays becomes one hop within two refreshes of its start, and
// no packet is lost by that. When it ends, so does the tunnel, and again no packet
// is lost of the little that still flows. The relays tell what they carry.
//
//re6st:reduced 1 of 20 streams; full in make soak
func TestDemandMakesTwoRelaysOneHop(t *testing.T) {
	t.Parallel()
	const refresh = 6 * time.Second
	const perSecond, size = 200, 1200
	m := lineOfFour(t, refresh)
	from, to := m.Nodes[0], m.Nodes[3]
	ends := []lab.End{{Host: from.Host, Addr: from.Address}, {Host: to.Host, Addr: to.Address}}
	oneWay := func(a, _ string) bool { return a == from.Host.Name }
	rounds := 1
	if soak() {
		rounds = 20
	}
	for range rounds {
		if hops := m.AllPairs(30*time.Second, from, to).Hops; hops[3] != 2 {
			t.Fatalf("before it, hops %v", hops)
		}
		start := time.Now()
		stream := m.Lab.StreamSize(perSecond, size, ends, oneWay)
		m.Lab.Await("the relay to tell what it carries", 2*refresh, func() error {
			rate, err := carried(m.Nodes[1], to)
			if err == nil && rate < perSecond*size/4 {
				err = fmt.Errorf("%.0f bytes per second", rate)
			}
			return err
		})
		direct := func() error { return isDirect(from, to) }
		if _, err := lab.Await(time.Until(start.Add(2*refresh)), direct); errors.Is(err, errLonger) {
			t.Logf("two refreshes after the beginning: %v", err)
			m.Lab.Await("the direct way to be the short one", 30*time.Second, direct)
		} else if err != nil {
			t.Fatalf("no way of one hop: %v", err)
		}
		measured(t, "one hop %v after the beginning of the stream, refresh %v", time.Since(start).Round(10*time.Millisecond), refresh)
		pause(time.Second)
		for _, f := range stream.Stop() {
			if f.Lost > 0 || f.Sent < perSecond {
				t.Errorf("over the opening: %v", f)
			}
		}
		if hops := m.AllPairs(30*time.Second, from, to).Hops; hops[1] != 2 {
			t.Errorf("after it, hops %v", hops)
		}
		trickle := m.Lab.StreamSize(50, 0, ends, oneWay)
		m.Lab.Await("the tunnel to end after the traffic", 10*refresh, func() error {
			if x, err := tunnelTo(from, to); err == nil {
				return fmt.Errorf("it is %s", x.State)
			}
			return nil
		})
		pause(time.Second)
		for _, f := range trickle.Stop() {
			if f.Lost > 0 {
				t.Errorf("over the closing: %v", f)
			}
		}
	}
	metrics := to.Host.Run("curl", "-sS", "-g", "--max-time", "10", fmt.Sprintf("http://[%v]:%d/metrics", m.Nodes[1].Address, metricsPort))
	for _, want := range []string{
		fmt.Sprintf(`re6st_node_info{backend=%q,name=%q`, lab.Backend(), m.Nodes[1].Name), `re6st_tunnel_rtt_seconds{peer="` + m.Nodes[2].Name,
		`kind="carried",owner="` + to.Name + `"}`, "re6st_edge_dropped_packets_total", "go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}
	m.WantClean()
}
