package e2e

import (
	"net/netip"
	"testing"
	"time"

	"re6st/internal/lab"
)

// Hosts with IPv4 only, IPv6 only, and both still reach their own Internet
// with the mesh up, with their own addresses, and no outer packet runs inside
// the mesh.
func TestA16_OwnInternetStaysAndNothingOuterInside(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	families := []lab.Family{lab.IPv4, lab.IPv6, lab.Dual, lab.IPv4, lab.IPv6, lab.Dual}
	m := l.Mesh(lab.MeshConfig{Nodes: len(families), Tunnels: 4, Refresh: 5 * time.Second, Family: func(i int) lab.Family { return families[i] }})
	web := m.Net.Attach(l.Host("web"), lab.Dual)
	web.Host.Serve(":80")
	wantInternet := func(when string) {
		t.Helper()
		for i, n := range m.Nodes {
			wantSeenAs(t, when, n, web, families[i])
		}
	}
	wantInternet("before the mesh")
	capture := m.Capture()
	m.Start()
	m.AwaitUp() // or our own pings would leave by the underlay
	r := m.AllPairs(45 * time.Second)
	measured(t, "2 hosts with IPv4, 2 with IPv6, 2 with both: %v", r)
	wantInternet("with the mesh up")
	stream := m.Stream(20, m.Nodes...)
	pause(20 * time.Second) // some turns of rotation
	wantInternet("after rotations")
	lost, sent := lab.Lost(stream.Stop())
	measured(t, "%d of %d packets lost while rotating every 5 s", lost, sent)
	seen := capture.Stop()
	if err := seen.Err(); err != nil {
		t.Error(err)
	}
	if seen.Inner == 0 || seen.Underlay == 0 {
		t.Errorf("nothing was captured: %+v", seen)
	}
	wantNoPanic(t, m)
	m.Stop()
	wantInternet("after the mesh")
	m.WantClean()
}

// wantSeenAs wants the Internet to answer over each of the host's families,
// and to see the host's own addresses.
func wantSeenAs(t *testing.T, when string, n *lab.Node, web *lab.Port, f lab.Family) {
	t.Helper()
	check := func(to, own netip.Addr) {
		t.Helper()
		seen, err := n.Host.Call(netip.AddrPortFrom(to, 80), lab.Slow(10*time.Second))
		if err != nil {
			t.Errorf("%s: %s (%v) does not reach its Internet: %v", when, n.Name, f, err)
		} else if seen.Addr().Unmap() != own {
			t.Errorf("%s: %s (%v) is seen on the Internet as %v, want %v", when, n.Name, f, seen.Addr(), own)
		}
	}
	if f&lab.IPv4 != 0 {
		check(web.V4, n.Port.V4)
	}
	if f&lab.IPv6 != 0 {
		check(web.V6, n.Port.V6)
	}
}

// No inner payload, no names, no addresses of the mesh and no Babel in clear
// on the underlay, from the first join to the last stop, over relays and the
// death of one.
func TestA16_Z25_NothingInClear(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	m := l.Mesh(lab.MeshConfig{Nodes: 4, Tunnels: 3, Refresh: 5 * time.Second, Talk: ring(4)})
	capture := m.Capture()
	// A join that is seen from its first packet.
	late := l.Host("late")
	node := l.Node(late, m.Net.Attach(late, lab.Dual), "otter-late", m.Nodes[0].Flags...)
	if err := node.Join(m.Registry.NewToken(1)); err != nil {
		t.Fatal(err)
	}
	m.Nodes = append(m.Nodes, node)
	m.Start()
	m.AwaitUp() // or our own pings would leave by the underlay
	m.AllPairs(30 * time.Second)
	stream := m.Stream(50, m.Nodes...)
	pause(10 * time.Second)
	m.Nodes[0].Kill()
	m.AllPairs(45*time.Second, m.Nodes[1:]...)
	stream.Stop()
	m.Nodes[0].Run()
	m.AwaitUp()
	m.AllPairs(30 * time.Second)
	m.Stop()
	seen := capture.Stop()
	measured(t, "captured %d packets on the underlay, %d in tunnels; %d not captured", seen.Underlay, seen.Inner, seen.Dropped)
	if err := seen.Err(); err != nil {
		t.Error(err)
	}
	if seen.Inner == 0 || seen.Underlay == 0 {
		t.Errorf("nothing was captured: %+v", seen)
	}
}
