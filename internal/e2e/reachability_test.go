package e2e

import (
	"testing"
	"time"

	"re6st/internal/lab"
)

// All pairs of 6 nodes reach each other, though each may talk over the
// underlay to only two others and there is no common centre: three of five
// destinations are behind relays.
func TestReachability(t *testing.T) {
	t.Parallel()
	m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 6, Tunnels: 4, Refresh: 5 * time.Minute, Talk: ring(6)})
	m.Start()
	r := m.AllPairs(30 * time.Second)
	measured(t, "6 nodes in a ring: %v from the registry's start; %v", time.Since(m.Started).Round(time.Millisecond), r)
	measured(t, "RSS of a node: %s", residents(m))
	// A path of one hop between hosts that may not talk would mean that the
	// firewall is not what this test believes.
	if direct := r.Hops[1]; direct > 12 {
		t.Errorf("%d ordered pairs are one hop apart; the underlay allows 12", direct)
	}
	wantNoPanic(t, m)
	m.WantClean()
}

// Positive control of the scenario: an underlay in two parts must be reported
// as exactly the pairs across the cut.
func TestReachabilityReportsAPartition(t *testing.T) {
	t.Parallel()
	half := func(i, j int) bool { return i/2 == j/2 }
	m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 4, Tunnels: 3, Refresh: 5 * time.Minute, Talk: half})
	m.Start()
	m.AllPairs(30*time.Second, m.Nodes[:2]...)
	m.AllPairs(30*time.Second, m.Nodes[2:]...)
	r := m.Reach(2 * time.Second)
	if r.Pairs != 12 || r.Reached != 4 {
		t.Errorf("%d of %d pairs reached over a partition, want 4 of 12: %v", r.Reached, r.Pairs, r.Missing)
	}
	m.WantClean()
}

//re6st:reduced 20 of 300 nodes; full in the release whose userspace tunnels share one socket
func TestA17_AllPairsOf20Nodes(t *testing.T) {
	m := lab.New(t).Mesh(lab.MeshConfig{Nodes: 20, Tunnels: 3, Refresh: 5 * time.Minute})
	m.Start()
	r := m.AllPairs(60 * time.Second)
	measured(t, "20 nodes: %v from the registry's start; %v", time.Since(m.Started).Round(time.Millisecond), r)
	addresses := map[string]string{}
	for _, n := range m.Nodes {
		if other, taken := addresses[n.Address.String()]; taken {
			t.Errorf("%s and %s have the same address %v", n.Name, other, n.Address)
		}
		addresses[n.Address.String()] = n.Name
	}
	// Hop limits decrement at relays: with 3 tunnels a node of 20 needs some.
	if r.Hops[1] == r.Pairs {
		t.Errorf("all %d pairs are one hop apart; with 3 tunnels a node this cannot be", r.Pairs)
	}
	// The smallest MTU of IPv6, which every link must carry (RFC 8200, section
	// 5), and what a tunnel over Ethernet carries.
	for _, mtu := range []int{1280, 1420} {
		big := m.ReachSize(lab.Slow(20*time.Second), mtu-48)
		measured(t, "packets of %d bytes: %v", mtu, big)
		if err := big.Err(); err != nil {
			t.Errorf("packets of %d bytes: %v", mtu, err)
		}
	}
	measured(t, "RSS of a node: %s", residents(m))
	wantNoPanic(t, m)
	m.WantClean()
}
